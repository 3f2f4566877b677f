//! Slow readers of large results, slow writers of large copies, and peers that are half gone.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::frames::Frames;
use crate::wire::{Login, Wire};
use crate::world::{EVIL, World};

/// Clients at the same time.
const LANES: u64 = 16;

/// Between two reads or writes of a slow one.
const STEP: Duration = Duration::from_millis(2);

/// How often a slow one reads or writes.
const STEPS: usize = 300;

/// `count` clients that ask for 20 MB and read slowly; most of them never read it all.
pub(crate) fn readers(world: &World, count: u64) -> u64 {
    lanes(count, |number| {
        let mut wire = log_in(world)?;
        let sql = match number % 2 {
            0 => "SELECT repeat('x', 1000) FROM generate_series(1, 20000)",
            _ => "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT",
        };
        wire.send(&Frames::default().query(sql).0)?;
        let mut socket = wire.into_socket();
        let mut buffer = [0; 4096];
        for _ in 0..STEPS {
            if socket.read(&mut buffer)? == 0 {
                return Err(io::Error::other("the result has ended too early"));
            }
            std::thread::sleep(STEP);
        }
        if number % 4 == 0 {
            // The rest, to the end.
            let mut read = 0;
            while !buffer[..read].ends_with(b"Z\0\0\0\x05I") {
                read = socket.read(&mut buffer)?;
                if read == 0 {
                    return Err(io::Error::other("the rest is missing"));
                }
            }
        }
        Ok(())
    })
}

/// `count` clients that copy in slowly; every other one vanishes before its end.
pub(crate) fn writers(world: &World, count: u64) -> u64 {
    lanes(count, |number| {
        let mut wire = log_in(world)?;
        wire.send(&Frames::default().query("COPY garbage FROM STDIN").0)?;
        wire.until(b'G')?;
        let line = "1\n".repeat(200);
        for _ in 0..STEPS {
            wire.send(&Frames::default().copy_data(&line).0)?;
            std::thread::sleep(STEP);
        }
        if number % 2 == 0 {
            return Ok(());
        }
        wire.send(&Frames::default().copy_fail("enough").0)?;
        wire.until(b'Z').map(drop).or_else(|error| {
            let told = error.to_string().contains("enough");
            told.then_some(()).ok_or(error)
        })
    })
}

/// `count` peers that close one side, both, or by a reset, while something is under way.
pub(crate) fn halves(world: &World, count: u64) -> u64 {
    lanes(count, |number| {
        let mut wire = if number % 5 == 0 {
            let mut wire = Wire::plain(world.address())?;
            wire.log_in(EVIL, Login::Challenged)?;
            wire
        } else {
            log_in(world)?
        };
        let frames = Frames::default();
        let sent = match number % 5 {
            1 => frames.query("SELECT pg_sleep(60)"),
            2 => frames.query("BEGIN").run("SELECT 1").flush(),
            3 => frames.query("COPY garbage FROM STDIN").copy_data("1\n"),
            4 => frames.query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"),
            _ => frames,
        };
        wire.send(&sent.0)?;
        match number / 5 % 4 {
            0 => wire.reset(),
            1 => drop(wire),
            2 => wire.finish()?,
            _ => {
                // It says that it reads no more, and says no more itself.
                let socket = wire.into_socket();
                socket.shutdown(Shutdown::Read)?;
                let _gone = (&socket).write_all(b"S\0\0\0\x04");
            }
        }
        Ok(())
    })
}

fn log_in(world: &World) -> io::Result<Wire> {
    let mut wire = Wire::plain(world.address())?;
    wire.log_in(EVIL, Login::Done)?;
    Ok(wire)
}

fn lanes(count: u64, one: impl Fn(u64) -> io::Result<()> + Sync) -> u64 {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..LANES.min(count) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::AcqRel);
                    if number >= count {
                        return;
                    }
                    one(number).unwrap_or_else(|e| panic!("number {number}: {e}"));
                }
            });
        }
    });
    count
}
