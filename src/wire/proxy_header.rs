//! The header of the PROXY protocol, version 2: a balancer says whose connection it passes on.
//!
//! Source: "The PROXY protocol, Versions 1 & 2" of HAProxy, 2.2. Read exactly: [`HEAD`] bytes, then
//! as many as [`Head::body_length`] says, at most [`MAX_BODY`]; what follows is the client's.
//! Additional fields (TLVs) are skipped unread, the optional checksum (CRC32C) among them: TCP has
//! one of its own, and who can change the header can change the checksum. Version 1, a line of
//! text, is refused: its end cannot be found without reading beyond it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes that tell how many follow.
pub const HEAD: usize = 16;
/// Longest body: addresses, and TLVs such as the balancer's certificate names.
pub const MAX_BODY: usize = 2048;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const SIGNATURE_V1: &[u8; 6] = b"PROXY ";

/// The first part of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    form: Form,
    length: usize,
}

/// What the body begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing that counts.
    Own,
    /// Two IPv4 addresses and ports.
    V4,
    /// Two IPv6 addresses and ports.
    V6,
    /// Two paths.
    Paths,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The sender's own (LOCAL), or one whose addresses it cannot say: those of the socket count.
    Own,
    /// Somebody else's.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It is version 1.
    #[error("a PROXY header of version 1; only version 2 is spoken")]
    Version1,
    /// No header at all.
    #[error("no PROXY header")]
    Absent,
    /// A version, command, family or transport that is not in the specification.
    #[error("a PROXY header with an unknown {0}")]
    Unknown(&'static str),
    /// The connection is not one of TCP or a Unix socket.
    #[error("a PROXY header for datagrams")]
    Datagram,
    /// The body is longer than [`MAX_BODY`].
    #[error("a PROXY header longer than 2 KiB")]
    TooLong,
    /// The body is too short for its addresses.
    #[error("a truncated PROXY header")]
    Truncated,
}

/// Reads the first part.
///
/// # Errors
/// Nothing more should be read then.
pub fn head(bytes: &[u8; HEAD]) -> Result<Head, ProxyHeaderError> {
    let (signature, [command, family, length @ ..]) = split(bytes);
    if signature != SIGNATURE {
        return Err(if bytes.starts_with(SIGNATURE_V1) {
            ProxyHeaderError::Version1
        } else {
            ProxyHeaderError::Absent
        });
    }
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_BODY {
        return Err(ProxyHeaderError::TooLong);
    }
    let form = match command {
        // LOCAL: the rest of the header does not count, whatever it is.
        0x20 => Form::Own,
        0x21 => proxied(family)?,
        0x22..=0x2f => return Err(ProxyHeaderError::Unknown("command")),
        _ => return Err(ProxyHeaderError::Unknown("version")),
    };
    if length < form.length() {
        return Err(ProxyHeaderError::Truncated);
    }
    Ok(Head { form, length })
}

fn split(bytes: &[u8; HEAD]) -> (&[u8], [u8; 4]) {
    let (signature, rest) = bytes.split_at(SIGNATURE.len());
    (signature, rest.try_into().expect("16 less 12 bytes"))
}

fn proxied(family: u8) -> Result<Form, ProxyHeaderError> {
    match (family >> 4, family & 0x0f) {
        (0..=3, 2) => Err(ProxyHeaderError::Datagram),
        (0, 0 | 1) | (1..=3, 0) => Ok(Form::Own),
        (1, 1) => Ok(Form::V4),
        (2, 1) => Ok(Form::V6),
        (3, 1) => Ok(Form::Paths),
        (0..=3, _) => Err(ProxyHeaderError::Unknown("transport")),
        _ => Err(ProxyHeaderError::Unknown("family")),
    }
}

impl Form {
    fn length(self) -> usize {
        match self {
            Self::Own => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Paths => 216,
        }
    }
}

impl Head {
    /// How many bytes of the header follow.
    pub fn body_length(self) -> usize {
        self.length
    }

    /// Reads the second part, all of it.
    ///
    /// # Errors
    /// It is not as long as was announced.
    pub fn origin(self, body: &[u8]) -> Result<Origin, ProxyHeaderError> {
        if body.len() != self.length {
            return Err(ProxyHeaderError::Truncated);
        }
        let mut rest = body;
        let read = match self.form {
            // The paths are those of the balancer's machine; they say nothing here.
            Form::Own | Form::Paths => return Ok(Origin::Own),
            Form::V4 => ends(&mut rest, |b: [u8; 4]| Ipv4Addr::from(b).into()),
            Form::V6 => ends(&mut rest, |b: [u8; 16]| Ipv6Addr::from(b).into()),
        };
        read.ok_or(ProxyHeaderError::Truncated)
    }
}

/// Two addresses, then their ports.
fn ends<const N: usize>(rest: &mut &[u8], address: fn([u8; N]) -> IpAddr) -> Option<Origin> {
    let (source, destination) = (address(take(rest)?), address(take(rest)?));
    let (from, to) = (take(rest)?, take(rest)?);
    Some(Origin::Proxied {
        source: SocketAddr::new(source, u16::from_be_bytes(from)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(to)),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

/// A header that says: this connection is the sender's own, such as a health check.
pub fn local() -> [u8; HEAD] {
    let mut header = [0; HEAD];
    header[..SIGNATURE.len()].copy_from_slice(SIGNATURE);
    header[SIGNATURE.len()] = 0x20;
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xd4, 0x31, 0x19, 0x20];

    /// A header with this command, family and body.
    fn header(command: u8, family: u8, body: &[u8]) -> Result<Origin, ProxyHeaderError> {
        let mut bytes = local();
        bytes[12] = command;
        bytes[13] = family;
        bytes[14..].copy_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        head(&bytes)?.origin(body)
    }

    fn proxied(source: &str, destination: &str) -> Result<Origin, ProxyHeaderError> {
        Ok(Origin::Proxied {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        })
    }

    #[test]
    fn addresses_of_both_families_count() {
        assert_eq!(
            header(0x21, 0x11, &V4),
            proxied("192.0.2.7:54321", "10.0.0.1:6432")
        );
        let mut body = [0; 36];
        body[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        body[31] = 1;
        body[32..].copy_from_slice(&[0xd4, 0x31, 0x19, 0x20]);
        assert_eq!(
            header(0x21, 0x21, &body),
            proxied("[2001:db8::7]:54321", "[::1]:6432")
        );
    }

    #[test]
    fn additional_fields_are_skipped_whatever_they_hold() {
        let expected = proxied("192.0.2.7:54321", "10.0.0.1:6432");
        let wrong_checksum = [0x03, 0, 4, 0xde, 0xad, 0xbe, 0xef];
        let authority = [&[0x02, 0, 4][..], b"acme"].concat();
        let wrong_length = [0xea, 0xff, 0xff, 1];
        let large = [0; MAX_BODY - 12];
        for fields in [&wrong_checksum[..], &authority, &wrong_length, &large] {
            assert_eq!(header(0x21, 0x11, &[&V4[..], fields].concat()), expected);
        }
    }

    #[test]
    fn without_addresses_those_of_the_socket_count() {
        for (command, family, body) in [
            (0x20, 0x00, &[][..]),
            (0x20, 0x11, &V4),
            (0x20, 0x11, &[]),
            (0x20, 0xff, &[1, 2, 3]),
            (0x21, 0x00, &[]),
            (0x21, 0x00, &V4),
            (0x21, 0x01, &[]),
            (0x21, 0x10, &V4),
            (0x21, 0x31, &[b'x'; 216]),
        ] {
            let origin = header(command, family, body);
            assert_eq!(origin, Ok(Origin::Own), "{command:#x} {family:#x}");
        }
        let own = head(&local()).unwrap();
        assert_eq!(own.body_length(), 0);
        assert_eq!(own.origin(&[]), Ok(Origin::Own));
    }

    #[test]
    fn what_is_no_header_is_refused_before_its_body() {
        use ProxyHeaderError::*;
        for (bytes, error) in [
            (b"PROXY TCP4 1.2.3", Version1),
            (b"PROXY UNKNOWN\r\n\0", Version1),
            (b"GET / HTTP/1.1\r\n", Absent),
            (
                b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\x04\xd2\x16\x2f",
                Absent,
            ),
            (b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c", Absent),
        ] {
            assert_eq!(head(bytes), Err(error));
        }
        for (command, family, body, error) in [
            (0x11, 0x11, &V4[..], Unknown("version")),
            (0x31, 0x11, &V4, Unknown("version")),
            (0x22, 0x11, &V4, Unknown("command")),
            (0x21, 0x41, &V4, Unknown("family")),
            (0x21, 0x13, &V4, Unknown("transport")),
            (0x21, 0x12, &V4, Datagram),
            (0x21, 0x22, &V4, Datagram),
            (0x21, 0x11, &V4[..11], Truncated),
            (0x21, 0x21, &V4, Truncated),
            (0x21, 0x31, &V4, Truncated),
            (0x21, 0x11, &[0; MAX_BODY + 1], TooLong),
            (0x20, 0x00, &[0; MAX_BODY + 1], TooLong),
        ] {
            assert_eq!(header(command, family, body), Err(error));
        }
    }

    #[test]
    fn a_body_of_another_length_than_announced_is_refused() {
        let mut bytes = local();
        bytes[12..].copy_from_slice(&[0x21, 0x11, 0, 12]);
        let head = head(&bytes).unwrap();
        for body in [&V4[..11], &[&V4[..], &[0]].concat()] {
            assert_eq!(head.origin(body), Err(ProxyHeaderError::Truncated));
        }
    }
}
