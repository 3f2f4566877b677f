//! What sessions do to each other: cancels, timeouts, session state, transactions, many at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future;
use tokio_postgres::{AsyncMessage, Client, IsolationLevel};

use crate::check::{connect, connect_with, equal, fails, within};
use crate::tls;

/// Connections at once where a pool is expected to be smaller.
const CLIENTS: i32 = 20;
/// How many backends run a statement like `$1`.
const RUNNING: &str = "select count(*) from pg_stat_activity \
    where state = 'active' and query like $1 and pid <> pg_backend_pid()";

/// Waits until a statement with this mark runs.
async fn running(eye: &Client, word: &str) -> Result<()> {
    within(word, async {
        loop {
            let row = eye.query_one(RUNNING, &[&format!("%{word}%")]).await?;
            if row.get::<_, i64>(0) == 1 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await?
}

/// A cancel stops one query and nothing else.
pub(super) async fn cancellation() -> Result<()> {
    let (victim, other, eye) = (connect().await?, connect().await?, connect().await?);
    let bystander = tokio::spawn(async move {
        other
            .query_one("select 'slept' from pg_sleep(2)", &[])
            .await
    });
    for round in 0..2 {
        let word = format!("mark {} {round}", std::process::id());
        let sleep = format!("select pg_sleep(90) /* {word} */");
        let (slept, sent) = tokio::join!(
            fails("57014", "a cancelled sleep", victim.simple_query(&sleep)),
            async {
                running(&eye, &word).await?;
                victim
                    .cancel_token()
                    .cancel_query(tls::target("")?.1)
                    .await
                    .context("cancel request")
            }
        );
        slept.and(sent)?;
        equal(
            victim.query_one("select 5", &[]).await?.get(0),
            5,
            "usable after a cancel",
        )?;
    }
    let row = within("the bystander", bystander).await???;
    equal(row.get(0), "slept", "another session is not cancelled")
}

/// Timeouts of statements and of locks.
pub(super) async fn timeouts() -> Result<()> {
    let client = connect_with("-c statement_timeout=300").await?;
    equal(
        client
            .query_one("show statement_timeout", &[])
            .await?
            .get(0),
        "300ms",
        "statement_timeout at the start",
    )?;
    fails(
        "57014",
        "statement_timeout",
        client.batch_execute("select pg_sleep(60)"),
    )
    .await?;
    equal(
        client.query_one("select 1", &[]).await?.get(0),
        1,
        "usable after a timeout",
    )?;
    let (mut client, mut other) = (connect().await?, connect().await?);
    let transaction = client.transaction().await?;
    transaction
        .batch_execute("set local statement_timeout = '200ms'")
        .await?;
    fails(
        "57014",
        "SET LOCAL",
        transaction.query("select pg_sleep(60)", &[]),
    )
    .await?;
    transaction.rollback().await?;
    equal(
        client
            .query_one("show statement_timeout", &[])
            .await?
            .get(0),
        "0",
        "SET LOCAL has ended",
    )?;
    let holder = other.transaction().await?;
    holder
        .batch_execute("lock table drv_tokio_conc in access exclusive mode")
        .await?;
    let transaction = client.transaction().await?;
    transaction
        .batch_execute("set local lock_timeout = '200ms'")
        .await?;
    fails(
        "55P03",
        "lock_timeout",
        transaction.query("select * from drv_tokio_conc", &[]),
    )
    .await?;
    transaction.rollback().await?;
    holder.rollback().await?;
    Ok(())
}

/// Notices, LISTEN, temporary tables and SET.
pub(super) async fn session_state() -> Result<()> {
    let (config, connector) = tls::target("")?;
    let (ear, mut connection) = within("connect", config.connect(connector)).await??;
    let (heard, mut messages) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(Ok(message)) =
            future::poll_fn(|context| connection.poll_message(context)).await
        {
            let text = match message {
                AsyncMessage::Notice(notice) => {
                    format!("{} {}", notice.severity(), notice.message())
                }
                AsyncMessage::Notification(note) => note.payload().to_owned(),
                _ => "unknown".to_owned(),
            };
            if heard.send(text).await.is_err() {
                break;
            }
        }
    });
    ear.batch_execute("listen drv_tokio; do $$ begin raise notice 'one'; end $$")
        .await?;
    let other = connect().await?;
    other.batch_execute("notify drv_tokio, 'hello'").await?;
    for want in ["NOTICE one", "hello"] {
        equal(
            within(want, messages.recv()).await?.as_deref(),
            Some(want),
            "notice and notification",
        )?;
    }
    ear.batch_execute("create temp table drv_temp as select 7 as n")
        .await?;
    equal(
        ear.query_one("select n from drv_temp", &[]).await?.get(0),
        7,
        "a temporary table",
    )?;
    fails(
        "42P01",
        "which nobody else sees",
        other.query("select n from drv_temp", &[]),
    )
    .await?;
    ear.batch_execute("set search_path = pg_catalog").await?;
    equal(
        ear.query_one("show search_path", &[]).await?.get(0),
        "pg_catalog",
        "SET stays",
    )?;
    equal(
        other.query_one("show search_path", &[]).await?.get(0),
        "\"$user\", public",
        "SET does not reach others",
    )
}

/// Savepoints and isolation levels.
pub(super) async fn transactions() -> Result<()> {
    let mut client = connect().await?;
    let mut outer = client.transaction().await?;
    outer
        .execute("insert into drv_tokio (id) values (60)", &[])
        .await?;
    let inner = outer.transaction().await?;
    inner
        .execute("insert into drv_tokio (id) values (61)", &[])
        .await?;
    fails(
        "23505",
        "violation in a savepoint",
        inner.execute("insert into drv_tokio (id) values (60)", &[]),
    )
    .await?;
    inner.rollback().await?;
    outer
        .execute("insert into drv_tokio (id) values (62)", &[])
        .await?;
    outer.commit().await?;
    let row = client
        .query_one(
            "select array_agg(id order by id) from drv_tokio where id between 60 and 69",
            &[],
        )
        .await?;
    equal(row.get(0), vec![60, 62], "savepoints")?;
    for (level, name) in [
        (IsolationLevel::ReadCommitted, "read committed"),
        (IsolationLevel::RepeatableRead, "repeatable read"),
        (IsolationLevel::Serializable, "serializable"),
    ] {
        let transaction = client
            .build_transaction()
            .isolation_level(level)
            .read_only(true)
            .start()
            .await?;
        equal(
            transaction
                .query_one("show transaction_isolation", &[])
                .await?
                .get(0),
            name,
            "isolation level",
        )?;
        fails(
            "25006",
            "write in a read-only transaction",
            transaction.batch_execute("delete from drv_tokio"),
        )
        .await?;
    } // dropped: rolled back
    equal(
        client.query_one("select 1", &[]).await?.get(0),
        1,
        "after transactions that were dropped",
    )
}

/// Many clients at once, whose rows carry their marks.
pub(super) async fn concurrency() -> Result<()> {
    let barrier = Arc::new(tokio::sync::Barrier::new(usize::try_from(CLIENTS)?));
    let clients = (0..CLIENTS).map(|number| {
        let barrier = Arc::clone(&barrier);
        tokio::spawn(async move {
            let (mut client, word) = (connect().await?, format!("client {number}"));
            within("all clients", barrier.wait()).await?;
            for i in 0..30 {
                let transaction = client.transaction().await?;
                transaction
                    .execute("insert into drv_tokio_conc values ($1, $2)", &[&word, &i])
                    .await?;
                let row = transaction
                    .query_one("select $1::text, $2::int4", &[&word, &i])
                    .await?;
                equal(
                    (row.get(0), row.get(1)),
                    (word.as_str(), i),
                    "a row carries its client's mark",
                )?;
                transaction.commit().await?;
            }
            let rows = client
                .query(
                    "select n from drv_tokio_conc where mark = $1 order by n",
                    &[&word],
                )
                .await?;
            let numbers: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
            equal(numbers, (0..30).collect(), "each write is there once")
        })
    });
    for client in future::join_all(clients).await {
        client??;
    }
    Ok(())
}
