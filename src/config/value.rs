//! Texts of single values: durations, addresses, filters, stored passwords. Pure.
//!
//! Error messages never repeat the text: it may be a secret in the wrong place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::ListenAddr;
use crate::types::{MAX_SCRAM_ITERATIONS, MAX_SCRAM_SALT, NodeAddr};

/// Longest duration: timers count in bounded integers, and nobody means more.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// `sun_path` holds this many bytes before its NUL.
const UNIX_PATH_MAX: usize = 107;

/// `30s`, `50ms`, `5m`, `1h`, `2d`, `0s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration such as \"30s\" (units: ms, s, m, h, d)";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(EXPECTED.into()),
    };
    if number.is_empty() {
        return Err(EXPECTED.into());
    }
    // More digits than fit are too long as well.
    let number: u64 = number.parse().unwrap_or(u64::MAX);
    let value = number
        .checked_mul(millis)
        .map_or(Duration::MAX, Duration::from_millis);
    if value > LONGEST {
        Err("must be at most 365d".into())
    } else {
        Ok(value)
    }
}

/// A duration as [`duration`] reads it, in the largest unit that divides it.
pub(super) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let unit = units.iter().find(|(size, _)| millis.is_multiple_of(*size));
    match unit {
        _ if millis == 0 => "0s".to_owned(),
        Some((size, name)) => format!("{}{name}", millis / size),
        None => format!("{millis}ms"),
    }
}

/// An amount of data: `16MiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected a size such as \"16MiB\" (units: B, KiB, MiB, GiB)".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = SIZES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    number
        .checked_mul(*factor)
        .ok_or_else(|| "is too large".to_owned())
}

/// A size as [`size`] reads it, in the largest unit that divides it.
pub(super) fn size_text(size: u64) -> String {
    let unit = SIZES
        .iter()
        .find(|(_, factor)| size.is_multiple_of(*factor));
    let (name, factor) = unit.filter(|_| size > 0).unwrap_or(&("B", 1));
    format!("{}{name}", size / factor)
}

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// The word for a value.
pub(super) fn word_for<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words
        .iter()
        .find(|(_, v)| v == value)
        .map_or("", |(word, _)| word)
}

/// `HOST`, `HOST:PORT`, `[IPV6]:PORT` or the directory of a Unix socket as `/DIR` or `/DIR:PORT`.
pub(super) fn node(text: &str) -> Result<NodeAddr, String> {
    let (host, port) = host_and_port(text).ok_or("expected HOST:PORT, [IPV6]:PORT or /DIR:PORT")?;
    let port = match port {
        None => 5432,
        Some(port) => port
            .parse()
            .ok()
            .filter(|p| *p != 0)
            .ok_or("the port is 1 to 65535")?,
    };
    Ok(NodeAddr {
        host: host.into(),
        port,
    })
}

fn host_and_port(text: &str) -> Option<(String, Option<&str>)> {
    if text.starts_with('/') {
        let fits = |dir: &str| !dir.contains('\0');
        return match text.rsplit_once(':') {
            Some((dir, port)) => fits(dir).then(|| (dir.to_owned(), Some(port))),
            None => fits(text).then(|| (text.to_owned(), None)),
        };
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let host: Ipv6Addr = host.parse().ok()?;
        return match port {
            "" => Some((host.to_string(), None)),
            port => Some((host.to_string(), Some(port.strip_prefix(':')?))),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (!host.is_empty() && host.bytes().all(name)).then(|| (host.to_ascii_lowercase(), port))
}

/// `IP:PORT`, `[IPV6]:PORT`, `*:PORT`, `localhost:PORT` or `unix:/DIR`.
pub(super) fn listen(text: &str, folder: &Path) -> Result<ListenAddr, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(&folder.join(path), path);
    }
    socket(text).map(ListenAddr::Tcp).ok_or_else(|| {
        "expected IP:PORT, [IPV6]:PORT, *:PORT (all IPv4 addresses) or unix:/DIRECTORY".into()
    })
}

/// `IP:PORT`, `[IPV6]:PORT`, `*:PORT` or `localhost:PORT`.
pub(super) fn tcp(text: &str) -> Result<SocketAddr, String> {
    socket(text)
        .ok_or_else(|| "expected IP:PORT, [IPV6]:PORT or *:PORT (all IPv4 addresses)".into())
}

fn socket(text: &str) -> Option<SocketAddr> {
    let known = text.split_once(':').and_then(|(host, port)| {
        let ip = match host {
            "*" => Ipv4Addr::UNSPECIFIED,
            "localhost" => Ipv4Addr::LOCALHOST,
            _ => return None,
        };
        Some(SocketAddr::new(ip.into(), port.parse().ok()?))
    });
    known.or_else(|| text.parse().ok())
}

/// The file of a Unix socket, beside which there is room for another one while it is replaced.
pub(super) fn socket_file(text: &str, folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join(text);
    if path.as_os_str().len() + ".new".len() > UNIX_PATH_MAX {
        let most = UNIX_PATH_MAX - ".new".len();
        return Err(format!(
            "this path of a Unix socket has at most {most} bytes"
        ));
    }
    if text.contains('\0') || text.ends_with('/') {
        return Err("expected the path of a Unix socket".into());
    }
    Ok(path)
}

fn unix(path: &Path, given: &str) -> Result<ListenAddr, String> {
    let longest = match path.file_name().and_then(|n| n.to_str()) {
        Some(name) if name.starts_with(".s.PGSQL.") => path.to_owned(),
        _ => path.join(".s.PGSQL.65535"),
    };
    if given.is_empty() || given.contains('\0') {
        return Err("expected the directory of the socket behind unix:".into());
    }
    if longest.as_os_str().len() > UNIX_PATH_MAX {
        return Err(format!(
            "the path of a Unix socket has at most {UNIX_PATH_MAX} bytes"
        ));
    }
    Ok(ListenAddr::Unix(path.to_owned()))
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| "expected a network such as 10.0.0.0/8 or 2001:db8::/32")?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!("has host bits set; {} is meant?", net.trunc()))
    }
}

/// The domain below which tenants have their server names, in lower case.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if text.len() <= 253 && text.split('.').all(label) && text.parse::<IpAddr>().is_err() {
        Ok(text)
    } else {
        Err("expected a domain name such as \"db.example.com\"".into())
    }
}

/// A filter for log lines: `info`, `warn,tenantry=debug`.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // The filter's own grammar takes a misspelt level for the name of a module.
    let level = |part: &str| {
        part.contains(['=', '[']) || LEVELS.iter().any(|l| l.eq_ignore_ascii_case(part.trim()))
    };
    let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
    if text.split(',').all(level) && parsed.is_ok() {
        Ok(text.to_owned())
    } else {
        Err("expected off, error, warn, info, debug, trace or a filter such as \"info,tenantry=debug\"".into())
    }
}

/// What a role's stored password is, as PostgreSQL tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Plain,
    Md5,
    Scram,
}

/// Tells the kinds apart; a text that means to be a verifier and is none is an error.
pub(super) fn stored(text: &str) -> Result<Stored, String> {
    if let Some(rest) = text.strip_prefix("SCRAM-SHA-256$") {
        return match scram_verifier(rest) {
            Some(()) => Ok(Stored::Scram),
            None => Err(format!(
                "a malformed verifier; expected \
                 SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>, with 1 to \
                 {MAX_SCRAM_ITERATIONS} iterations and at most {MAX_SCRAM_SALT} bytes of salt"
            )),
        };
    }
    match text.strip_prefix("md5") {
        Some(hex) if hex.len() == 32 => {
            let fits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if fits {
                Ok(Stored::Md5)
            } else {
                Err("a malformed md5 verifier; expected md5 and 32 digits 0-9a-f".into())
            }
        }
        _ => Ok(Stored::Plain),
    }
}

fn scram_verifier(rest: &str) -> Option<()> {
    let (head, keys) = rest.split_once('$')?;
    let (iterations, salt) = head.split_once(':')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let iterations: u32 = iterations.parse().ok()?;
    let key = |text| {
        STANDARD
            .decode(text)
            .ok()
            .filter(|k: &Vec<u8>| k.len() == 32)
    };
    let salt = STANDARD.decode(salt).ok()?;
    key(stored_key)?;
    key(server_key)?;
    let fits = (1..=MAX_SCRAM_ITERATIONS).contains(&iterations)
        && (1..=MAX_SCRAM_SALT).contains(&salt.len());
    fits.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0s", 0),
            ("50ms", 50),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            " 1s",
            "1 s",
            "1S",
            "366d",
            "99999999999999999999999h",
            "1µs",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nodes() {
        for (text, shown) in [
            ("10.0.0.1:5432", "10.0.0.1:5432"),
            ("DB-1.example.com", "db-1.example.com:5432"),
            ("[::1]:6000", "[::1]:6000"),
            ("[::1]", "[::1]:5432"),
            ("/run/postgresql:5433", "/run/postgresql:5433"),
            ("/run/postgresql", "/run/postgresql:5432"),
        ] {
            assert_eq!(
                node(text).map(|n| n.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for bad in [
            "",
            ":5432",
            "host:0",
            "host:65536",
            "host:",
            "::1",
            "a@b",
            "a b",
            "[::1]x",
            "postgres://h/",
        ] {
            assert!(node(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn listeners() {
        let folder = Path::new("/etc/tenantry");
        let tcp = |a: &str| Ok(ListenAddr::Tcp(a.parse().unwrap()));
        assert_eq!(listen("127.0.0.1:6432", folder), tcp("127.0.0.1:6432"));
        assert_eq!(listen("*:0", folder), tcp("0.0.0.0:0"));
        assert_eq!(listen("localhost:1", folder), tcp("127.0.0.1:1"));
        assert_eq!(listen("[::]:6432", folder), tcp("[::]:6432"));
        assert_eq!(
            listen("unix:/run/t", folder),
            Ok(ListenAddr::Unix("/run/t".into()))
        );
        assert_eq!(
            listen("unix:t", folder),
            Ok(ListenAddr::Unix("/etc/tenantry/t".into()))
        );
        let long = format!("unix:/{}", "x".repeat(100));
        for bad in [
            "",
            "6432",
            "127.0.0.1",
            "db.example.com:1",
            "unix:",
            long.as_str(),
        ] {
            assert!(listen(bad, folder).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_and_domains() {
        assert_eq!(
            network("10.0.0.7").map(|n| n.to_string()),
            Ok("10.0.0.7/32".into())
        );
        assert!(network("10.0.0.0/8").is_ok() && network("10.0.0.1/8").is_err());
        assert_eq!(domain("DB.Example.com."), Ok("db.example.com".into()));
        assert!(domain("10.0.0.1").is_err() && domain(".x").is_err() && domain("a b").is_err());
    }

    #[test]
    fn log_filters() {
        assert!(log_filter("info").is_ok() && log_filter("WARN,tenantry=debug").is_ok());
        assert!(
            log_filter("verbose").is_err()
                && log_filter("").is_err()
                && log_filter("a=loud").is_err()
        );
    }

    #[test]
    fn stored_passwords() {
        let key = STANDARD.encode([7u8; 32]);
        assert_eq!(
            stored(&format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}")),
            Ok(Stored::Scram)
        );
        assert_eq!(
            stored("md50123456789abcdef0123456789abcdef"),
            Ok(Stored::Md5)
        );
        for plain in ["hunter2", "", "md5", "md5 of what", "scram-sha-256$"] {
            assert_eq!(stored(plain), Ok(Stored::Plain), "{plain}");
        }
        for bad in [
            "SCRAM-SHA-256$".to_owned(),
            "SCRAM-SHA-256$4096:...".to_owned(),
            format!("SCRAM-SHA-256$0:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$10000001:c2FsdA==${key}:{key}"),
            format!("SCRAM-SHA-256$1:{}${key}:{key}", STANDARD.encode([0; 513])),
            format!("SCRAM-SHA-256$4096:${key}:{key}"),
            format!("SCRAM-SHA-256$4096:c2FsdA==${key}:AAAA"),
            "md5X123456789abcdef0123456789abcdef".to_owned(),
        ] {
            assert!(stored(&bad).is_err(), "{bad}");
        }
    }
}
