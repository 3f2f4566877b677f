//! Clients that never speak, and clients that send a byte now and then.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::packets::{connect, read_to_end};
use crate::support::frames::Frames;
use crate::wire::{Login, Wire};
use crate::world::{EVIL, World};

/// What an overloaded machine may add to a time limit.
const GRACE: Duration = Duration::from_secs(60);

/// Sockets of a source address: its ports are not endless.
const PER_SOURCE: u64 = 1_000;

/// `count` connections at once that stop at some point before their login is over: each is closed
/// by the proxy, by itself.
pub(crate) fn silence(world: &World, count: u64) -> u64 {
    let (address, limit) = (world.address(), world.login_timeout + GRACE);
    world.runtime.block_on(async {
        let mut all = JoinSet::new();
        for number in 0..count {
            all.spawn(async move {
                let mut socket = connect(address, 1_000 + number / PER_SOURCE).await?;
                let said: &[u8] = match number % 4 {
                    0 | 1 => b"",
                    2 => &[0, 0, 0, 8, 4, 210, 22, 47],
                    _ => b"\0\0\0\x30\0\x03\0\0user\0",
                };
                socket.write_all(said).await?;
                timeout(limit, read_to_end(&mut socket)).await?
            });
        }
        for outcome in all.join_all().await {
            let late = outcome.is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
            assert!(!late, "a silent connection was not closed");
        }
    });
    count
}

/// `count` clients that send a byte a tick: half of them their startup message, which takes longer
/// than `login_timeout` and is ended by it, half of them a query, which is answered.
pub(crate) fn trickle(world: &World, count: u64) -> u64 {
    let (address, tick) = (world.address(), world.tick);
    let limit = world.login_timeout + GRACE;
    let logged_in: Vec<_> = (0..count / 2).map(|_| log_in(address)).collect();
    world.runtime.block_on(async {
        let mut all = JoinSet::new();
        for socket in logged_in {
            all.spawn(ask(socket, tick));
        }
        for number in count / 2..count {
            all.spawn(knock(address, 2_000 + number / PER_SOURCE, (tick, limit)));
        }
        for outcome in all.join_all().await {
            outcome.expect("a slow client is treated as any other");
        }
    });
    count
}

fn log_in(address: SocketAddr) -> std::net::TcpStream {
    let mut wire = Wire::plain(address).expect("a connection");
    wire.log_in(EVIL, Login::Done).expect("a login");
    wire.into_socket()
}

async fn ask(socket: std::net::TcpStream, tick: Duration) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut socket = TcpStream::from_std(socket)?;
    trickle_out(
        &mut socket,
        &Frames::default().query("SELECT 41 + 1").0,
        tick,
    )
    .await?;
    let mut reply = vec![0; 4096];
    let mut filled = 0;
    while !reply[..filled].ends_with(b"Z\0\0\0\x05I") {
        let read = timeout(GRACE, socket.read(&mut reply[filled..])).await??;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
    }
    let right = reply[..filled].windows(2).any(|two| two == b"42");
    right
        .then_some(())
        .ok_or_else(|| io::Error::other("a wrong reply"))
}

async fn knock(
    address: SocketAddr,
    source: u64,
    (tick, limit): (Duration, Duration),
) -> io::Result<()> {
    let begin = Instant::now();
    let mut socket = connect(address, source).await?;
    let length = [0, 0, 0x23, 0x28];
    let packet = length.into_iter().chain(*b"\0\x03\0\0user\0");
    for byte in packet.chain(std::iter::repeat_n(b'x', 9_000)) {
        let closed = timeout(tick, read_to_end(&mut socket)).await.is_ok();
        if closed || socket.write_all(&[byte]).await.is_err() {
            return Ok(());
        }
        if begin.elapsed() > limit {
            break;
        }
    }
    Err(io::Error::other("a slow login has no end"))
}

async fn trickle_out(socket: &mut TcpStream, bytes: &[u8], tick: Duration) -> io::Result<()> {
    for byte in bytes {
        socket.write_all(&[*byte]).await?;
        tokio::time::sleep(tick).await;
    }
    Ok(())
}
