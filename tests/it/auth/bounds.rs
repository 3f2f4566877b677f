//! What no login may do: crash, hang, or keep memory, descriptors or places of clients.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::client::{Address, SSL_REQUEST, Wire, message};
use super::login::{End, Login, log_in, packet};
use super::world::{Method, Mode, PASSWORD, Proxy, proxy};
use crate::support::alone::alone;

/// A test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn socket(proxy: &Proxy) -> TcpStream {
    let Address::Tcp(address) = proxy.tcp(Method::Scram) else {
        unreachable!("asked for TCP");
    };
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends these bytes and nothing more; everything that the proxy answers until it closes.
fn answer(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut socket = socket(proxy);
    // It may close in the middle of it.
    let _closed = socket.write_all(bytes);
    let _closed = socket.shutdown(std::net::Shutdown::Write);
    read_to_end(socket)
}

fn read_to_end(mut socket: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    if let Err(error) = socket.read_to_end(&mut all) {
        assert!(
            super::client::is_end(&error),
            "neither data nor an end: {error}"
        );
    }
    all
}

/// Waits until nobody is counted and no socket of an accepted client is left.
fn is_at_rest(proxy: &Proxy) {
    let Address::Tcp(address) = *proxy.tcp(Method::Scram) else {
        unreachable!("asked for TCP");
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = (proxy.app.clients(), accepted_sockets(address));
        if left == (0, 0) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "clients and sockets left: {left:?}"
        );
        std::thread::yield_now();
    }
}

/// Sockets that this process holds whose own port is that one, but for the listener.
fn accepted_sockets(address: SocketAddr) -> usize {
    const LISTENING: &str = "0A";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let held = table.lines().filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&port) && fields[3] != LISTENING && fields[9] != "0"
    });
    held.count()
}

fn works(proxy: &Proxy) {
    let mut attempt = proxy.plain(&Login::new("app.acme", PASSWORD));
    assert_eq!(attempt.current_database(), "tenant_acme");
}

fn startup(parameters: &[u8]) -> Vec<u8> {
    packet(&[&[0, 3, 0, 0], parameters].concat())
}

/// A startup message with so many bytes behind its length.
fn padded(length: usize) -> Vec<u8> {
    let head: &[u8] = b"user\0app.acme\0application_name\0";
    let padding = vec![b'x'; length - 4 - head.len() - 2];
    startup(&[head, &padding, b"\0\0"].concat())
}

#[test]
fn broken_first_packets_are_told_and_closed() {
    let proxy = Proxy::start(Mode::Disable, "secret = \"salts\"", "");
    let length = |n: u32| n.to_be_bytes().to_vec();
    for (what, bytes, wanted) in [
        ("length 0", length(0), "C08P01"),
        ("length 7", length(7), "C08P01"),
        ("length 2^31", length(1 << 31), "C08P01"),
        ("length 2^32-1", length(u32::MAX), "C08P01"),
        ("10,001 bytes", padded(10_001), "C08P01"),
        ("10,000 bytes", padded(10_000), "SCRAM-SHA-256"),
        ("no final NUL", startup(b"user\0app.acme"), "C08P01"),
        (
            "a name without a value",
            startup(b"user\0app.acme\0database\0"),
            "C08P01",
        ),
        (
            "a NUL in the name",
            startup(b"user\0app\0.acme\0\0"),
            "C08P01",
        ),
        (
            "a NUL in the database",
            startup(b"user\0app.acme\0database\0ac\0me\0\0"),
            "C08P01",
        ),
        (
            "bytes behind the end",
            startup(b"user\0app.acme\0\0user\0x\0\0"),
            "C08P01",
        ),
        ("no UTF-8", startup(b"user\0app.\xff\0\0"), "C08P01"),
        ("no user", startup(b"database\0acme\0\0"), "C28000"),
        ("an empty user", startup(b"user\0\0\0"), "C28000"),
        (
            "an odd option",
            startup(b"user\0app.acme\0options\0--\0\0"),
            "C22023",
        ),
        (
            "a long SSLRequest",
            packet(&[&SSL_REQUEST[4..], b"x"].concat()),
            "C08P01",
        ),
        (
            "two SSLRequests",
            [SSL_REQUEST, SSL_REQUEST].concat(),
            "C08P01",
        ),
    ] {
        let got = answer(&proxy, &bytes);
        let text = String::from_utf8_lossy(&got);
        assert!(text.contains(wanted), "{what}: {text:?}");
    }
    let cancel = |key: &[u8]| packet(&[&[4, 210, 22, 46, 0, 0, 0, 1], key].concat());
    for key in [&b""[..], b"abc", b"abcd", &[7; 256], &[7; 257]] {
        assert!(
            answer(&proxy, &cancel(key)).is_empty(),
            "a cancel request has no answer"
        );
    }
    works(&proxy);
    is_at_rest(&proxy);
}

#[test]
fn plaintext_smuggled_behind_sslrequest_is_not_believed() {
    let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "");
    let startup = Login::new("app.acme", PASSWORD).startup();
    let got = answer(&proxy, &[&SSL_REQUEST[..], &startup].concat());
    assert_eq!(got.first(), Some(&b'S'));
    // What follows can only be an alert of TLS.
    assert!(matches!(got.get(1), None | Some(0x15)), "{got:?}");
    let again = answer(&proxy, &[SSL_REQUEST, SSL_REQUEST].concat());
    assert!(matches!(again.get(1), None | Some(0x15)), "{again:?}");
    works(&proxy);
    is_at_rest(&proxy);
}

/// A SASLInitialResponse.
fn initial(mechanism: &str, length: u32, data: &str) -> Vec<u8> {
    let body = [
        mechanism.as_bytes(),
        &[0],
        &length.to_be_bytes(),
        data.as_bytes(),
    ]
    .concat();
    message(b'p', &body)
}

/// Answers to a request for authentication: what is wrong, the bytes, the code of the refusal.
type Answers = Vec<(&'static str, Vec<u8>, &'static str)>;

fn broken_scram() -> Answers {
    let long = "x".repeat(10_001);
    let scram = |data: &str| initial("SCRAM-SHA-256", u32::try_from(data.len()).unwrap(), data);
    vec![
        ("an empty answer", message(b'p', b""), "C08P01"),
        ("no data", initial("SCRAM-SHA-256", u32::MAX, ""), "C08P01"),
        (
            "a wrong length",
            initial("SCRAM-SHA-256", 99, "n,,n=,r=x"),
            "C08P01",
        ),
        ("length 0", b"p\0\0\0\0".to_vec(), "C08P01"),
        ("length 2^31", b"p\x80\0\0\0".to_vec(), "C08P01"),
        ("a query", message(b'Q', b"SELECT 1\0"), "C08P01"),
        ("a mechanism", initial("PLAIN", 0, ""), "C08P01"),
        ("empty SCRAM", scram(""), "C08P01"),
        ("no nonce", scram("n,,n=,r="), "C08P01"),
        ("an identity", scram("n,a=other,n=,r=abc"), "C0A000"),
        ("an extension", scram("n,,m=x,n=,r=abc"), "C0A000"),
        ("a long one", scram(&format!("n,,n=,r={long}")), "C08P01"),
        ("farewell", message(b'X', b""), ""),
    ]
}

fn broken_md5() -> Answers {
    let long = [b'x'; 10_001];
    vec![
        ("an empty answer", message(b'p', b""), "C08P01"),
        ("an empty password", message(b'p', b"\0"), "C28P01"),
        ("no NUL", message(b'p', b"md5"), "C08P01"),
        ("a NUL within", message(b'p', b"md5\0x\0"), "C08P01"),
        ("length 0", b"p\0\0\0\0".to_vec(), "C08P01"),
        ("length 2^31", b"p\x80\0\0\0".to_vec(), "C08P01"),
        ("a long one", message(b'p', &long), "C08P01"),
    ]
}

#[test]
fn broken_answers_are_told_and_closed() {
    for (method, answers) in [(Method::Scram, broken_scram()), (Method::Md5, broken_md5())] {
        for (what, bytes, wanted) in answers {
            let text = answer_to_request(method, &bytes);
            assert!(text.contains(wanted), "{method:?}, {what}: {text:?}");
            assert_eq!(
                text.is_empty(),
                wanted.is_empty(),
                "{method:?}, {what}: {text:?}"
            );
        }
    }
}

/// What the proxy says to this answer to its first request for authentication.
fn answer_to_request(method: Method, bytes: &[u8]) -> String {
    let mut wire = Wire::plain(proxy().tcp(method)).unwrap();
    wire.send(&Login::new("app.acme", "").startup()).unwrap();
    assert_eq!(wire.next().unwrap().map(|m| m.tag), Some(b'R'));
    // It may close in the middle of it.
    let _closed = wire.send(bytes);
    String::from_utf8_lossy(&wire.rest()).into_owned()
}

/// A whole login as bytes, as far as they do not depend on answers.
fn whole_login() -> Vec<u8> {
    let startup = Login::new("app.acme", PASSWORD).startup();
    let first = "n,,n=,r=abcdef";
    let first = initial("SCRAM-SHA-256", u32::try_from(first.len()).unwrap(), first);
    [startup, first].concat()
}

#[test]
fn half_sent_logins_leave_nothing_behind() {
    let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "login_timeout = \"2s\"");
    let whole = whole_login();
    for end in 0..whole.len() {
        let mut socket = socket(&proxy);
        socket.write_all(&whole[..end]).unwrap();
        if end % 2 == 0 {
            // A reset, without reading.
            socket2::SockRef::from(&socket)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }
    is_at_rest(&proxy);
}

#[test]
fn resets_during_tls_leave_nothing_behind() {
    let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "");
    // A handshake record of which most is still to come.
    let half_hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for number in 0..20 {
        let mut socket = socket(&proxy);
        if number % 2 == 0 {
            socket.write_all(&SSL_REQUEST).unwrap();
            let mut answer = [0];
            socket.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"S");
        }
        socket.write_all(&half_hello).unwrap();
        socket2::SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    is_at_rest(&proxy);
}

#[test]
fn logins_that_stand_still_are_closed_without_a_word() {
    let proxy = Proxy::start(
        Mode::Allow,
        "secret = \"salts\"",
        "login_timeout = \"300ms\"",
    );
    let whole = whole_login();
    let announced = 10_004_u32.to_be_bytes().to_vec();
    let half_tls = vec![0x16, 3, 1];
    let asked = [&SSL_REQUEST[..], &half_tls].concat();
    let stuck = [vec![], announced, whole[..20].to_vec(), half_tls, asked];
    let sockets: Vec<TcpStream> = stuck
        .iter()
        .cycle()
        .take(100)
        .map(|bytes| {
            let mut socket = socket(&proxy);
            socket.write_all(bytes).unwrap();
            socket
        })
        .collect();
    for socket in sockets {
        let got = read_to_end(socket);
        assert!(got.is_empty() || got == b"S", "{got:?}");
    }
    is_at_rest(&proxy);
}

#[test]
fn a_login_of_a_byte_at_a_time_has_no_more_time_than_others() {
    let proxy = Proxy::start(
        Mode::Allow,
        "secret = \"salts\"",
        "login_timeout = \"300ms\"",
    );
    let began = Instant::now();
    let mut slow = socket(&proxy);
    let mut sent = 0;
    for byte in whole_login().iter().cycle() {
        // Only what makes the client slow, nothing is awaited.
        std::thread::sleep(Duration::from_millis(20));
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        sent += 1;
    }
    assert!(began.elapsed() < PATIENCE, "{sent} bytes");
    is_at_rest(&proxy);
}

#[test]
fn those_for_whom_there_is_no_place_hold_no_descriptors() {
    const OVERFLOW: usize = 64;
    let proxy = Proxy::start(
        Mode::Allow,
        "secret = \"salts\"",
        "max_clients = 1\nlogin_timeout = \"60s\"",
    );
    let Address::Tcp(address) = *proxy.tcp(Method::Scram) else {
        unreachable!("asked for TCP");
    };
    let mut silent: Vec<_> = (0..300).map(|_| (socket(&proxy), Vec::new())).collect();
    let deadline = Instant::now() + PATIENCE;
    // Those who are turned away are told at once, whether they read it or not.
    let mut told = 0;
    while told < 300 - 1 - OVERFLOW {
        assert!(Instant::now() < deadline, "{told}");
        silent.retain_mut(|(socket, answer)| {
            socket.set_nonblocking(true).unwrap();
            let waits = socket.read_to_end(answer).is_err();
            assert!(waits || String::from_utf8_lossy(answer).contains("C53300"));
            told += usize::from(!waits);
            waits
        });
    }
    assert_eq!(silent.len(), 1 + OVERFLOW);
    while accepted_sockets(address) != 1 + OVERFLOW {
        assert!(Instant::now() < deadline, "{}", accepted_sockets(address));
        std::thread::yield_now();
    }
    drop(silent);
    is_at_rest(&proxy);
    works(&proxy);
}

/// Any printable character but a comma, and often what looks like attributes.
fn nonce(dice: &mut impl FnMut() -> u8) -> String {
    let mut nonce = String::new();
    for _ in 0..=dice() % 30 {
        match dice() % 4 {
            0 => nonce += "r=",
            1 => nonce += "=",
            2 => nonce += ["s=", "i=1", "p=", "c=", "m=", "=="][usize::from(dice() % 6)],
            _ => nonce.push(char::from(b'-' + dice() % (b'~' - b'-' + 1))),
        }
    }
    nonce
}

#[test]
fn no_nonce_makes_a_login_fail() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut dice = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    for _ in 0..2_000 {
        let nonce = nonce(&mut dice);
        let attempt = proxy().plain(&Login::new("app.acme", PASSWORD).nonce(nonce.clone()));
        assert_eq!(attempt.end, End::Ready, "{nonce}: {}", attempt.last_words());
    }
}

#[test]
fn garbage_harms_nobody_else() {
    if !alone("auth::bounds::garbage_harms_nobody_else") {
        return;
    }
    let proxy = Proxy::start(Mode::Allow, "secret = \"salts\"", "");
    works(&proxy);
    let before = resident_kib();
    std::thread::scope(|scope| {
        let garbage = scope.spawn(|| {
            for seed in 0..500_u64 {
                answer(&proxy, &garbage(seed));
            }
        });
        let mut logins = 0;
        while !garbage.is_finished() || logins < 20 {
            let login = Login::new("app.globex", PASSWORD);
            let mut attempt =
                log_in(Wire::plain(proxy.tcp(Method::Scram)).unwrap(), &login).unwrap();
            assert_eq!(attempt.current_database(), "tenant_globex");
            logins += 1;
        }
    });
    is_at_rest(&proxy);
    // Threads take arenas of their own, so not all of it was there before.
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB");
}

/// Noise, at times with a beginning that is taken for something.
fn garbage(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let beginnings: [&[u8]; 5] = [
        b"",
        &[0x16, 3, 1, 2, 0],
        &SSL_REQUEST,
        &[0, 0, 1, 0, 0, 3, 0, 0],
        b"GET / HTTP/1.1\r\n",
    ];
    let mut bytes = beginnings[usize::try_from(seed % 5).unwrap()].to_vec();
    let length = usize::from(noise()) * 8;
    bytes.extend((0..length).map(|_| noise()));
    bytes
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
