//! What SHOW HELP says: each command in one line.

use crate::error::Notice;

const LINES: [(&str, &str); 40] = [
    ("SHOW HELP", "this text"),
    (
        "SHOW DATABASES",
        "tenants: where they live, limits, paused, disabled",
    ),
    (
        "SHOW POOLS",
        "clients and server connections by state, a row a pool",
    ),
    ("SHOW CLIENTS", "every client"),
    ("SHOW SERVERS", "every server connection"),
    ("SHOW SOCKETS", "both, with buffers"),
    ("SHOW ACTIVE_SOCKETS", "those that hold unprocessed bytes"),
    ("SHOW STATS", "totals and averages by tenant"),
    ("SHOW STATS_TOTALS", "the totals alone"),
    ("SHOW STATS_AVERAGES", "the averages alone"),
    ("SHOW TOTALS", "totals and averages of all together"),
    ("SHOW LISTS", "how many there are of everything"),
    ("SHOW USERS", "roles, with their connections"),
    ("SHOW CONFIG", "settings, with their defaults"),
    ("SHOW STATE", "active, paused, suspended"),
    ("SHOW VERSION", "the version"),
    ("SHOW MEM", "no rows: nothing is allocated in advance"),
    ("SHOW DNS_HOSTS", "no rows, nor has SHOW DNS_ZONES"),
    ("SHOW PEERS", "no rows, nor has SHOW PEER_POOLS"),
    ("SHOW TENANTS", "tenants, with what they use"),
    (
        "SHOW NODES",
        "nodes: server connections used, waited for, allowed; what they are",
    ),
    (
        "SHOW REPLICAS",
        "replicas: share of the reads, state, how far behind",
    ),
    (
        "SHOW PINS",
        "clients that keep their server connection, and why",
    ),
    ("SET key = value", "changes a setting until the next reload"),
    ("RELOAD", "reads the configuration again"),
    (
        "PAUSE [tenant]",
        "lets transactions finish, closes server connections, makes clients wait",
    ),
    (
        "PAUSE CLUSTER name",
        "the same for all tenants of a cluster",
    ),
    ("RESUME [tenant]", "ends PAUSE, KILL and SUSPEND"),
    ("RESUME CLUSTER name", "ends PAUSE CLUSTER"),
    ("DISABLE tenant", "refuses new clients"),
    ("ENABLE tenant", "takes new clients again"),
    (
        "RECONNECT [tenant]",
        "replaces server connections when they are free",
    ),
    (
        "WAIT_CLOSE [tenant]",
        "waits until RECONNECT or RELOAD have replaced them",
    ),
    (
        "KILL [tenant]",
        "ends clients and server connections at once, and pauses",
    ),
    ("KILL_CLIENT id", "ends one client; id as in SHOW CLIENTS"),
    (
        "SUSPEND",
        "writes what is to be written, then reads nothing until RESUME",
    ),
    (
        "SHUTDOWN",
        "ends the proxy; transactions may finish for drain_timeout",
    ),
    ("SHUTDOWN WAIT_FOR_SERVERS", "the same without a limit"),
    (
        "SHUTDOWN WAIT_FOR_CLIENTS",
        "ends when all clients have gone by themselves",
    ),
    (
        "",
        "See docs/console.md for columns and differences from PgBouncer.",
    ),
];

/// The whole text.
pub(super) fn notice() -> Notice {
    let mut text = String::new();
    for (command, meaning) in LINES {
        let line = if command.is_empty() {
            format!("\n\t{meaning}")
        } else {
            format!("\n\t{command:<25}  {meaning}")
        };
        text += &line;
    }
    Notice {
        message: "Console usage".into(),
        detail: Some(text.into()),
    }
}
