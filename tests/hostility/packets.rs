//! Random and mutated first packets, from many addresses at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::servers::reset;
use crate::world::{GOOD, World};

/// Connections at the same time.
const LANES: u64 = 200;

/// The proxy's word, or its end, must come within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends `count` first packets.
pub(crate) fn attack(world: &World, count: u64) -> u64 {
    let (address, seed) = (world.address(), world.seed);
    world.runtime.block_on(async {
        let mut lanes = JoinSet::new();
        for number in 0..LANES {
            let share = count / LANES + u64::from(number < count % LANES);
            let dice = StdRng::seed_from_u64(seed ^ (number << 32));
            lanes.spawn(lane(address, number, dice, share));
        }
        lanes.join_all().await.into_iter().sum()
    })
}

async fn lane(address: SocketAddr, number: u64, mut dice: StdRng, count: u64) -> u64 {
    for done in 0..count {
        let packet = first_packet(&mut dice);
        let end = dice.random_range(0..4);
        let cut = dice.random_range(0..=packet.len());
        let sent = send(address, number, (&packet, cut), end).await;
        if let Err(error) = sent
            && error.kind() == io::ErrorKind::TimedOut
        {
            panic!("packet {done} of lane {number} has no end: {packet:02x?}");
        }
    }
    count
}

/// A connection from an address of its own, so that no port is short.
pub(crate) async fn connect(address: SocketAddr, source: u64) -> io::Result<TcpStream> {
    let [.., high, low] = source.to_be_bytes();
    let source = SocketAddrV4::new(Ipv4Addr::new(127, 9, high, low.max(1)), 0);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(source).into())?;
    socket.set_nonblocking(true)?;
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}

/// Sends a packet in two pieces, and ends the connection in one of four ways.
async fn send(
    address: SocketAddr,
    source: u64,
    (packet, cut): (&[u8], usize),
    end: u8,
) -> io::Result<()> {
    let mut socket = timeout(PATIENCE, connect(address, source)).await??;
    socket.set_nodelay(true)?;
    for piece in [&packet[..cut], &packet[cut..]] {
        if !piece.is_empty() {
            socket.write_all(piece).await?;
        }
    }
    match end {
        0 => {}
        1 => reset(&socket),
        2 => {
            socket.shutdown().await?;
            timeout(PATIENCE, read_to_end(&mut socket)).await??;
        }
        _ => {
            // Something comes at once, or the proxy waits for more.
            let mut byte = [0];
            let _nothing = timeout(Duration::from_millis(5), socket.read(&mut byte)).await;
        }
    }
    Ok(())
}

/// Reads until the proxy closes.
pub(crate) async fn read_to_end(socket: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    while socket.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Some first packet: mostly almost right.
pub(crate) fn first_packet(dice: &mut StdRng) -> Vec<u8> {
    if dice.random_ratio(1, 10) {
        let mut bytes = vec![0; dice.random_range(0..300)];
        dice.fill(bytes.as_mut_slice());
        return bytes;
    }
    let mut packet = right_packet(dice);
    for _ in 0..dice.random_range(0..4) {
        mutate(dice, &mut packet);
    }
    packet
}

/// One that is as it should be.
fn right_packet(dice: &mut StdRng) -> Vec<u8> {
    match dice.random_range(0..8) {
        0 => code(80_877_103, b""),
        1 => code(80_877_104, b""),
        2 => code(80_877_102, &dice.random::<[u8; 8]>()),
        3 => code(80_877_102, &dice.random::<[u8; 36]>()),
        4 => client_hello(dice),
        5 => [code(80_877_103, b""), client_hello(dice)].concat(),
        minor => {
            let user = ["app", "app.good", "app@good", "nobody.nowhere", ""];
            let user = user.choose(dice).expect("there are some");
            let body =
                format!("user\0{user}\0database\0{GOOD}\0options\0-c tenant={GOOD}\0_pq_.x\0y\0\0");
            let version = 196_608 + 2 * (minor & 1);
            code(version, body.as_bytes())
        }
    }
}

fn code(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("packets are short");
    [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

/// TLS 1.3, as a browser would say it, with our ALPN.
fn client_hello(dice: &mut StdRng) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &sized(2, body)].concat();
    let name = sized(2, &[&[0][..], &sized(2, b"good.db.test")].concat());
    let share = [&[0, 29][..], &sized(2, &dice.random::<[u8; 32]>())].concat();
    let extensions = [
        extension(0, &name),
        extension(10, &sized(2, &[0, 29, 0, 23])),
        extension(13, &sized(2, &[4, 3, 8, 4, 4, 1])),
        extension(16, &sized(2, &sized(1, b"postgresql"))),
        extension(43, &sized(1, &[3, 4, 3, 3])),
        extension(51, &sized(2, &share)),
    ];
    let hello = [
        &[3, 3][..],
        &dice.random::<[u8; 32]>(),
        &sized(1, &dice.random::<[u8; 32]>()),
        &sized(2, &[0x13, 1, 0x13, 2, 0xc0, 0x2b]),
        &[1, 0],
        &sized(2, &extensions.concat()),
    ];
    let handshake = [&[1][..], &sized(3, &hello.concat())].concat();
    [&[22, 3, 1][..], &sized(2, &handshake)].concat()
}

/// Bytes behind their length.
fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len().to_be_bytes();
    [&length[length.len() - width..], bytes].concat()
}

/// Changes something.
pub(crate) fn mutate(dice: &mut StdRng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return bytes.push(dice.random());
    }
    let at = dice.random_range(0..bytes.len());
    match dice.random_range(0..7) {
        0 | 1 => bytes[at] ^= 1 << dice.random_range(0..8),
        2 => bytes.truncate(at),
        3 => {
            let lies = [
                0,
                3,
                4,
                7,
                8,
                10_000,
                10_001,
                1 << 30,
                u32::MAX >> 1,
                u32::MAX,
            ];
            let lie: &u32 = lies.choose(dice).expect("there are some");
            let at = if dice.random_ratio(3, 4) { 0 } else { at };
            for (byte, new) in bytes[at..].iter_mut().zip(lie.to_be_bytes()) {
                *byte = new;
            }
        }
        4 => bytes.extend(right_packet(dice)),
        5 => {
            let mut more = vec![0; dice.random_range(1..40)];
            dice.fill(more.as_mut_slice());
            bytes.splice(at..at, more);
        }
        _ => drop(bytes.remove(at)),
    }
}
