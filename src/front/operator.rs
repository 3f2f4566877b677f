//! Logins to the console: who is let in, and the hand-over.
//!
//! They go through the same exchange as any login, by the method of the listener; a name that is no
//! user's looks as everywhere. They take no place in `max_clients`. On a Unix socket, who runs as the
//! proxy's own user, or as root, gets in as `pgbouncer` or `tenantry` without a password, as with
//! PgBouncer: it could read the configuration anyway.

use std::io;
use std::time::SystemTime;

use super::attempt::Attempt;
use super::channel::Channel;
use super::counts::Reason;
use super::end::End;
use crate::config::{ConsoleRole, ConsoleUser};
use crate::console::{self, Link, MAX_SESSIONS};
use crate::error::{ClientError, SqlState};
use crate::gauge::Place;
use crate::types::is_console;
use crate::wire::startup::Startup;

/// A login to the console that is complete: AuthenticationOk is sent.
pub(super) struct Operator {
    pub(super) login: console::Login,
    pub(super) place: Place,
}

impl Link for Channel {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).await
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::write_all(self, bytes).await
    }

    async fn close(self) {
        Self::close(self).await;
    }
}

/// Whether a client asks for the console, whether or not it may. libpq sends the user's name as
/// database when none was given.
pub(super) fn is_wanted(startup: &Startup) -> bool {
    is_console(startup.database.as_deref().unwrap_or(&startup.user))
}

/// Whether it needs no password: it is who runs the proxy.
pub(super) fn is_owner(channel: &Channel, startup: &Startup) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let is_own = channel.peer_uid().is_some_and(|uid| uid == own || uid == 0);
    is_own && is_console(&startup.user) && is_wanted(startup) && startup.tenants.is_empty()
}

impl Attempt<'_> {
    /// What a user of the console is known by, once it has proven who it is.
    pub(super) fn enter_console(
        &self,
        channel: &Channel,
        startup: &Startup,
        user: &Who,
    ) -> Result<Operator, End> {
        let console = self.front.console.as_ref();
        let place = console.and_then(console::Console::enter);
        let place = place.ok_or_else(|| {
            let text = format!("too many sessions of the console: there may be {MAX_SESSIONS}");
            End::told(
                Reason::LimitConsole,
                ClientError::fatal(SqlState::TOO_MANY, text),
            )
        })?;
        let settings = startup.settings.iter().rev();
        let name = |(name, _): &&(String, String)| name == "application_name";
        let application_name = settings.clone().find(|setting| name(setting));
        let login = console::Login {
            user: user.name().to_owned(),
            role: user.role(),
            protocol: super::attempt::protocol(startup),
            application_name: application_name.map(|(_, v)| v.clone()).unwrap_or_default(),
            peer: self.peer(),
            local: self.ends.map(|ends| ends.local),
            tls: channel.tls_in_words(),
            connected: SystemTime::now(),
        };
        Ok(Operator { login, place })
    }

    /// Hands a session over.
    pub(super) fn admit_operator(&self, channel: Channel, operator: Operator) {
        let way = self.way(&channel);
        self.front
            .journal
            .operator(self.peer(), &operator.login, way);
        if let Some(console) = &self.front.console {
            console.serve(channel, operator.login, operator.place);
        }
    }
}

/// A user of the console who has proven it.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// One of `[console] users`.
    Configured(ConsoleUser),
    /// Who runs the proxy, under this name.
    Owner(String),
}

impl Who {
    fn name(&self) -> &str {
        match self {
            Self::Configured(user) => user.name.as_str(),
            Self::Owner(name) => name,
        }
    }

    fn role(&self) -> ConsoleRole {
        match self {
            Self::Configured(user) => user.role,
            Self::Owner(_) => ConsoleRole::Admin,
        }
    }
}
