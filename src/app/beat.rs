//! What goes on beside the serving: the service manager hears how it goes, and a process that
//! another one has taken over from ends when its last client has gone.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

use super::App;
use crate::systemd::{self, Word};
use crate::takeover::Standing;

/// How often the process looks at itself.
const BEAT: Duration = Duration::from_millis(100);

/// How often the status is said at most.
const STATUS: Duration = Duration::from_secs(5);

/// Beats in a row without a client until the process has finished.
const QUIET: u32 = 3;

/// Goes on until the process has nothing to do any more, which is only after a takeover.
pub(super) async fn beat(app: &App) {
    let standing = app.station.standing();
    let watchdog = systemd::watchdog();
    let mut ticks = interval(watchdog.map_or(BEAT, |w| BEAT.min(w / 2)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut said, mut status) = (None, String::new());
    let (mut alive, mut before, mut quiet) = (Instant::now(), Standing::Serving, 0);
    while quiet < QUIET {
        ticks.tick().await;
        quiet = if app.station.has_finished() {
            quiet + 1
        } else {
            0
        };
        let now = *standing.borrow();
        if std::mem::replace(&mut before, now) != now {
            changed(now);
            said = None;
        }
        let text = describe(now, app.clients());
        let due = said.is_none_or(|at: Instant| at.elapsed() >= STATUS);
        if due && text != status {
            systemd::tell(Word::Status(&text));
            (said, status) = (Some(Instant::now()), text);
        }
        if watchdog.is_some_and(|w| alive.elapsed() >= w / 2 - BEAT.min(w / 4)) {
            systemd::tell(Word::Alive);
            alive = Instant::now();
        }
    }
    info!("the last client has gone, and another process serves");
}

fn changed(standing: Standing) {
    match standing {
        Standing::Retiring(successor) if systemd::is_same_service(successor) => {
            systemd::tell(Word::MainPid(successor));
        }
        Standing::Serving => systemd::tell(Word::MainPid(std::process::id())),
        Standing::Retiring(_) | Standing::Ending => {}
    }
}

fn describe(standing: Standing, clients: usize) -> String {
    match standing {
        Standing::Serving => format!("serving, {clients} clients"),
        Standing::Retiring(successor) => {
            format!("retiring, {clients} clients; process {successor} serves new ones")
        }
        Standing::Ending => format!("ending, {clients} clients"),
    }
}
