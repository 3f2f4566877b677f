//! Real servers on this machine: started, replicated, crashed, restarted, cleaned up.

use super::*;

fn primary() -> Cluster {
    Cluster::builder()
        .setting("work_mem", "5MB")
        .start()
        .expect("a server")
}

/// Waits for what another process will do soon.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(POLL);
    }
}

#[test]
fn a_server_starts_with_its_settings_and_leaves_nothing_behind() {
    let cluster = primary();
    assert_eq!(
        cluster.psql("postgres", "show work_mem").expect("a row"),
        "5MB"
    );
    let error = cluster
        .psql("postgres", "select 1/0; select 2")
        .expect_err("an error");
    assert!(error.to_string().contains("division by zero"), "{error}");

    let (dir, pid) = (
        cluster.socket_dir().to_owned(),
        cluster.pid().expect("it runs"),
    );
    drop(cluster);
    assert!(!dir.exists());
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    assert!(kill(pid, None).is_err(), "the postmaster still runs");
}

#[test]
fn a_replica_follows_and_both_restart() {
    let primary = primary();
    let replica = primary.start_replica().expect("a replica");
    primary
        .psql("postgres", "create table t as select 7 as n")
        .expect("a table");
    let arrived = || {
        replica
            .psql("postgres", "select n from t")
            .is_ok_and(|rows| rows == "7")
    };
    eventually("the row arrives", arrived);
    assert_eq!(
        replica
            .psql("postgres", "select pg_is_in_recovery()")
            .expect("a row"),
        "t"
    );

    primary.kill9().expect("a dead server");
    assert!(primary.psql("postgres", "select 1").is_err());
    primary.restart().expect("a server again");
    primary
        .psql("postgres", "update t set n = 8")
        .expect("an update");
    let followed = || {
        replica
            .psql("postgres", "select n from t")
            .is_ok_and(|rows| rows == "8")
    };
    eventually("the replica follows again", followed);
    replica.restart().expect("a replica again");
    assert!(followed());
}

#[test]
fn tcp_asks_for_the_password() {
    let cluster = primary();
    let login = |url: String| {
        let mut psql = cluster.binaries.client("psql");
        psql.args(["-X", "-w", "-A", "-t", "-c", "select 1", &url]);
        run(psql, "psql", b"")
    };
    assert_eq!(
        login(cluster.superuser_url("postgres")).expect("a row"),
        "1"
    );
    let wrong = cluster
        .superuser_url("postgres")
        .replace(cluster.password.expose(), "wrong");
    assert!(
        login(wrong)
            .expect_err("refused")
            .to_string()
            .contains("password authentication")
    );
}
