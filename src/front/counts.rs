//! How logins end, counted since the start.
//!
//! Each connection that is accepted and ends before a worker has it counts once, as a failure with
//! one reason; each that a worker gets counts once, as a login. A cancel request counts as such and
//! as nothing else, unless carrying it out outlasts `login_timeout`, which then counts, too.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::AuthMethod;

/// Why a connection reached no worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing names a tenant, or something names one that there is not.
    UnknownTenant,
    /// The tenant has no such role.
    UnknownRole,
    /// Two pieces of evidence name different tenants, or the database is another's.
    EvidenceDisagrees,
    /// The client's address is not in the tenant's `allowed_networks`.
    Network,
    /// A wrong password.
    Password,
    /// No certificate, or one for somebody else.
    Certificate,
    /// Bytes that are not PostgreSQL's protocol, or a part of it that is not served.
    Protocol,
    /// The handshake failed, or TLS is required and was not asked for.
    Tls,
    /// `login_timeout`.
    Timeout,
    /// `server.max_clients`.
    LimitProxy,
    /// The tenant's `max_clients`.
    LimitTenant,
    /// The tenant is suspended.
    Suspended,
    /// An operator has disabled the tenant.
    Disabled,
    /// There are too many sessions of the console.
    LimitConsole,
    /// The client left, or its connection was lost.
    Gone,
    /// No PROXY header where one must be, or from where none may come.
    ProxyHeader,
    /// Our own fault: the system gave no random bytes.
    Internal,
}

impl Reason {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 17] = [
        Self::UnknownTenant,
        Self::UnknownRole,
        Self::EvidenceDisagrees,
        Self::Network,
        Self::Password,
        Self::Certificate,
        Self::Protocol,
        Self::Tls,
        Self::Timeout,
        Self::LimitProxy,
        Self::LimitTenant,
        Self::Suspended,
        Self::Disabled,
        Self::LimitConsole,
        Self::Gone,
        Self::ProxyHeader,
        Self::Internal,
    ];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownTenant => "unknown_tenant",
            Self::UnknownRole => "unknown_role",
            Self::EvidenceDisagrees => "evidence_disagrees",
            Self::Network => "network",
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::LimitProxy => "limit_proxy",
            Self::LimitTenant => "limit_tenant",
            Self::Suspended => "suspended",
            Self::Disabled => "disabled",
            Self::LimitConsole => "limit_console",
            Self::Gone => "gone",
            Self::ProxyHeader => "proxy_header",
            Self::Internal => "internal",
        }
    }
}

/// The counters, which only go up.
#[derive(Debug, Default)]
pub(super) struct Counters {
    logins: [AtomicU64; AuthMethod::ALL.len()],
    failures: [AtomicU64; Reason::ALL.len()],
    cancels: AtomicU64,
}

/// The counts at one moment. Each is exact; they are read one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Logins that a worker got, by method: all methods, in the order of [`AuthMethod::ALL`].
    pub logins: [(AuthMethod, u64); AuthMethod::ALL.len()],
    /// Connections that no worker got, by reason: all reasons, in the order of [`Reason::ALL`].
    pub failures: [(Reason, u64); Reason::ALL.len()],
    /// Cancel requests that were well-formed, whether or not their key fits anybody.
    pub cancels: u64,
}

impl Counts {
    /// Logins by one method.
    pub fn logins_by(&self, method: AuthMethod) -> u64 {
        self.logins[method as usize].1
    }

    /// Failures for one reason.
    pub fn failed(&self, reason: Reason) -> u64 {
        self.failures[reason as usize].1
    }
}

impl Counters {
    pub(super) fn login(&self, method: AuthMethod) {
        self.logins[method as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failure(&self, reason: Reason) {
        self.failures[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cancel(&self) {
        self.cancels.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            logins: AuthMethod::ALL.map(|m| (m, count(&self.logins[m as usize]))),
            failures: Reason::ALL.map(|r| (r, count(&self.failures[r as usize]))),
            cancels: count(&self.cancels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_the_order_of_the_enums() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
        for (index, method) in AuthMethod::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, index, "{}", method.word());
        }
    }

    #[test]
    fn each_count_is_its_own() {
        let counters = Counters::default();
        counters.login(AuthMethod::Cert);
        counters.failure(Reason::Gone);
        counters.failure(Reason::Gone);
        counters.cancel();
        let now = counters.now();
        assert_eq!(now.logins_by(AuthMethod::Cert), 1);
        assert_eq!(now.failed(Reason::Gone), 2);
        assert_eq!(now.cancels, 1);
        assert_eq!(now.failures.iter().map(|(_, n)| n).sum::<u64>(), 2);
        assert_eq!(now.logins.iter().map(|(_, n)| n).sum::<u64>(), 1);
    }
}
