//! First packets of strangers: what stands behind the length field.
//!
//! What is understood says the same again when it is written down as a packet; a tenant and a role
//! come out only where the packet names them.

use std::path::Path;
use std::sync::LazyLock;

use tenantry::tenant::Registry;
use tenantry::tenant::resolve::{Evidence, resolve};
use tenantry::wire::startup::{self, CancelRequest, FirstPacket, Startup};

/// Two tenants, one of which has a role with a dot and a database that is the other one's slug.
const TENANTS: &str = r#"
[[cluster]]
name = "main"
primary = "127.0.0.1:5432"

[[tenant]]
slug = "acme"
cluster = "main"
database = "tenant_acme"
user = "tenant_acme"
roles = [{ name = "app", password = "secret" }, { name = "a.b", password = "secret" }]

[[tenant]]
slug = "globex"
cluster = "main"
database = "acme"
user = "tenant_globex"
roles = [{ name = "app", password = "secret" }]
"#;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let config = tenantry::config::parse(TENANTS, Path::new("proxy.toml"), &|_| None);
    Registry::build(&config.expect("it is a good one"), &Registry::default())
});

pub fn startup(data: &[u8]) {
    lengths(data);
    match startup::decode(data) {
        Ok(FirstPacket::Startup(packet)) => opens(data, &packet),
        Ok(FirstPacket::Cancel(request)) => assert_eq!(packed(&request), data),
        Ok(FirstPacket::SslRequest | FirstPacket::GssRequest) => assert_eq!(data.len(), 4),
        Err(error) => {
            let told = tenantry::error::ClientError::from(error).message;
            assert!(!told.is_empty() && told.len() < data.len() + 200);
        }
    }
}

/// No length is accepted that a packet does not have.
fn lengths(data: &[u8]) {
    let Some(field) = data.first_chunk::<4>() else {
        return;
    };
    if let Ok(body) = startup::body_length(*field) {
        assert!((4..=startup::MAX_BODY).contains(&body));
        assert_eq!(u32::from_be_bytes(*field) as usize, body + 4);
    }
}

fn opens(data: &[u8], packet: &Startup) {
    assert!(!packet.user.is_empty() && packet.database.as_deref() != Some(""));
    let texts = texts(packet);
    assert!(texts.iter().all(|text| !text.contains('\0')));
    let size: usize = texts.iter().map(|text| text.len() + 1).sum();
    assert!(size <= data.len(), "{size} bytes of {}", data.len());
    let mut distinct = packet.tenants.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), packet.tenants.len());
    // A backslash may stand before any character of `options`.
    let mut folded = data.to_ascii_lowercase();
    folded.retain(|byte| *byte != b'\\');
    let says = |word: &[u8]| folded.windows(word.len()).any(|part| part == word);
    assert!(packet.tenants.is_empty() || says(b"tenant"));
    negotiates(packet);
    said_again(packet);
    logs_in(packet);
}

fn texts(packet: &Startup) -> Vec<&str> {
    let mut texts = vec![packet.user.as_str()];
    texts.extend(packet.database.as_deref());
    let settings = packet.settings.iter().flat_map(|(n, v)| [n, v]);
    let others = packet.tenants.iter().chain(&packet.unknown_options);
    texts.extend(settings.chain(others).map(String::as_str));
    texts
}

/// NegotiateProtocolVersion is well-formed and names each option that we do not know.
fn negotiates(packet: &Startup) {
    let Some(message) = packet.negotiation() else {
        assert!(packet.unknown_options.is_empty());
        return;
    };
    let head = tenantry::wire::frame::header(&message)
        .expect("its length is right")
        .expect("it is whole");
    assert_eq!((head.tag, head.total), (b'v', message.len()));
    let names: Vec<&[u8]> = message[13..].split_inclusive(|b| *b == 0).collect();
    assert_eq!(names.len(), packet.unknown_options.len());
}

/// The packet in other words means the same.
fn said_again(packet: &Startup) {
    // Given in `options`, such names mean something else than as parameters.
    let special = |name: &str| {
        ["user", "database", "options", "replication"].contains(&name) || name.starts_with("_pq_.")
    };
    if packet.settings.iter().any(|(name, _)| special(name)) {
        return;
    }
    let mut body = vec![0, 3];
    body.extend(packet.minor.to_be_bytes());
    let mut put = |name: &str, value: &str| {
        for text in [name, value] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    };
    packet.unknown_options.iter().for_each(|name| put(name, ""));
    put("user", &packet.user);
    put("database", packet.database.as_deref().unwrap_or_default());
    packet.tenants.iter().for_each(|slug| put("tenant", slug));
    packet.settings.iter().for_each(|(n, v)| put(n, v));
    body.push(0);
    let again = startup::decode(&body);
    assert_eq!(again, Ok(FirstPacket::Startup(packet.clone())));
}

/// A login is somebody's only if the packet names the tenant and the role.
fn logs_in(packet: &Startup) {
    let option_tenant = packet.tenants.first().map(String::as_str);
    let evidence = Evidence {
        server_name: packet.settings.first().map(|(_, value)| value.as_str()),
        domain: Some("db.example.com"),
        option_tenant,
        user: &packet.user,
        database: packet.database.as_deref(),
    };
    let Ok(found) = resolve(&REGISTRY, &evidence) else {
        return;
    };
    let slug = found.tenant.slug().as_str();
    assert!(option_tenant.is_none_or(|named| named == slug));
    assert!(packet.user.starts_with(found.role.name.as_str()));
    let by_user = packet.user.ends_with(slug);
    let by_database = packet.database.as_deref() == Some(slug);
    let by_name = evidence.server_name.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.trim_end_matches('.') == format!("{slug}.db.example.com")
    });
    assert!(by_user || by_database || by_name || option_tenant.is_some());
}

fn packed(request: &CancelRequest) -> Vec<u8> {
    let mut body = vec![0x04, 0xd2, 0x16, 0x2e];
    body.extend(request.process_id.to_be_bytes());
    body.extend_from_slice(&request.key);
    assert!((4..=256).contains(&request.key.len()));
    body
}
