//! What single keys cannot tell: whether listeners, methods, certificates and stored passwords fit
//! together, so that everyone who is configured can log in.

use super::reader::{Document, Place};
use super::value::{self, Stored};
use super::{AuthMethod, ClientTlsMode, ListenAddr, ProxyMode, Server, console, server, tenant};
use crate::types::Secret;

/// Checks each listener's method against its address and TLS.
pub(super) fn listeners(doc: &Document<'_>, draft: &server::Draft, default: (AuthMethod, &Place)) {
    for (listener, place) in draft.server.listen.iter().zip(&draft.places) {
        let (method, place) = match listener.method {
            Some(method) => (method, place),
            None => (default.0, default.1),
        };
        if let Err(message) = method_fits(method, &listener.address, &draft.server) {
            doc.error(place, message);
        }
    }
}

/// Checks the same of listeners and methods that come from two files.
pub(super) fn listeners_fit(server: &Server, default: AuthMethod) -> Result<(), String> {
    server.listen.iter().try_for_each(|listener| {
        method_fits(
            listener.method.unwrap_or(default),
            &listener.address,
            server,
        )
    })
}

fn method_fits(method: AuthMethod, address: &ListenAddr, server: &Server) -> Result<(), String> {
    match (method, address) {
        (AuthMethod::Trust, ListenAddr::Tcp(a)) if !a.ip().to_canonical().is_loopback() => Err(
            format!("`trust` is for loopback and Unix sockets only, and {a} is neither"),
        ),
        (AuthMethod::Trust, ListenAddr::Tcp(a))
            if server.proxy_protocol.mode == ProxyMode::Required =>
        {
            Err(format!(
                "`trust` is for clients of this machine, and `proxy_protocol` brings others to {a}"
            ))
        }
        (AuthMethod::Cert, ListenAddr::Unix(_)) => {
            Err("`cert` needs TLS, which clients do not use over Unix sockets".into())
        }
        (AuthMethod::Cert, ListenAddr::Tcp(_))
            if server.tls.mode == ClientTlsMode::Disable || server.tls.client_ca.is_none() =>
        {
            Err(
                "`cert` needs TLS: `certificate`, `private_key` and `client_ca` in [server.tls]"
                    .into(),
            )
        }
        _ => Ok(()),
    }
}

/// Checks that each role can log in by one of the listeners' methods, and that each tenant leaves
/// us something to sign in with at its server.
pub(super) fn logins(
    doc: &Document<'_>,
    server: &Server,
    default: AuthMethod,
    tenants: &[tenant::Draft],
) {
    let methods = methods(server, default);
    let other = methods.iter().find(|m| **m != AuthMethod::ScramSha256);
    for draft in tenants {
        if let (None, Some(other)) = (&draft.tenant.login, other) {
            let message = format!(
                "needs `user` and `password`: clients that log in by `{}` leave nothing to sign \
                 in with at the server",
                other.word()
            );
            doc.error(&draft.place, message);
            continue;
        }
        for (role, place) in draft.tenant.roles.iter().zip(&draft.role_places) {
            let password = role.password.as_ref();
            if !methods.iter().any(|m| can_log_in(*m, password)) {
                let who = format!("role `{}`", role.name);
                doc.error(place, stuck(&methods, &who, password));
            }
        }
    }
}

/// Checks that each user of the console can log in by one of the listeners' methods.
pub(super) fn console(
    doc: &Document<'_>,
    server: &Server,
    default: AuthMethod,
    draft: &console::Draft,
) {
    let methods = methods(server, default);
    for (user, place) in draft.console.users.iter().zip(&draft.places) {
        let password = Some(&user.password);
        if !methods.iter().any(|m| can_log_in(*m, password)) {
            let who = format!("user `{}`", user.name);
            doc.error(place, stuck(&methods, &who, password));
        }
    }
}

/// The methods of all listeners, each once.
fn methods(server: &Server, default: AuthMethod) -> Vec<AuthMethod> {
    let mut methods: Vec<AuthMethod> = Vec::new();
    for method in server.listen.iter().map(|l| l.method.unwrap_or(default)) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}

fn can_log_in(method: AuthMethod, password: Option<&Secret>) -> bool {
    // A malformed verifier has been reported where it was read.
    let kind = password.and_then(|p| value::stored(p.expose()).ok());
    match method {
        AuthMethod::ScramSha256 => matches!(kind, Some(Stored::Plain | Stored::Scram)),
        AuthMethod::Md5 => matches!(kind, Some(Stored::Plain | Stored::Md5)),
        AuthMethod::Cert | AuthMethod::Trust => true,
    }
}

fn stuck(methods: &[AuthMethod], who: &str, password: Option<&Secret>) -> String {
    let methods: Vec<&str> = methods.iter().map(|m| m.word()).collect();
    let has = match password.map(|p| value::stored(p.expose())) {
        None => "no password",
        Some(Ok(Stored::Md5)) => "an md5 verifier",
        Some(Ok(Stored::Scram)) => "a SCRAM verifier",
        Some(Ok(Stored::Plain) | Err(_)) => "this password",
    };
    format!(
        "{who} has {has} and cannot log in by {}",
        methods.join(" or ")
    )
}
