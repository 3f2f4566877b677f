//! Servers that send garbage, stall, vanish or reset the connection, each in another state; and
//! the clients that are so unlucky as to need them.

use std::io::{self, ErrorKind};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::world::World;

/// How far a server plays its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The connection is there.
    Accept,
    /// SSLRequest has come.
    TlsAnswer,
    /// It was granted.
    TlsHandshake,
    /// The startup message has come.
    Login,
    /// Half of the parameters are told.
    Parameters,
    /// All are, but it is not ready.
    Ready,
    /// The proxy asks for the catalog.
    Catalog,
    /// A query has come.
    Reply,
    /// Half a row was sent.
    Row,
    /// CopyInResponse was sent.
    Copy,
    /// A query was answered in full.
    Idle,
}

/// What it does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Garbage,
    Stall,
    Vanish,
    Reset,
}

const STAGES: [Stage; 11] = [
    Stage::Accept,
    Stage::TlsAnswer,
    Stage::TlsHandshake,
    Stage::Login,
    Stage::Parameters,
    Stage::Ready,
    Stage::Catalog,
    Stage::Reply,
    Stage::Row,
    Stage::Copy,
    Stage::Idle,
];

const FAULTS: [Fault; 4] = [Fault::Garbage, Fault::Stall, Fault::Vanish, Fault::Reset];

/// One of each kind.
#[derive(Debug)]
pub(crate) struct BadServers {
    listening: Vec<(String, u16)>,
    /// Counts up where the stalled ones are to go.
    released: watch::Sender<u64>,
}

impl BadServers {
    /// Starts them all, from within a runtime.
    pub(crate) fn start() -> Self {
        let (released, _) = watch::channel(0);
        let mut listening = Vec::new();
        for (stage, fault) in STAGES.iter().flat_map(|s| FAULTS.map(|f| (*s, f))) {
            let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
            socket.set_nonblocking(true).expect("a socket option");
            let port = socket.local_addr().expect("it is bound").port();
            let listener = TcpListener::from_std(socket).expect("within a runtime");
            tokio::spawn(accept(listener, stage, fault, released.subscribe()));
            listening.push((format!("{stage:?}_{fault:?}").to_lowercase(), port));
        }
        Self {
            listening,
            released,
        }
    }

    /// Names, of clusters and tenants, and where they listen.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (String, u16)> {
        self.listening.iter().cloned()
    }

    /// The stalled ones come to their end.
    fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }
}

async fn accept(listener: TcpListener, stage: Stage, fault: Fault, released: watch::Receiver<u64>) {
    let mut number = 0;
    while let Ok((mut socket, _)) = listener.accept().await {
        number += 1;
        let released = released.clone();
        tokio::spawn(async move {
            if play(&mut socket, stage).await.is_ok() {
                // The peer may be gone before.
                let _gone = misbehave(socket, fault, released, number).await;
            }
        });
    }
}

async fn misbehave(
    mut socket: TcpStream,
    fault: Fault,
    mut released: watch::Receiver<u64>,
    number: u64,
) -> io::Result<()> {
    match fault {
        Fault::Garbage => {
            let mut bytes = vec![0; 4096];
            StdRng::seed_from_u64(number).fill(bytes.as_mut_slice());
            socket.write_all(&bytes).await?;
            while socket.read(&mut bytes).await? > 0 {}
        }
        Fault::Stall => {
            let now = *released.borrow_and_update();
            let _ended = released.wait_for(|times| *times > now).await;
        }
        Fault::Vanish => {}
        Fault::Reset => reset(&socket),
    }
    Ok(())
}

/// What the socket's end becomes: a reset.
pub(crate) fn reset(socket: &TcpStream) {
    let socket = socket2::SockRef::from(socket);
    // A socket whose peer is gone may refuse.
    let _gone = socket.set_linger(Some(std::time::Duration::ZERO));
}

/// Plays a server that trusts whoever comes, up to the stage; an error: it does not come to it.
async fn play(socket: &mut TcpStream, stage: Stage) -> io::Result<()> {
    if stage == Stage::Accept || greet(socket, stage).await? {
        return Ok(());
    }
    loop {
        let mut header = [0; 5];
        socket.read_exact(&mut header).await?;
        let [tag, length @ ..] = header;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4)];
        socket.read_exact(&mut body).await?;
        let ours = String::from_utf8_lossy(&body).contains("WITH RECURSIVE");
        match tag {
            b'X' => return Err(ErrorKind::UnexpectedEof.into()),
            b'Q' if ours && stage == Stage::Catalog => return Ok(()),
            b'Q' if ours => socket.write_all(&complete("SELECT 0")).await?,
            b'Q' if stage == Stage::Reply => return Ok(()),
            b'Q' if answer(socket, stage).await? => return Ok(()),
            _ => {}
        }
    }
}

/// Up to ReadyForQuery; true: the stage came before it.
async fn greet(socket: &mut TcpStream, stage: Stage) -> io::Result<bool> {
    loop {
        let mut head = [0; 8];
        socket.read_exact(&mut head).await?;
        let [length @ .., a, b, c, d] = head;
        let mut rest = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(8)];
        socket.read_exact(&mut rest).await?;
        match u32::from_be_bytes([a, b, c, d]) {
            80_877_103 if stage == Stage::TlsAnswer => return Ok(true),
            80_877_103 if stage == Stage::TlsHandshake => {
                socket.write_all(b"S").await?;
                return Ok(true);
            }
            80_877_103 => socket.write_all(b"N").await?,
            80_877_102 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => break,
        }
    }
    if stage == Stage::Login {
        return Ok(true);
    }
    let told = Frames::default()
        .message(b'R', &[0; 4])
        .message(b'S', b"server_version\x0015.0\0")
        .message(b'S', b"client_encoding\0UTF8\0");
    socket.write_all(&told.0).await?;
    if stage == Stage::Parameters {
        socket.write_all(b"S\0\0\0\x30standard_conf").await?;
        return Ok(true);
    }
    let key = Frames::default()
        .message(b'S', b"standard_conforming_strings\0on\0")
        .message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]);
    socket.write_all(&key.0).await?;
    if stage != Stage::Ready {
        socket.write_all(b"Z\0\0\0\x05I").await?;
    }
    Ok(stage == Stage::Ready)
}

/// Answers a query; true: the stage has come.
async fn answer(socket: &mut TcpStream, stage: Stage) -> io::Result<bool> {
    if stage == Stage::Copy {
        socket.write_all(b"G\0\0\0\x07\0\0\0").await?;
        return Ok(true);
    }
    let columns = b"\0\x01v\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let row = Frames::default()
        .message(b'T', columns)
        .message(b'D', b"\0\x01\0\0\0\x05value");
    if stage == Stage::Row {
        socket.write_all(&row.0[..row.0.len() - 3]).await?;
        return Ok(true);
    }
    socket.write_all(&row.raw(&complete("SELECT 1")).0).await?;
    Ok(stage == Stage::Idle)
}

fn complete(tag: &str) -> Vec<u8> {
    Frames::default()
        .message(b'C', &[tag.as_bytes(), b"\0"].concat())
        .message(b'Z', b"I")
        .0
}

/// `rounds` clients of each server, one after the other, those of all servers at once. What they
/// are told does not matter here; that they are told something, or see the end, does.
pub(crate) fn attack(world: &World, rounds: u64) -> u64 {
    let address = world.address();
    std::thread::scope(|scope| {
        for (name, _) in world.servers.ports() {
            scope.spawn(move || {
                for _ in 0..rounds {
                    need(address, &name);
                }
            });
        }
    });
    world.servers.release();
    rounds * world.servers.listening.len() as u64
}

fn need(address: std::net::SocketAddr, tenant: &str) {
    let outcome = Client::connect(address, tenant, &[]).and_then(|mut client| {
        for _ in 0..2 {
            client.send(&Frames::default().query("COPY t FROM STDIN").0)?;
            loop {
                match client.read()?.tag {
                    // Whoever has begun to copy gives up in the middle of a line.
                    b'G' => return client.send(&Frames::default().copy_data("half a li").0),
                    b'Z' => break,
                    _ => {}
                }
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        let waited = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!waited, "a client of {tenant} was left waiting");
    }
}
