//! What the clients do. Each kind of work checks its own replies; whatever it does not expect is
//! an error. Work that may leave state on its session ends it.

use rand::Rng;
use rand::rngs::StdRng;

use crate::actor::{Actor, fine, wrong};
use crate::disorder;
use crate::setup::ITEMS;
use crate::wire::{
    Broken, Wire, close, copy_data, copy_done, copy_fail, describe, parse, run, sync,
};

type Done = Result<(), Broken>;
type Work = fn(&mut Actor, &mut Wire) -> Done;

/// All kinds of work, and how often each is done.
pub(crate) const KINDS: &[(u32, &str, Work)] = &[
    (300, "read", read),
    (300, "read by a named statement", named),
    (150, "write", write),
    (200, "pipeline", pipeline),
    (60, "copy in", copy_in),
    (60, "copy in, extended", copy_in_extended),
    (60, "copy out", copy_out),
    (150, "transaction", transaction),
    (100, "setting", setting),
    (60, "error", error),
    (40, "statement timeout", statement_timeout),
    (30, "large", large),
    (15, "cancel", disorder::cancel),
    (15, "cancel too late", disorder::late_cancel),
    (15, "state of a session", disorder::state),
    (40, "vanish", disorder::vanish),
    (1, "query timeout", disorder::oversleep),
    (1, "idle transaction", disorder::idle_in_transaction),
];

/// The server's own `work_mem`.
pub(crate) const DEFAULT: &str = "4MB";

/// One of them.
pub(crate) fn pick(rng: &mut StdRng) -> (&'static str, Work) {
    let all: u32 = KINDS.iter().map(|(weight, ..)| weight).sum();
    let mut at = rng.random_range(0..all);
    for (weight, name, work) in KINDS {
        if at < *weight {
            return (name, *work);
        }
        at -= weight;
    }
    ("read", read)
}

/// A new session finds nothing of former ones.
pub(crate) fn finds_nothing(actor: &mut Actor, wire: &mut Wire) -> Done {
    let reply = fine(wire.query(
        "select current_database(), current_user, coalesce(current_setting('soak.who', true), ''), \
         to_regclass('pg_temp.scratch') is null, (select count(*) from pg_prepared_statements where from_sql), \
         (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), \
         (select count(*) from pg_listening_channels()), current_setting('work_mem')",
    )?)?;
    let found: Vec<&str> = (0..8)
        .map(|c| reply.value(0, c).unwrap_or("null"))
        .collect();
    let mark = actor.mark.as_str();
    wrong(
        found == [mark, mark, "", "t", "0", "0", "0", DEFAULT],
        &format!("state of another session: {found:?}"),
        &reply,
    )
}

fn read(actor: &mut Actor, wire: &mut Wire) -> Done {
    let nonce = actor.nonce();
    let first = actor.rng.random_range(1..ITEMS);
    let last = (first + actor.rng.random_range(0..30)).min(ITEMS);
    let reply = fine(wire.query(&format!(
        "select '{nonce}', tenant, id from items where id between {first} and {last}"
    ))?)?;
    let mine = |row: &Vec<Option<String>>| {
        row[0].as_deref() == Some(&nonce) && row[1].as_deref() == Some(&actor.mark)
    };
    let count = usize::try_from(last - first + 1).expect("few rows");
    wrong(
        reply.rows.len() == count && reply.rows.iter().all(mine),
        "rows of somebody else",
        &reply,
    )
}

/// All clients use the same names, each for texts of its own.
fn named(actor: &mut Actor, wire: &mut Wire) -> Done {
    let name = format!("s{}", actor.rng.random_range(0..4));
    let mut batch = Vec::new();
    let known = actor.prepared.get(&name).cloned();
    let constant = match known {
        Some(constant) if actor.rng.random_bool(0.85) => constant,
        known => {
            if known.is_some() {
                batch.extend(close(&name));
            }
            // Some texts are shared by all clients of a tenant, the others are this client's own.
            let text = if actor.rng.random_bool(0.3) {
                format!("shared {name}")
            } else {
                actor.nonce()
            };
            batch.extend(parse(
                &name,
                &format!("select '{text}', tenant, $1::text from items where id = $2::int"),
            ));
            if actor.rng.random_bool(0.3) {
                batch.extend(describe(&name));
            }
            if actor.rng.random_bool(0.3) {
                batch.extend(sync());
                wire.send(&batch)?;
                batch.clear();
                fine(wire.reply()?)?;
            }
            actor.prepared.insert(name.clone(), text.clone());
            text
        }
    };
    let times = actor.rng.random_range(1..4);
    let argument = actor.nonce();
    for _ in 0..times {
        batch.extend(run(
            &name,
            &[&argument, &actor.rng.random_range(1..=ITEMS).to_string()],
        ));
    }
    batch.extend(sync());
    wire.send(&batch)?;
    let reply = fine(wire.reply()?)?;
    let wanted = [constant, actor.mark.clone(), argument].map(Some);
    wrong(
        reply.rows.len() == times && reply.rows.iter().all(|r| r[..] == wanted),
        "another statement's rows",
        &reply,
    )
}

fn write(actor: &mut Actor, wire: &mut Wire) -> Done {
    let id = actor.id();
    let reply = fine(wire.query(&actor.insert(id))?)?;
    wrong(reply.tags == ["INSERT 0 1"], "an insert's reply", &reply)?;
    actor.book(&[id], &reply)
}

/// Several batches, each with its Sync, in one write; some fail in the middle.
fn pipeline(actor: &mut Actor, wire: &mut Wire) -> Done {
    let mut bytes = Vec::new();
    let mut batches = Vec::new();
    for _ in 0..actor.rng.random_range(2..7) {
        let ids: Vec<u64> = (0..actor.rng.random_range(1..4))
            .map(|_| actor.id())
            .collect();
        let fails = actor
            .rng
            .random_bool(0.2)
            .then(|| actor.rng.random_range(0..ids.len()));
        bytes.extend(parse(
            "",
            "insert into log values ($1::bigint, $2::text, null)",
        ));
        for (at, id) in ids.iter().enumerate() {
            let value = if fails == Some(at) {
                "no number".to_owned()
            } else {
                id.to_string()
            };
            bytes.extend(run("", &[&value, &actor.mark]));
        }
        bytes.extend(sync());
        batches.push((ids, fails));
    }
    wire.send(&bytes)?;
    for (ids, fails) in batches {
        let reply = wire.reply()?;
        let wanted = if fails.is_some() { "22P02" } else { "" };
        wrong(reply.code() == wanted, "a batch's outcome", &reply)?;
        wrong(
            reply.tags.len() == fails.unwrap_or(ids.len()),
            "a batch's replies",
            &reply,
        )?;
        actor.book(&ids, &reply)?;
    }
    Ok(())
}

fn lines(actor: &mut Actor) -> (Vec<u64>, Vec<u8>) {
    let ids: Vec<u64> = (0..actor.rng.random_range(1..60))
        .map(|_| actor.id())
        .collect();
    let line = |id: &u64| copy_data(&format!("{id}\t{}\tcopied\n", actor.mark));
    let bytes = ids.iter().flat_map(line).collect();
    (ids, bytes)
}

fn end_copy(actor: &mut Actor, wire: &mut Wire, extended: bool) -> Done {
    let (ids, mut bytes) = lines(actor);
    let gives_up = actor.rng.random_bool(0.2);
    bytes.extend(if gives_up { copy_fail() } else { copy_done() });
    if extended {
        bytes.extend(sync());
    }
    wire.send(&bytes)?;
    let reply = wire.reply()?;
    wrong(
        reply.code() == if gives_up { "57014" } else { "" },
        "the end of a COPY",
        &reply,
    )?;
    actor.book(&ids, &reply)
}

fn copy_in(actor: &mut Actor, wire: &mut Wire) -> Done {
    let reply = wire.query("copy log from stdin")?;
    wrong(reply.status == b'G', "the start of a COPY", &reply)?;
    end_copy(actor, wire, false)
}

/// The server eats a Sync behind the Execute; a Flush does as well.
fn copy_in_extended(actor: &mut Actor, wire: &mut Wire) -> Done {
    wire.owes_sync = actor.rng.random_bool(0.5);
    let push = if wire.owes_sync {
        b"H\0\0\0\x04".to_vec()
    } else {
        sync()
    };
    wire.send(&[parse("", "copy log from stdin"), run("", &[]), push].concat())?;
    let reply = wire.reply()?;
    wrong(reply.status == b'G', "the start of a COPY", &reply)?;
    end_copy(actor, wire, true)
}

fn copy_out(actor: &mut Actor, wire: &mut Wire) -> Done {
    let nonce = actor.nonce();
    let reply = fine(wire.query(&format!(
        "copy (select '{nonce}', tenant from items, generate_series(1, 10)) to stdout"
    ))?)?;
    let text = String::from_utf8_lossy(&reply.copied);
    let line = format!("{nonce}\t{}", actor.mark);
    let count = usize::try_from(ITEMS * 10).expect("few rows");
    wrong(
        text.lines().count() == count && text.lines().all(|l| l == line),
        "copied rows",
        &reply,
    )
}

fn transaction(actor: &mut Actor, wire: &mut Wire) -> Done {
    let (kept, undone, late) = (actor.id(), actor.id(), actor.id());
    let open = |reply: &crate::wire::Reply, status: u8| {
        wrong(reply.status == status, "the state of a transaction", reply)
    };
    open(&wire.query("begin")?, b'T')?;
    open(&wire.query(&actor.insert(kept))?, b'T')?;
    open(&wire.query("savepoint here")?, b'T')?;
    open(&wire.query(&actor.insert(undone))?, b'T')?;
    open(&wire.query("select 1 / 0")?, b'E')?;
    open(&wire.query("rollback to here")?, b'T')?;
    wire.send(&[parse("", &actor.insert(late)), run("", &[]), sync()].concat())?;
    open(&wire.reply()?, b'T')?;
    actor.ledger.refused.push(undone);
    if actor.rng.random_bool(0.7) {
        let reply = fine(wire.query("commit")?)?;
        wrong(reply.tags == ["COMMIT"], "a commit's reply", &reply)?;
        return actor.book(&[kept, late], &reply);
    }
    actor.ledger.refused.extend([kept, late]);
    fine(wire.query("rollback")?).map(drop)
}

/// A multi-statement string is one transaction: an error undoes all of it.
/// A setting changes, or not, as its transaction ends; then it is what it was left at.
fn setting(actor: &mut Actor, wire: &mut Wire) -> Done {
    let size = format!("{}kB", actor.rng.random_range(65..1_000));
    let set = format!("set work_mem = '{size}'");
    match actor.rng.random_range(0..6) {
        0 => drop(fine(wire.query(&set)?)?),
        1 => {
            wire.send(&[parse("", &set), run("", &[]), sync()].concat())?;
            fine(wire.reply()?)?;
        }
        2 | 3 => {
            let commits = actor.rng.random_bool(0.5);
            fine_in_block(wire, "begin")?;
            fine_in_block(wire, &set)?;
            let end = if commits { "commit" } else { "rollback" };
            fine(wire.query(end)?)?;
            if !commits {
                return shows(actor, wire);
            }
        }
        4 => {
            fine(wire.query("reset work_mem")?)?;
            DEFAULT.clone_into(&mut actor.setting);
            return shows(actor, wire);
        }
        _ => return shows(actor, wire),
    }
    actor.setting = size;
    shows(actor, wire)
}

fn shows(actor: &Actor, wire: &mut Wire) -> Done {
    let reply = fine(wire.query("show work_mem")?)?;
    wrong(
        reply.value(0, 0) == Some(&actor.setting),
        &format!("work_mem, which is to be {}", actor.setting),
        &reply,
    )
}

fn error(actor: &mut Actor, wire: &mut Wire) -> Done {
    let id = actor.id();
    let reply = wire.query(&format!("{}; select 1 / 0; select 2", actor.insert(id)))?;
    wrong(
        reply.code() == "22012" && reply.status == b'I',
        "a division by zero",
        &reply,
    )?;
    actor.book(&[id], &reply)
}

fn statement_timeout(actor: &mut Actor, wire: &mut Wire) -> Done {
    let id = actor.id();
    fine_in_block(wire, "begin")?;
    fine_in_block(wire, &actor.insert(id))?;
    // Last: under load a small statement can take this long, too.
    fine_in_block(wire, "set local statement_timeout = 20")?;
    let reply = wire.query("select pg_sleep(5)")?;
    let text = reply.error.as_ref().map_or("", |(_, text)| text);
    wrong(
        text.contains("statement timeout") && reply.status == b'E',
        "a statement timeout",
        &reply,
    )?;
    actor.ledger.refused.push(id);
    let reply = fine(wire.query("commit")?)?;
    wrong(
        reply.tags == ["ROLLBACK"],
        "the end of a failed transaction",
        &reply,
    )
}

/// A statement inside a transaction.
pub(crate) fn fine_in_block(wire: &mut Wire, sql: &str) -> Done {
    let reply = wire.query(sql)?;
    wrong(
        reply.error.is_none() && reply.status == b'T',
        "a statement in a transaction",
        &reply,
    )
}

/// Larger than every buffer, both ways.
fn large(actor: &mut Actor, wire: &mut Wire) -> Done {
    let reply = fine(wire.query("select tenant, repeat(tenant, 100000) from items where id = 1")?)?;
    wrong(
        reply
            .value(0, 1)
            .is_some_and(|v| v == actor.mark.repeat(100_000)),
        "a large row",
        &reply,
    )?;
    let id = actor.id();
    let body = "y".repeat(200_000);
    let insert = parse(
        "",
        "insert into log values ($1::bigint, $2::text, $3::text)",
    );
    wire.send(
        &[
            insert,
            run("", &[&id.to_string(), &actor.mark, &body]),
            sync(),
        ]
        .concat(),
    )?;
    let reply = fine(wire.reply()?)?;
    actor.book(&[id], &reply)
}
