//! What commands change: pauses, replaced connections, ended clients; and what is asked of the
//! owner of the proxy.
//!
//! A command first changes the switches, then tells the workers, then waits for them. Who stops
//! waiting leaves the change in force, but for a cancelled PAUSE or SUSPEND, which is taken back.

use tokio::sync::oneshot;

use super::command::{Order, Target};
use super::{Console, Request, Wanted};
use crate::error::{ClientError, Notice, SqlState};
use crate::tenant::switches::{Admission, Scope};
use crate::types::{ClusterName, Slug, is_console};
use crate::worker::Carried;

/// A command's tag, and what is to be known.
type Done = (&'static str, Vec<Notice>);

/// Carries out a command that changes something, to its end.
pub(super) async fn carry_out(console: &Console, order: &Order) -> Result<Done, ClientError> {
    let workers = &console.0.around.workers;
    let tag = match order {
        Order::Pause(target) => {
            pause(console, &scope(console, target, "pause")?)?
                .end()
                .await;
            "PAUSE"
        }
        Order::Resume(target) => {
            resume(console, &scope(console, target, "resume")?)?;
            "RESUME"
        }
        Order::Kill(target) => {
            kill(console, &scope(console, target, "kill")?)?.end().await;
            "KILL"
        }
        Order::Reconnect(target) => {
            let scope = scope(console, target, "reconnect")?;
            workers.reconnect(&scope).end().await;
            "RECONNECT"
        }
        Order::WaitClose(target) => {
            let scope = scope(console, target, "wait in")?;
            workers.await_fresh(&scope).end().await;
            "WAIT_CLOSE"
        }
        Order::Disable(name) => admit(console, name, Admission::Refused)?,
        Order::Enable(name) => admit(console, name, Admission::Allowed)?,
        Order::KillClient(id) => {
            if !console.0.sessions.kill(*id) && !workers.kill_client(*id).await {
                return Err(ClientError::error(SqlState::UNDEFINED, "client not found"));
            }
            "KILL_CLIENT"
        }
        Order::Suspend => {
            suspend(console)?.end().await;
            "SUSPEND"
        }
        Order::Reload => {
            let done = request(console, Wanted::Reload, SqlState::CONFIGURATION);
            return Ok(("RELOAD", done.await?));
        }
        Order::Set { key, value } => {
            let (key, value) = (key.clone(), value.clone());
            let done = request(
                console,
                Wanted::Set { key, value },
                SqlState::INVALID_PARAMETER,
            );
            return Ok(("SET", done.await?));
        }
        Order::Shutdown(how) => {
            let done = request(console, Wanted::Shutdown(*how), SqlState::WRONG_STATE);
            return Ok(("SHUTDOWN", done.await?));
        }
    };
    Ok((tag, Vec::new()))
}

/// Undoes what a cancelled command has begun, as PgBouncer does.
pub(super) fn take_back(console: &Console, order: &Order) {
    match order {
        Order::Pause(target) => {
            if let Ok(scope) = scope(console, target, "pause") {
                console.0.around.switches.resume(&scope);
                let _told = console.0.around.workers.switched(&scope);
            }
        }
        Order::Suspend => end_suspension(console),
        // These have either happened or only waited.
        Order::Set { .. }
        | Order::Reload
        | Order::Shutdown(_)
        | Order::Resume(_)
        | Order::Disable(_)
        | Order::Enable(_)
        | Order::Kill(_)
        | Order::KillClient(_)
        | Order::Reconnect(_)
        | Order::WaitClose(_) => {}
    }
}

/// Pauses; the end of what is returned tells that all server connections are gone.
pub(super) fn pause(console: &Console, scope: &Scope) -> Result<Carried, ClientError> {
    still_running(console)?;
    console.0.around.switches.pause(scope);
    Ok(console.0.around.workers.switched(scope))
}

/// Ends a pause, or everything.
pub(super) fn resume(console: &Console, scope: &Scope) -> Result<(), ClientError> {
    let around = &console.0.around;
    let was_paused = around.switches.resume(scope);
    if *scope == Scope::All && console.is_suspended() {
        end_suspension(console);
    } else if !was_paused {
        let text = match scope {
            Scope::All => "pooler is not paused/suspended".to_owned(),
            Scope::Tenant(name) => format!("database {name} is not paused"),
            Scope::Cluster(name) => format!("cluster {name} is not paused"),
        };
        return Err(ClientError::error(SqlState::WRONG_STATE, text));
    }
    let _told = around.workers.switched(scope);
    Ok(())
}

fn kill(console: &Console, scope: &Scope) -> Result<Carried, ClientError> {
    still_running(console)?;
    console.0.around.switches.pause(scope);
    Ok(console.0.around.workers.kill(scope))
}

fn suspend(console: &Console) -> Result<Carried, ClientError> {
    still_running(console)?;
    let mut suspended = console.suspension();
    *suspended = true;
    Ok(console.0.around.workers.suspend())
}

/// Reads on. Nothing where there is no suspension.
pub(super) fn end_suspension(console: &Console) {
    let mut suspended = console.suspension();
    if std::mem::take(&mut *suspended) {
        let _told = console.0.around.workers.resume();
    }
}

fn still_running(console: &Console) -> Result<(), ClientError> {
    if console.0.around.switches.all_paused() || console.is_suspended() {
        let text = "already suspended/paused";
        return Err(ClientError::error(SqlState::WRONG_STATE, text).with_hint("use RESUME;"));
    }
    Ok(())
}

fn admit(console: &Console, name: &str, admission: Admission) -> Result<&'static str, ClientError> {
    let (tag, verb) = match admission {
        Admission::Refused => ("DISABLE", "disable"),
        Admission::Allowed => ("ENABLE", "enable"),
    };
    let tenant = tenant(console, name, verb)?;
    console.0.around.switches.admit(&tenant, admission);
    Ok(tag)
}

fn scope(console: &Console, target: &Target, verb: &str) -> Result<Scope, ClientError> {
    match target {
        Target::All => Ok(Scope::All),
        Target::Tenant(name) => Ok(Scope::Tenant(tenant(console, name, verb)?)),
        Target::Cluster(name) => {
            let view = console.view();
            let known = view.config.clusters.iter().any(|c| c.name.as_str() == name);
            if !known {
                let text = format!("no such cluster: {name}");
                return Err(ClientError::error(SqlState::UNDEFINED, text));
            }
            Ok(Scope::Cluster(ClusterName::new(name.as_str())))
        }
    }
}

fn tenant(console: &Console, name: &str, verb: &str) -> Result<Slug, ClientError> {
    if is_console(name) {
        let text = format!("cannot {verb} admin db: {name}");
        return Err(ClientError::error(SqlState::UNSUPPORTED, text));
    }
    let view = console.view();
    let found = view.registry.by_slug(name);
    found.map(|tenant| tenant.slug().clone()).ok_or_else(|| {
        let text = format!("no such database: {name}");
        ClientError::error(SqlState::NO_DATABASE, text)
            .with_hint("SHOW DATABASES; lists them: a tenant's slug is its name")
    })
}

/// Asks the owner of the proxy; `code` is that of the error, should it refuse.
async fn request(
    console: &Console,
    what: Wanted,
    code: SqlState,
) -> Result<Vec<Notice>, ClientError> {
    let (answer, told) = oneshot::channel();
    let gone = || ClientError::error(SqlState::SHUTDOWN, "the proxy is shutting down");
    let owner = console.0.around.owner.as_ref().ok_or_else(|| {
        let text = "the proxy runs inside of a program that has to do this itself";
        ClientError::error(SqlState::UNSUPPORTED, text)
    })?;
    let sent = owner.send(Request { what, answer }).await;
    sent.map_err(|_| gone())?;
    match told.await.map_err(|_| gone())? {
        Ok(texts) => Ok(texts.into_iter().map(Notice::new).collect()),
        Err(text) => Err(ClientError::error(code, text)),
    }
}
