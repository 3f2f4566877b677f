//! What logins leave behind: exact counts, and lines that strangers can neither flood nor forge.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::subscriber::{DefaultGuard, set_default};

use super::harness::*;
use crate::auth::scram::ClientBinding;
use crate::config::AuthMethod;
use crate::front::Reason;

const TRUST: &str = "[auth]\nmethod = 'trust'";

/// The log lines of this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn begin() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (lines, set_default(subscriber))
    }

    fn with(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_login_is_one_line_and_one_count() {
    let (lines, _guard) = Lines::begin();
    let world = World::with_method("scram-sha-256");
    let (mut socket, task) = world.tcp().await;
    let pairs = [("user", "app.acme")];
    let login = log_in(&mut socket, &pairs, "pw", &ClientBinding::Unavailable);
    assert!(ended_well(&login.await));
    task.await.unwrap();
    let written = lines.with("login");
    assert_eq!(written.len(), 1, "{written:?}");
    let peer = socket.local_addr().unwrap();
    let fields =
        format!("login tenant=acme role=\"app\" peer={peer} tls=\"none\" method=\"scram-sha-256\"");
    assert!(written[0].ends_with(&fields), "{written:?}");
    let counts = world.front.counts();
    assert_eq!(counts.logins_by(AuthMethod::ScramSha256), 1);
    assert_eq!(counts.failures.iter().map(|(_, n)| n).sum::<u64>(), 0);
}

#[tokio::test]
async fn names_are_cut_and_escaped_and_secrets_absent() {
    let (lines, _guard) = Lines::begin();
    let world = World::with_method("md5");
    let user = format!("evil\nlogin tenant=acme {}", "x".repeat(3_000));
    world.log_in(&[("user", &user)], "hunter2").await;
    let options = format!("--\u{1b}{}", "y".repeat(3_000));
    let pairs = [("user", "app.acme"), ("options", options.as_str())];
    world.log_in(&pairs, "hunter2").await;
    let written = lines.with("");
    assert_eq!(written.len(), 2, "{written:?}");
    assert!(written[0].contains("user=Some(\"evil\\nlogin tenant=acme xxx"));
    assert!(written[1].contains("code=\"22023\" why=\"invalid command-line"));
    for line in &written {
        assert!(line.len() < 400 && !line.contains("hunter2"), "{line}");
    }
}

#[tokio::test]
async fn each_way_to_fail_has_its_own_count() {
    let world = World::with_method("md5");
    for (pairs, password, reason) in [
        (&[("user", "app")][..], "pw", Reason::UnknownTenant),
        (&[("user", "app.nosuch")], "pw", Reason::UnknownTenant),
        (&[("user", "x.acme")], "pw", Reason::UnknownRole),
        (
            &[("user", "app.acme"), ("database", "globex")],
            "pw",
            Reason::EvidenceDisagrees,
        ),
        (&[("user", "app.far")], "pw", Reason::Network),
        (&[("user", "app.acme")], "no", Reason::Password),
        (&[("user", "app.asleep")], "pw", Reason::Suspended),
        (
            &[("user", "app.acme"), ("replication", "true")],
            "pw",
            Reason::Protocol,
        ),
    ] {
        let before = world.front.counts();
        world.log_in(pairs, password).await;
        let after = world.front.counts();
        let grown: Vec<Reason> = Reason::ALL
            .into_iter()
            .filter(|reason| after.failed(*reason) > before.failed(*reason))
            .collect();
        assert_eq!(grown, [reason], "{pairs:?}");
        assert_eq!(after.failed(reason), before.failed(reason) + 1);
    }
    let (socket, task) = world.unix();
    drop(socket);
    task.await.unwrap();
    assert_eq!(world.front.counts().failed(Reason::Gone), 1);
    assert!(ended_well(
        &world.log_in(&[("user", "app.narrow")], "pw").await
    ));
    world.log_in(&[("user", "app.narrow")], "pw").await;
    assert_eq!(world.front.counts().failed(Reason::LimitTenant), 1);
    assert_eq!(world.front.counts().logins_by(AuthMethod::Md5), 1);
}

#[tokio::test]
async fn limits_and_time_have_their_counts_and_cancels_theirs() {
    let world = World::new(&format!(
        "[server]\nmax_clients = 1\nlogin_timeout = '50ms'\n{TRUST}"
    ));
    let (mut silent, task) = world.unix();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
    task.await.unwrap();
    assert_eq!(world.front.counts().failed(Reason::Timeout), 1);
    assert!(ended_well(&world.log_in(&[("user", "app.acme")], "").await));
    world.log_in(&[("user", "app.acme")], "").await;
    let (mut socket, task) = world.unix();
    let request = packet(&[&[4, 210, 22, 46, 0, 0, 0, 7][..], &[9; 32]].concat());
    socket.write_all(&request).await.unwrap();
    task.await.unwrap();
    let counts = world.front.counts();
    assert_eq!(counts.failed(Reason::LimitProxy), 1);
    assert_eq!(counts.cancels, 1);
    assert_eq!(counts.failures.iter().map(|(_, n)| n).sum::<u64>(), 2);
}

#[tokio::test]
async fn a_flood_of_failures_is_a_few_lines_and_a_number() {
    let (lines, _guard) = Lines::begin();
    let world = World::new(TRUST);
    for _ in 0..300 {
        world.log_in(&[("user", "app.nosuch")], "").await;
    }
    // Another kind is not held back.
    world.log_in(&[("user", "x.acme")], "").await;
    assert_eq!(lines.with("unknown_role").len(), 1);
    let written = lines.with("unknown_tenant").len();
    assert!((50..150).contains(&written), "{written}");
    let summaries = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match lines.with("failed logins left out") {
                none if none.is_empty() => tokio::time::sleep(Duration::from_millis(5)).await,
                some => return some,
            }
        }
    });
    let summaries = summaries.await.expect("the number is told");
    assert_eq!(summaries.len(), 1, "{summaries:?}");
    let told = format!("reason=\"unknown_tenant\" lines={}", 300 - written);
    assert!(summaries[0].ends_with(&told), "{summaries:?}");
    assert_eq!(world.front.counts().failed(Reason::UnknownTenant), 300);
}
