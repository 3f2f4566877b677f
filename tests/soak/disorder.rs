//! Work of clients that misbehave or meet limits: cancels, state on the session, ends at random
//! bytes, and what the proxy's timeouts end.

use rand::Rng;
use socket2::SockRef;
use std::time::Duration;

use crate::actor::{Actor, fine, wrong};
use crate::traffic::fine_in_block;
use crate::wire::{Broken, Wire, copy_data, parse, query, run, sync};

type Done = Result<(), Broken>;

/// Cancels a query of its own while that runs.
pub(crate) fn cancel(actor: &mut Actor, wire: &mut Wire) -> Done {
    let id = actor.id();
    wire.send(&query(&format!(
        "{}; select pg_sleep(60)",
        actor.insert(id)
    )))?;
    wire.cancel()?;
    let reply = loop_until_cancelled(wire)?;
    wrong(reply.code() == "57014", "a cancelled query", &reply)?;
    actor.book(&[id], &reply)
}

/// The first request may come before the query has reached the server: then it does nothing.
fn loop_until_cancelled(wire: &mut Wire) -> Result<crate::wire::Reply, Broken> {
    let set = |wire: &Wire, limit: Duration| {
        wire.stream
            .set_read_timeout(Some(limit))
            .map_err(|e| Broken::Gone(e.to_string()))
    };
    for _ in 0..20 {
        set(wire, Duration::from_millis(250))?;
        let answered = wire.stream.peek(&mut [0]).is_ok();
        set(wire, Duration::from_secs(60))?;
        if answered {
            break;
        }
        wire.cancel()?;
    }
    wire.reply()
}

/// Cancels when its query may be over: no other client may be hit.
pub(crate) fn late_cancel(actor: &mut Actor, wire: &mut Wire) -> Done {
    let pipelined = [
        query("select 1"),
        query(&format!("select '{}'", actor.nonce())),
    ]
    .concat();
    wire.send(&pipelined)?;
    wire.cancel()?;
    for _ in 0..2 {
        let reply = wire.reply()?;
        wrong(
            matches!(reply.code(), "" | "57014"),
            "a query that may have been cancelled",
            &reply,
        )?;
    }
    // From here on nobody expects a cancel, this session included: it was for a query that is over.
    Err(Broken::Left)
}

/// Leaves all kinds of state on its session, sees it, and goes.
pub(crate) fn state(actor: &mut Actor, wire: &mut Wire) -> Done {
    let who = actor.nonce();
    fine(wire.query(&format!("set soak.who = '{who}'"))?)?;
    fine(wire.query(&format!(
        "create temp table scratch as select '{who}'::text as who; prepare mine as select who from scratch; \
         listen channel_{}; select pg_advisory_lock({})",
        actor.number, actor.number
    ))?)?;
    for _ in 0..actor.rng.random_range(1..5) {
        let reply = fine(wire.query("execute mine; select who from scratch; show soak.who")?)?;
        let mine =
            reply.rows.len() == 3 && reply.rows.iter().all(|r| r[0].as_deref() == Some(&who));
        wrong(mine, "state of another session", &reply)?;
    }
    Err(Broken::Left)
}

/// Sends the start of something and is gone, in the middle of a frame or between two.
pub(crate) fn vanish(actor: &mut Actor, wire: &mut Wire) -> Done {
    let id = actor.id();
    let mut bytes = match actor.rng.random_range(0..6) {
        0 => query(&actor.insert(id)),
        1 => [query("begin"), query(&actor.insert(id)), query("commit")].concat(),
        2 => [
            query("copy log from stdin"),
            copy_data(&format!("{id}\t{}\tvanished\n", actor.mark)),
        ]
        .concat(),
        3 => query("select repeat('z', 3000000) from generate_series(1, 3)"),
        4 => query("select pg_sleep(0.1)"),
        _ => [
            parse("gone", &actor.insert(id)),
            run("gone", &[]),
            sync(),
            run("gone", &["surplus"]),
            sync(),
        ]
        .concat(),
    };
    bytes.truncate(actor.rng.random_range(1..=bytes.len()));
    wire.send(&bytes)?;
    if actor.rng.random_bool(0.3) {
        let mut buffer = [0; 64];
        let _some = wire.stream.set_read_timeout(Some(Duration::from_millis(5)));
        let _few = std::io::Read::read(&mut wire.stream, &mut buffer);
    }
    if actor.rng.random_bool(0.5) {
        // A reset instead of an orderly end.
        let _refused = SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO));
    }
    Err(Broken::Left)
}

/// Runs into `query_timeout`.
pub(crate) fn oversleep(actor: &mut Actor, wire: &mut Wire) -> Done {
    actor.count("query timeouts asked for");
    let reply = wire.query("select pg_sleep(100)")?;
    wrong(false, "query_timeout did not end a query", &reply)
}

/// Runs into `idle_transaction_timeout`.
pub(crate) fn idle_in_transaction(actor: &mut Actor, wire: &mut Wire) -> Done {
    let id = actor.id();
    fine_in_block(wire, "begin")?;
    fine_in_block(wire, &actor.insert(id))?;
    actor.ledger.refused.push(id);
    let reply = wire.reply()?;
    wrong(
        false,
        "idle_transaction_timeout did not end a transaction",
        &reply,
    )
}
