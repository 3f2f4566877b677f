//! Floods of what each is cheap: cancel requests and wrong passwords.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::packets::{connect, read_to_end};
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::wire::{sasl_initial, startup};
use crate::world::{EVIL, GOOD, World};

/// Connections at the same time.
const LANES: u64 = 100;

const PATIENCE: Duration = Duration::from_secs(60);

/// Process ids that are tried: those of the clients that are there, and more.
const PROCESS_IDS: u32 = 64;

/// `count` cancel requests: process ids that exist, keys that are wrong. No query is cancelled.
pub(crate) fn cancels(world: &World, count: u64) -> u64 {
    let (address, seed) = (world.address(), world.seed);
    // Its own query runs all the while.
    let mut victim = Client::connect(address, EVIL, &[]).expect("a login");
    let mut head = victim.cancel_key.clone();
    head.truncate(4);
    victim.put(&Frames::default().query("BEGIN; SELECT pg_sleep(0.5)"));
    world.runtime.block_on(async {
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let mut dice = StdRng::seed_from_u64(seed ^ (lane << 40));
            let head: [u8; 4] = head.as_slice().try_into().expect("it has been cut");
            lanes.spawn(async move {
                for _ in 0..share(count, lane) {
                    let process_id = match dice.random_range(0..3) {
                        0 => head,
                        _ => dice.random_range(0..PROCESS_IDS).to_be_bytes(),
                    };
                    cancel(address, lane, process_id, dice.random()).await?;
                }
                Ok::<_, io::Error>(())
            });
        }
        for outcome in lanes.join_all().await {
            outcome.expect("a cancel request has an end");
        }
    });
    let replies = [victim.ready(), victim.query("COMMIT")];
    for reply in replies {
        assert_eq!(reply.errors(), Vec::<String>::new(), "it was cancelled");
    }
    count
}

async fn cancel(
    address: SocketAddr,
    lane: u64,
    process_id: [u8; 4],
    key: [u8; 4],
) -> io::Result<()> {
    let mut socket = timeout(PATIENCE, connect(address, 3_000 + lane)).await??;
    let request = [&[0, 0, 0, 16, 4, 210, 22, 46][..], &process_id, &key].concat();
    socket.write_all(&request).await?;
    timeout(PATIENCE, read_to_end(&mut socket)).await?
}

/// `count` logins with a wrong proof, of names that exist and of others.
pub(crate) fn passwords(world: &World, count: u64) -> u64 {
    let address = world.address();
    world.runtime.block_on(async {
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            lanes.spawn(async move {
                for number in 0..share(count, lane) {
                    let tenant = [GOOD, EVIL, "nobody"][usize::try_from(number % 3).unwrap_or(0)];
                    let told = timeout(PATIENCE, wrong_password(address, lane, tenant)).await??;
                    let text = String::from_utf8_lossy(&told);
                    if !text.contains("C28P01\0") {
                        return Err(io::Error::other(format!("told {text:?}")));
                    }
                }
                Ok(())
            });
        }
        for outcome in lanes.join_all().await {
            outcome.expect("a wrong password is refused as such");
        }
    });
    count
}

/// What is said to a login whose proof is none.
async fn wrong_password(address: SocketAddr, lane: u64, tenant: &str) -> io::Result<Vec<u8>> {
    let mut socket = connect(address, 4_000 + lane).await?;
    socket.write_all(&startup(tenant)).await?;
    message(&mut socket).await?;
    socket
        .write_all(&sasl_initial(b"n,,n=,r=clientnonce"))
        .await?;
    let challenge = message(&mut socket).await?;
    let text = String::from_utf8_lossy(challenge.get(4..).unwrap_or_default()).into_owned();
    let nonce = text.split(',').next().unwrap_or_default();
    let proof = "A".repeat(43);
    let last = format!("c=biws,{nonce},p={proof}=");
    socket
        .write_all(&Frames::default().message(b'p', last.as_bytes()).0)
        .await?;
    let mut told = Vec::new();
    socket.read_to_end(&mut told).await?;
    Ok(told)
}

async fn message(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let _tag = socket.read_u8().await?;
    let length = socket.read_u32().await?;
    let mut body = vec![0; (length as usize).saturating_sub(4)];
    socket.read_exact(&mut body).await?;
    Ok(body)
}

fn share(count: u64, lane: u64) -> u64 {
    count / LANES + u64::from(lane < count % LANES)
}
