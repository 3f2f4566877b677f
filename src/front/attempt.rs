//! One client's login, step by step; the order of the steps is the guarantee of `front`: what
//! depends on the tenant is said after the proof, never before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::channel::{Channel, Turns};
use super::counts::Reason;
use super::end::{Cause, End};
use super::journal::Way;
use super::login::{self, Applicant, Known, Unfit};
use super::opening::{self, Opened};
use super::operator::{self, Operator, Who};
use super::{Ends, Front, FrontSettings, OVERFLOW, claim, origin};
use crate::auth::messages;
use crate::auth::scram::ServerBinding;
use crate::auth::verifier::Claim;
use crate::config::{AuthMethod, ClientTlsMode, Listener, TenantStatus};
use crate::error::{ClientError, SqlState};
use crate::gauge::Place;
use crate::tenant::resolve::{Evidence, Failure, Resolved, resolve};
use crate::tenant::{Identity, Tenant};
use crate::types::{CONSOLE, RoleName, ScramClientKey, TenantId, is_console};
use crate::wire::startup::{Minor, Startup};
use crate::worker::{NewClient, Protocol};

/// One client's login.
pub(super) struct Attempt<'a> {
    pub(super) front: &'a Front,
    pub(super) settings: &'a FrontSettings,
    pub(super) listener: &'a Listener,
    /// Both ends of the connection; none on a Unix socket.
    pub(super) ends: Option<Ends>,
}

/// A login that has succeeded, but for the limits.
struct Proven {
    startup: Startup,
    subject: Subject,
    key: Option<ScramClientKey>,
}

/// Who a client says it is, where that is right.
enum Subject {
    Client(Resolved),
    Operator(Who),
}

impl Subject {
    fn known(&self) -> Option<Known<'_>> {
        match self {
            Self::Client(found) => Some(Known {
                id: found.tenant.id,
                slug: found.tenant.slug().as_str(),
                role: &found.role.name,
            }),
            Self::Operator(Who::Configured(user)) => Some(Known {
                id: TenantId::CONSOLE,
                slug: CONSOLE,
                role: &user.name,
            }),
            Self::Operator(Who::Owner(_)) => None,
        }
    }
}

impl Attempt<'_> {
    pub(super) async fn run(&mut self, mut channel: Channel) {
        let Some(mut seat) = self.seat() else {
            return self.turn_away(channel);
        };
        match self.log_in(&mut channel, &mut seat).await {
            Ok(Admission::Client(client)) => self.admit(channel, client),
            Ok(Admission::Operator(operator)) => self.admit_operator(channel, operator),
            Err(end) => self.end(channel, end).await,
        }
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.ends.map(|ends| ends.peer)
    }

    fn seat(&self) -> Option<Seat> {
        let (clients, overflow) = (&self.front.clients, &self.front.overflow);
        if let Some(place) = clients.enter(self.settings.max_clients) {
            return Some(Seat::Taken(place));
        }
        overflow
            .enter(OVERFLOW)
            .map(|_held| Seat::Overflow { _held })
    }

    /// Without a seat nothing is awaited: no descriptor is held for somebody who does not read.
    fn turn_away(&self, channel: Channel) {
        let end = self.full();
        if let End::Refused(refusal) = &end {
            let mut message = Vec::new();
            refusal.error.encode(&mut message);
            channel.write_now(&message);
        }
        self.front.journal.failure(self.peer(), &end);
    }

    fn full(&self) -> End {
        let limit = self.settings.max_clients;
        let text = format!("too many clients: max_clients = {limit} of the proxy is reached");
        let error = ClientError::fatal(SqlState::TOO_MANY, text);
        End::told(
            Reason::LimitProxy,
            error.with_hint("try again later, or raise server.max_clients"),
        )
    }

    /// From the first byte to AuthenticationOk.
    async fn log_in(&mut self, channel: &mut Channel, seat: &mut Seat) -> Result<Admission, End> {
        channel.keep_alive(self.settings.keepalive)?;
        self.ends = origin::ends(channel, &self.settings.proxy_protocol, self.ends).await?;
        let tls = self.settings.tls.as_ref();
        let turns = Turns {
            fair: &self.front.handshakes,
            address: self.peer().map(|peer| peer.ip()),
        };
        let startup = match opening::open(channel, tls, &turns).await? {
            Opened::Startup(startup) => startup,
            Opened::Cancel(request) => {
                let carried = self.front.cancel(request.process_id, &request.key);
                self.front.journal.cancel(self.peer());
                carried.end().await;
                return Err(End::Canceled);
            }
        };
        if matches!(seat, Seat::Overflow { .. }) && !operator::is_wanted(&startup) {
            return Err(self.full());
        }
        self.check_encryption(channel)?;
        if let Some(negotiation) = startup.negotiation() {
            channel.write_all(&negotiation).await?;
        }
        let proven = self.prove(channel, startup).await?;
        match proven.subject {
            Subject::Client(resolved) => {
                // Somebody who only looked as if it wanted the console.
                if let Seat::Overflow { .. } = seat {
                    return Err(self.full());
                }
                let tenant_place = self.enter_tenant(&resolved.tenant)?;
                channel.write_all(messages::OK).await?;
                let place = seat.leave().ok_or_else(|| self.full())?;
                Ok(Admission::Client(Client {
                    startup: proven.startup,
                    resolved,
                    key: proven.key,
                    places: [place, tenant_place],
                }))
            }
            Subject::Operator(who) => {
                let operator = self.enter_console(channel, &proven.startup, &who)?;
                channel.write_all(messages::OK).await?;
                Ok(Admission::Operator(operator))
            }
        }
    }

    fn check_encryption(&self, channel: &Channel) -> Result<(), End> {
        let required = match self.settings.tls_mode {
            ClientTlsMode::Disable | ClientTlsMode::Allow => false,
            ClientTlsMode::Require | ClientTlsMode::VerifyClient => true,
        };
        if !required || channel.is_unix() || channel.tls().is_some() {
            return Ok(());
        }
        let error = ClientError::fatal(SqlState::INVALID_AUTHORIZATION, "TLS is required");
        Err(End::told(
            Reason::Tls,
            error.with_hint("connect with sslmode=require or stronger"),
        ))
    }

    /// The question, evidence, then proof.
    async fn prove(&self, channel: &mut Channel, startup: Startup) -> Result<Proven, End> {
        if operator::is_owner(channel, &startup) {
            let subject = Subject::Operator(Who::Owner(startup.user.clone()));
            return Ok(Proven {
                startup,
                subject,
                key: None,
            });
        }
        let method = self.method();
        let binding = self.binding(channel);
        let asked = login::ask(channel, method, binding).await?;
        let server_name = channel
            .tls()
            .and_then(|tls| tls.server_name())
            .map(str::to_owned);
        let subject = self.subject(server_name.as_deref(), &startup);
        let who = match &subject {
            Ok(subject) => subject.known().ok_or(&Unfit::Operator),
            Err(unfit) => Err(unfit),
        };
        let by_name = server_name
            .as_deref()
            .zip(self.settings.domain.as_deref())
            .and_then(|(name, domain)| claim::server_name_tenant(name, domain));
        let named = by_name.or(startup.tenants.first().map(String::as_str));
        let registry = &self.settings.registry;
        let owns = |tenant: &str, database: &str| {
            let tenant = registry.by_slug(tenant);
            tenant.is_some_and(|t| t.config.database.as_str() == database)
        };
        let claim = claim::claim(named, &startup.user, startup.database.as_deref(), owns);
        let claimed = self.claimed(&claim);
        let applicant = Applicant {
            who,
            claim,
            claimed,
            user: &startup.user,
        };
        let proof = login::prove(channel, asked, &applicant, &self.settings.verifiers).await;
        match (subject, proof) {
            (Ok(subject), Ok(key)) => Ok(Proven {
                startup,
                subject,
                key,
            }),
            (Ok(Subject::Client(found)), Err(end)) => Err(end.of(found)),
            (Ok(Subject::Operator(_)), Err(end)) => Err(end),
            (Err(unfit), Err(end)) => Err(end.because(unfit)),
            // Without a tenant nothing can be proven; should it happen all the same, nobody gets in.
            (Err(unfit), Ok(_)) => Err(End::login(&startup.user, Cause::Unfit(unfit))),
        }
    }

    fn method(&self) -> AuthMethod {
        self.listener.method.unwrap_or(self.settings.method)
    }

    /// The role that the claim names, if there is one, whether or not the rest is right.
    fn claimed(&self, claim: &Claim<'_>) -> Option<(TenantId, &RoleName)> {
        if is_console(claim.tenant) {
            let user = self.settings.console_user(claim.role)?;
            return Some((TenantId::CONSOLE, &user.name));
        }
        let tenant = self.settings.registry.by_slug(claim.tenant)?;
        Some((tenant.id, &tenant.role(claim.role)?.name))
    }

    /// What the connection can bind a login to.
    fn binding(&self, channel: &Channel) -> ServerBinding {
        let side = self
            .settings
            .tls
            .as_ref()
            .filter(|_| channel.tls().is_some());
        side.and_then(|side| side.end_point.clone())
            .map_or(ServerBinding::Unavailable, ServerBinding::EndPoint)
    }

    /// Who it is, if everything about the login but its proof is right.
    fn subject(&self, server_name: Option<&str>, startup: &Startup) -> Result<Subject, Unfit> {
        match self.resolve(server_name, startup) {
            Ok(resolved) => Ok(Subject::Client(resolved)),
            Err(Unfit::Evidence(Failure::Console)) => {
                let user = self.settings.console_user(&startup.user);
                let user = user.ok_or(Unfit::Operator)?.clone();
                Ok(Subject::Operator(Who::Configured(user)))
            }
            Err(unfit) => Err(unfit),
        }
    }

    /// Tenant and role of a tenant's client.
    fn resolve(&self, server_name: Option<&str>, startup: &Startup) -> Result<Resolved, Unfit> {
        if let [one, other, ..] = startup.tenants.as_slice() {
            return Err(Unfit::TwoTenants(one.clone(), other.clone()));
        }
        let evidence = Evidence {
            server_name,
            domain: self.settings.domain.as_deref(),
            option_tenant: startup.tenants.first().map(String::as_str),
            user: &startup.user,
            database: startup.database.as_deref(),
        };
        let found = resolve(&self.settings.registry, &evidence)?;
        let networks = &found.tenant.config.allowed_networks;
        let from = self
            .peer()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip());
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(&from)) {
            return Err(Unfit::Network(from));
        }
        Ok(found)
    }

    /// What a tenant's clients may be told once they are known to be its clients.
    fn enter_tenant(&self, tenant: &Tenant) -> Result<Place, End> {
        let slug = tenant.slug();
        if tenant.config.status == TenantStatus::Suspended {
            let text = format!("tenant \"{slug}\" is suspended");
            let error = ClientError::fatal(SqlState::UNAVAILABLE, text);
            return Err(End::told(
                Reason::Suspended,
                error.with_hint("ask the operator to resume it"),
            ));
        }
        let console = self.front.console.as_ref();
        if console.is_some_and(|console| console.is_disabled(tenant)) {
            let text = format!("tenant \"{slug}\" is disabled: it takes no new clients");
            let error = ClientError::fatal(SqlState::UNAVAILABLE, text);
            return Err(End::told(
                Reason::Disabled,
                error.with_hint("try again later: the operator enables it again"),
            ));
        }
        let limit = tenant.config.pool.max_clients;
        let place = self
            .settings
            .tenant_clients(tenant.id)
            .and_then(|gauge| gauge.enter(limit));
        place.ok_or_else(|| {
            let text =
                format!("too many clients: max_clients = {limit} of tenant \"{slug}\" is reached");
            let error = ClientError::fatal(SqlState::TOO_MANY, text);
            End::told(
                Reason::LimitTenant,
                error.with_hint("close idle clients, or raise the tenant's max_clients"),
            )
        })
    }

    /// How a client got in, for its line.
    pub(super) fn way(&self, channel: &Channel) -> Way {
        let tls = channel.tls().and_then(|tls| tls.protocol_version());
        Way {
            method: self.method(),
            tls: tls.and_then(|v| v.as_str()).unwrap_or("none"),
        }
    }

    fn admit(&self, channel: Channel, client: Client) {
        let way = self.way(&channel);
        let Client {
            startup,
            resolved,
            key,
            places,
        } = client;
        let (stream, read_ahead) = match channel.into_stream() {
            Ok(taken) => taken,
            Err(error) => return self.front.journal.failure(self.peer(), &error.into()),
        };
        let protocol = protocol(&startup);
        let identity = Identity {
            tenant: resolved.tenant,
            role: resolved.role.name,
            key,
        };
        self.front.journal.login(self.peer(), &identity, way);
        self.front.dispatch.admit(NewClient {
            identity,
            stream,
            read_ahead,
            settings: startup.settings,
            protocol,
            peer: self.peer(),
            local: self.ends.map(|ends| ends.local),
            route: self.listener.route,
            places,
        });
    }

    async fn end(&self, mut channel: Channel, end: End) {
        match &end {
            End::Refused(refusal) => {
                let mut message = Vec::new();
                refusal.error.encode(&mut message);
                if channel.write_all(&message).await.is_ok() {
                    channel.close().await;
                }
            }
            // libpq takes the end of TLS without close_notify for a failed cancel request.
            End::Canceled => channel.close().await,
            End::Gone(_) | End::Tls(_) | End::Header(_) | End::Late(_) | End::Silent(..) => {}
        }
        self.front.journal.failure(self.peer(), &end);
    }
}

/// A client's place while it logs in; it is kept until the last byte to the client is sent.
enum Seat {
    /// Among all clients.
    Taken(Place),
    /// Beyond them, but it is listened to.
    Overflow { _held: Place },
    /// It goes with the client.
    Left,
}

impl Seat {
    /// The place among all clients, to be taken along.
    fn leave(&mut self) -> Option<Place> {
        match std::mem::replace(self, Self::Left) {
            Self::Taken(place) => Some(place),
            Self::Overflow { .. } | Self::Left => None,
        }
    }
}

/// A login that is complete: AuthenticationOk is sent.
enum Admission {
    Client(Client),
    Operator(Operator),
}

/// A tenant's client.
struct Client {
    startup: Startup,
    resolved: Resolved,
    key: Option<ScramClientKey>,
    places: [Place; 2],
}

/// The protocol agreed upon.
pub(super) fn protocol(startup: &Startup) -> Protocol {
    match startup.agreed() {
        Minor::Zero => Protocol::V3_0,
        Minor::Two => Protocol::V3_2,
    }
}
