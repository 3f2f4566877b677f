//! What became of logins: counted, and one log line each.
//!
//! A login is a line; so is a failure, but of each reason only so many a second: who causes them
//! may be hostile. How many were left out is then told once a second. Texts of strangers are cut
//! and escaped; secrets are in none of them.

use std::array;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::counts::{Counters, Counts, Reason};
use super::end::End;
use crate::config::AuthMethod;
use crate::console;
use crate::lines::{Line, LineLimit, beginning};
use crate::tenant::Identity;

/// Lines a second about failures for one reason.
const PER_SECOND: u32 = 10;
/// Lines at once about them.
const BURST: u32 = 50;
/// When to tell how many lines were left out.
const SUMMARY: Duration = Duration::from_secs(1);

/// Counts and limits of one front.
#[derive(Debug)]
pub(super) struct Journal {
    counters: Counters,
    limits: [LineLimit; Reason::ALL.len()],
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            counters: Counters::default(),
            limits: array::from_fn(|_| LineLimit::new(PER_SECOND, BURST)),
        }
    }
}

/// How a client got in, for its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) method: AuthMethod,
    /// `TLSv1.3`, or `none`.
    pub(super) tls: &'static str,
}

impl Journal {
    pub(super) fn counts(&self) -> Counts {
        self.counters.now()
    }

    pub(super) fn login(&self, peer: Option<SocketAddr>, identity: &Identity, way: Way) {
        self.counters.login(way.method);
        let (tenant, role) = (identity.tenant.slug(), &identity.role);
        let (tls, method) = (way.tls, way.method.word());
        info!(%tenant, ?role, peer = %shown(peer), tls, method, "login");
    }

    /// A login to the console.
    pub(super) fn operator(&self, peer: Option<SocketAddr>, login: &console::Login, way: Way) {
        self.counters.login(way.method);
        let (user, role) = (beginning(&login.user), login.role);
        let (tls, method) = (way.tls, way.method.word());
        info!(?user, ?role, peer = %shown(peer), tls, method, "login to the console");
    }

    pub(super) fn cancel(&self, peer: Option<SocketAddr>) {
        self.counters.cancel();
        debug!(peer = %shown(peer), "cancel request");
    }

    pub(super) fn failure(self: &Arc<Self>, peer: Option<SocketAddr>, end: &End) {
        let reason = match end {
            End::Canceled => return,
            End::Gone(_) => Reason::Gone,
            End::Tls(_) => Reason::Tls,
            End::Header(_) => Reason::ProxyHeader,
            End::Late(_) => Reason::Timeout,
            End::Silent(reason, _) => *reason,
            End::Refused(refusal) => refusal.reason(),
        };
        self.counters.failure(reason);
        // Health checks connect and leave.
        if matches!(end, End::Gone(error) if error.kind() == std::io::ErrorKind::UnexpectedEof) {
            return debug!(peer = %shown(peer), "client left before its login");
        }
        match self.limits[reason as usize].ask(Instant::now()) {
            Line::Write => write(peer, reason, end),
            Line::LeaveOut => {}
            Line::LeaveOutFirst => self.tell_later(reason),
        }
    }

    /// Must be called from within a tokio runtime.
    fn tell_later(self: &Arc<Self>, reason: Reason) {
        let journal = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(SUMMARY).await;
            let lines = journal.limits[reason as usize].left_out();
            info!(reason = reason.name(), lines, "failed logins left out");
        });
    }
}

fn write(peer: Option<SocketAddr>, reason: Reason, end: &End) {
    let (peer, reason) = (shown(peer), reason.name());
    match end {
        End::Canceled => {}
        End::Gone(error) => info!(%peer, reason, %error, "connection failed before its login"),
        End::Tls(error) => info!(%peer, reason, %error, "TLS failed before the login"),
        End::Header(error) => info!(%peer, reason, why = %error, "closed"),
        End::Late(limit) => {
            info!(%peer, reason, "login took longer than login_timeout ({limit:?}), closed");
        }
        End::Silent(_, why) => info!(%peer, reason, why, "closed"),
        End::Refused(refusal) => {
            let user = refusal.user.as_deref().map(beginning);
            let (code, why) = (refusal.error.code.as_str(), refusal.why());
            let why = beginning(&why);
            let tenant = refusal.of.as_ref().map(|of| of.tenant.slug().as_str());
            info!(%peer, tenant, ?user, reason, code, ?why, "refused");
        }
    }
}

fn shown(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
}
