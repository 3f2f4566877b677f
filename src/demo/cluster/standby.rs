//! What happens to a primary and its standbys in the course of time: promotion, another primary,
//! replay that stands still, a server that hangs.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cluster, ClusterError, SUPERUSER, run};

/// A server that hangs until this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Frozen<'a> {
    processes: Vec<Pid>,
    _cluster: &'a Cluster,
}

impl Cluster {
    /// Makes a standby a primary, on a timeline of its own; it is one when this returns.
    pub fn promote(&self) -> Result<(), ClusterError> {
        self.psql("postgres", "SELECT pg_promote()").map(drop)
    }

    /// Lets a standby follow another server from now on.
    pub fn follow(&self, primary: &Self) -> Result<(), ClusterError> {
        let sql = format!(
            "ALTER SYSTEM SET primary_conninfo = 'host={} port={} user={SUPERUSER}';\n\
             SELECT pg_reload_conf();",
            primary.socket_dir().display(),
            primary.port()
        );
        self.psql("postgres", &sql).map(drop)
    }

    /// Waits until a standby has replayed what its primary has written so far, ten seconds at most.
    pub fn catch_up(&self, primary: &Self) -> Result<(), ClusterError> {
        let written = primary.psql("postgres", "SELECT pg_current_wal_insert_lsn()")?;
        let sql = format!(
            "DO $$ BEGIN FOR n IN 1..1000 LOOP \
             IF pg_last_wal_replay_lsn() >= '{written}' THEN RETURN; END IF; PERFORM pg_sleep(0.01); \
             END LOOP; RAISE 'the standby lags'; END $$"
        );
        self.psql("postgres", &sql).map(drop)
    }

    /// Lets a standby receive, but replay no more. Needs PostgreSQL 14.
    pub fn pause_replay(&self) -> Result<(), ClusterError> {
        // It comes into force when the standby next looks.
        let sql = "SELECT pg_wal_replay_pause();\n\
                   DO $$ BEGIN WHILE pg_get_wal_replay_pause_state() <> 'paused' LOOP \
                   PERFORM pg_sleep(0.01); END LOOP; END $$;";
        self.psql("postgres", sql).map(drop)
    }

    /// Lets a standby replay again.
    pub fn resume_replay(&self) -> Result<(), ClusterError> {
        self.psql("postgres", "SELECT pg_wal_replay_resume()")
            .map(drop)
    }

    /// Stops the server and all of its processes with SIGSTOP: connections stay, nobody answers.
    pub fn freeze(&self) -> Result<Frozen<'_>, ClusterError> {
        let mut frozen = Frozen {
            processes: Vec::new(),
            _cluster: self,
        };
        let Some(postmaster) = self.pid() else {
            return Err(self.server_error("does not run"));
        };
        // First the one that could start others. Each of them is a session of its own.
        frozen.stop(postmaster);
        let mut ps = Command::new("ps");
        ps.args(["-A", "-o", "ppid=,pid="]);
        for line in run(ps, "ps", b"")?.lines() {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            if let (Some(Ok(parent)), Some(Ok(process))) = (numbers.next(), numbers.next())
                && parent == postmaster
            {
                frozen.stop(process);
            }
        }
        Ok(frozen)
    }
}

impl Frozen<'_> {
    fn stop(&mut self, process: u32) {
        if let Ok(pid) = i32::try_from(process) {
            let pid = Pid::from_raw(pid);
            kill(pid, Signal::SIGSTOP).ok();
            self.processes.push(pid);
        }
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        for process in &self.processes {
            kill(*process, Signal::SIGCONT).ok();
        }
    }
}
