//! Every family of metrics: its name, its help, where its numbers come from.

use std::time::{SystemTime, UNIX_EPOCH};

use super::ledger::Entry;
use super::page::{Label, Name, Page};
use super::{Gathered, Node, replicas};
use crate::http::sources::{Facts, Phase};
use crate::wire::sql::PinReason;
use crate::worker::report::{PoolRow, ServerCounts};
use crate::worker::stats::{Ended, Stats, Tallies};

/// Adds all families but the process's own.
pub(super) fn add(page: &mut Page, all: &Gathered) {
    program(page, &all.facts);
    clients(page, all);
    servers(page, &all.pools);
    traffic(page, &all.tenants);
    moment(page, &all.tenants);
    tallies(page, &all.tallies);
    logins(page, &all.facts);
    nodes(page, &all.nodes);
    replicas::add(page, &all.clusters, &all.tallies);
    page.total(
        Name(
            "tenantry_server_lifetime_seconds_total",
            "Age of server connections at their end, summed.",
        ),
        seconds(all.tallies.server_lifetime_us),
    );
}

fn program(page: &mut Page, facts: &Facts) {
    page.gauges(
        Name("tenantry_build_info", "Always 1; the version is the label."),
        [(Some(("version", env!("CARGO_PKG_VERSION"))), 1.0)],
    );
    page.gauge(
        Name(
            "tenantry_start_time_seconds",
            "When the proxy began to serve, since the Unix epoch.",
        ),
        since_epoch(facts.started),
    );
    let states = [
        ("serving", Phase::Serving),
        ("suspended", Phase::Suspended),
        ("draining", Phase::Draining),
    ];
    page.gauges(
        Name("tenantry_phase", "1 for what the proxy is doing, else 0."),
        states.map(|(word, phase)| (Some(("state", word)), one_if(facts.phase == phase))),
    );
    page.gauge(
        Name("tenantry_paused", "Whether everything is paused."),
        one_if(facts.paused),
    );
    page.gauge(
        Name("tenantry_tenants", "Tenants that are configured."),
        facts.registry.len() as f64,
    );
    let reloads = facts.reloads;
    page.counters(
        Name(
            "tenantry_config_reloads_total",
            "Reloads of the configuration, by how they ended.",
        ),
        [
            (Some(("result", "success")), reloads.succeeded as f64),
            (Some(("result", "failure")), reloads.failed as f64),
        ],
    );
    page.gauge(
        Name(
            "tenantry_config_last_reload_successful",
            "Whether the last reload was applied; 1 before the first one.",
        ),
        one_if(!reloads.refused),
    );
    page.gauge(
        Name(
            "tenantry_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was applied, since the Unix epoch.",
        ),
        since_epoch(reloads.applied),
    );
}

fn clients(page: &mut Page, all: &Gathered) {
    let sum = |of: fn(&PoolRow) -> usize| all.pools.iter().map(of).sum::<usize>();
    let members = sum(|row| row.clients);
    let active = sum(|row| row.servers.active + row.servers.active_cancel);
    let waiting = sum(|row| row.waiting);
    let states = [
        ("login", all.facts.clients.saturating_sub(members)),
        ("idle", members.saturating_sub(active + waiting)),
        ("active", active),
        ("waiting", waiting),
    ];
    page.gauges(
        Name(
            "tenantry_clients",
            "Clients: logging in, asking for nothing, with a server connection, in line for one.",
        ),
        states.map(|(word, count)| (Some(("state", word)), count as f64)),
    );
    page.gauge(
        Name("tenantry_clients_limit", "server.max_clients."),
        all.facts.max_clients as f64,
    );
    page.gauge(
        Name(
            "tenantry_pools",
            "Pools: of each tenant and server role that had a client lately.",
        ),
        all.pools.len() as f64,
    );
}

fn servers(page: &mut Page, pools: &[PoolRow]) {
    let sum = |of: fn(&ServerCounts) -> usize| -> f64 {
        pools.iter().map(|row| of(&row.servers)).sum::<usize>() as f64
    };
    let states = [
        ("login", sum(|s| s.login)),
        ("idle", sum(|s| s.idle)),
        ("used", sum(|s| s.used)),
        ("tested", sum(|s| s.tested)),
        ("active", sum(|s| s.active)),
        ("active_cancel", sum(|s| s.active_cancel)),
        ("being_canceled", sum(|s| s.being_canceled)),
        ("closing", sum(|s| s.closing)),
    ];
    page.gauges(
        Name(
            "tenantry_servers",
            "Server connections by what they do; the words are those of SHOW POOLS.",
        ),
        states.map(|(word, count)| (Some(("state", word)), count)),
    );
    page.gauge(
        Name(
            "tenantry_servers_stale",
            "Server connections that are replaced when they become free.",
        ),
        pools.iter().map(|row| row.stale).sum::<usize>() as f64,
    );
}

/// A metric, and how it is read from what it is of.
type Reading<T, V = f64> = (Name, fn(&T) -> V);

/// Counters by tenant.
const TRAFFIC: [Reading<Stats>; 12] = [
    (
        Name(
            "tenantry_transactions_total",
            "Transactions that have ended; a statement on its own is one.",
        ),
        |s| s.transactions as f64,
    ),
    (
        Name(
            "tenantry_queries_total",
            "Simple queries, and batches up to their Sync, that were answered.",
        ),
        |s| s.queries as f64,
    ),
    (
        Name(
            "tenantry_received_bytes_total",
            "Bytes that clients sent after their login.",
        ),
        |s| s.received as f64,
    ),
    (
        Name(
            "tenantry_sent_bytes_total",
            "Bytes sent to clients after their login.",
        ),
        |s| s.sent as f64,
    ),
    (
        Name(
            "tenantry_transaction_seconds_total",
            "Time in transactions, from when they got a server connection.",
        ),
        |s| seconds(s.transaction_us),
    ),
    (
        Name(
            "tenantry_query_seconds_total",
            "Time from when queries went to a server to the end of their answers.",
        ),
        |s| seconds(s.query_us),
    ),
    (
        Name(
            "tenantry_wait_seconds_total",
            "Time that clients waited for the server connection they got then.",
        ),
        |s| seconds(s.wait_us),
    ),
    (
        Name(
            "tenantry_leases_total",
            "Times that a client was given a server connection.",
        ),
        |s| s.leases as f64,
    ),
    (
        Name(
            "tenantry_waits_total",
            "Of the leases, those that the client had to wait for.",
        ),
        |s| s.waits as f64,
    ),
    (
        Name(
            "tenantry_client_parses_total",
            "Named statements that clients have parsed.",
        ),
        |s| s.client_parses as f64,
    ),
    (
        Name(
            "tenantry_server_parses_total",
            "Statements that were parsed on a server connection for them.",
        ),
        |s| s.server_parses as f64,
    ),
    (
        Name(
            "tenantry_binds_total",
            "Times that a named statement was bound.",
        ),
        |s| s.binds as f64,
    ),
];

fn traffic(page: &mut Page, tenants: &[Entry]) {
    for (name, of) in TRAFFIC {
        let samples = tenants.iter().map(|e| (tenant(e), of(&e.stats)));
        page.counters(name, samples);
    }
}

/// What each tenant has at the moment.
fn moment(page: &mut Page, tenants: &[Entry]) {
    let gauges: [Reading<Entry>; 5] = [
        (
            Name("tenantry_tenant_clients", "Clients of the tenant."),
            |e| e.now.clients as f64,
        ),
        (
            Name(
                "tenantry_tenant_waiting_clients",
                "Of these, those in line for a server connection.",
            ),
            |e| e.now.waiting as f64,
        ),
        (
            Name(
                "tenantry_tenant_pinned_clients",
                "Of these, those that keep their server connection between transactions.",
            ),
            |e| e.now.pinned as f64,
        ),
        (
            Name(
                "tenantry_tenant_servers",
                "Server connections of the tenant that are open.",
            ),
            |e| e.now.servers as f64,
        ),
        (
            Name(
                "tenantry_tenant_longest_wait_seconds",
                "How long the first in line has waited; of `other`, the longest one.",
            ),
            |e| e.now.longest_wait.as_secs_f64(),
        ),
    ];
    for (name, of) in gauges {
        page.gauges(name, tenants.iter().map(|e| (tenant(e), of(e))));
    }
}

fn tenant(entry: &Entry) -> Option<Label<'_>> {
    Some(("tenant", &entry.tenant))
}

fn tallies(page: &mut Page, tallies: &Tallies) {
    page.histogram(
        Name(
            "tenantry_query_duration_seconds",
            "From when a query went to a server to the end of its answer.",
        ),
        &tallies.query,
    );
    page.histogram(
        Name(
            "tenantry_transaction_duration_seconds",
            "From when a transaction got its server connection to its end.",
        ),
        &tallies.transaction,
    );
    page.histogram(
        Name(
            "tenantry_wait_duration_seconds",
            "How long each lease of a server connection was waited for; nothing for most.",
        ),
        &tallies.wait,
    );
    let pins = PinReason::ALL.iter().zip(tallies.pins);
    page.counters(
        Name(
            "tenantry_pins_total",
            "Sessions that were pinned to their server connection, by reason.",
        ),
        pins.map(|(reason, count)| (Some(("reason", reason.as_str())), count as f64)),
    );
    let ends = Ended::ALL.iter().zip(tallies.ends);
    page.counters(
        Name(
            "tenantry_server_connections_closed_total",
            "Server connections that have ended, by reason.",
        ),
        ends.map(|(reason, count)| (Some(("reason", reason.as_str())), count as f64)),
    );
    let counts = [
        (
            "tenantry_server_connects_total",
            "Server connections that were opened.",
            tallies.connects,
        ),
        (
            "tenantry_server_connect_failures_total",
            "Attempts to open one that failed.",
            tallies.connect_failures,
        ),
        (
            "tenantry_clients_admitted_total",
            "Clients that a worker got.",
            tallies.clients,
        ),
        (
            "tenantry_server_cancel_requests_total",
            "Cancel requests that were passed on to a server.",
            tallies.cancels,
        ),
    ];
    for (name, help, count) in counts {
        page.count(Name(name, help), count);
    }
}

fn logins(page: &mut Page, facts: &Facts) {
    let logins = &facts.logins;
    let by_method = logins.by_method.iter();
    page.counters(
        Name("tenantry_logins_total", "Logins, by method."),
        by_method.map(|(method, count)| (Some(("method", *method)), *count as f64)),
    );
    let failures = logins.failures.iter();
    page.counters(
        Name(
            "tenantry_login_failures_total",
            "Connections that ended before their login was done, by reason.",
        ),
        failures.map(|(reason, count)| (Some(("reason", *reason)), *count as f64)),
    );
    page.count(
        Name(
            "tenantry_cancel_requests_total",
            "Cancel requests of clients.",
        ),
        logins.cancels,
    );
}

fn nodes(page: &mut Page, nodes: &[Node]) {
    let gauges: [Reading<Node, Option<f64>>; 4] = [
        (
            Name(
                "tenantry_node_connections",
                "Server connections to the node, with those being opened and those closing.",
            ),
            |n| Some(n.budget.taken() as f64),
        ),
        (
            Name(
                "tenantry_node_connections_limit",
                "max_connections of the node's cluster.",
            ),
            |n| Some(n.budget.limit() as f64),
        ),
        (
            Name(
                "tenantry_node_waiting",
                "Pools in line for a place at the node.",
            ),
            |n| Some(n.budget.waiting() as f64),
        ),
        (
            Name(
                "tenantry_node_reachable",
                "Whether the node answered the last attempt; absent before the first one.",
            ),
            |n| n.reached.map(one_if),
        ),
    ];
    for (name, of) in gauges {
        let samples = nodes.iter().filter_map(|node| {
            let label = Some(("node", node.name.as_str()));
            Some((label, of(node)?))
        });
        page.gauges(name, samples);
    }
}

pub(super) fn one_if(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn since_epoch(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
