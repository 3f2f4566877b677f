//! Headers of the PROXY protocol: what a balancer, or whoever speaks at its place, says first.
//!
//! What is understood is what the bytes say; however many follow, no more are asked for than the
//! longest header has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tenantry::wire::proxy_header::{self, HEAD, MAX_BODY, Origin};

pub fn proxy_header(data: &[u8]) {
    let Some((first, rest)) = data.split_first_chunk::<HEAD>() else {
        return;
    };
    let Ok(head) = proxy_header::head(first) else {
        return;
    };
    assert!(first.starts_with(b"\r\n\r\n\0\r\nQUIT\n") && first[12] >> 4 == 2);
    let announced = usize::from(u16::from_be_bytes([first[14], first[15]]));
    assert!(head.body_length() == announced && announced <= MAX_BODY);
    // All but the announced number is refused, and that number is not.
    assert!(head.origin(rest).is_ok() == (rest.len() == announced));
    let body: Vec<u8> = rest
        .iter()
        .copied()
        .chain(std::iter::repeat(0))
        .take(announced)
        .collect();
    let origin = head.origin(&body).expect("it is as long as was announced");
    assert_eq!(origin, said((first[12], first[13]), &body));
}

/// What the specification says of command, family and body.
fn said((command, family): (u8, u8), body: &[u8]) -> Origin {
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let (source, destination): (IpAddr, IpAddr) = match (command, family) {
        (0x21, 0x11) => (four(&body[0..4]), four(&body[4..8])),
        (0x21, 0x21) => (six(&body[0..16]), six(&body[16..32])),
        _ => return Origin::Own,
    };
    let ports = if family == 0x11 { 8 } else { 32 };
    Origin::Proxied {
        source: SocketAddr::new(source, port(ports)),
        destination: SocketAddr::new(destination, port(ports + 2)),
    }
}

fn four(bytes: &[u8]) -> IpAddr {
    let bytes: [u8; 4] = bytes.try_into().expect("four of them");
    Ipv4Addr::from(bytes).into()
}

fn six(bytes: &[u8]) -> IpAddr {
    let bytes: [u8; 16] = bytes.try_into().expect("sixteen of them");
    Ipv6Addr::from(bytes).into()
}
