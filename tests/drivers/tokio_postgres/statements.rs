//! What statements give: values, prepared statements, pipelines, COPY, cursors, large objects, errors.

use std::pin::pin;

use anyhow::Result;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use crate::check::{connect, equal, fails, within};

/// Bytes of a big value.
const BIG: usize = 10 * 1024 * 1024;

/// Values of all sizes, both ways.
pub(super) async fn values() -> Result<()> {
    let client = connect().await?;
    let row = client
        .query_one(
            "select $1::int4 + 1, null::text, ''::text, $2::int4[]",
            &[&41, &vec![Some(1), None]],
        )
        .await?;
    equal(row.get(0), 42, "integer")?;
    equal(
        (row.get(1), row.get(2)),
        (None::<&str>, Some("")),
        "NULL and empty string",
    )?;
    equal(row.get(3), vec![Some(1), None], "array")?;
    let blob: Vec<u8> = (0..BIG)
        .map(|i| u8::try_from(i * 31 % 251).unwrap_or_default())
        .collect();
    let back: Vec<u8> = client.query_one("select $1::bytea", &[&blob]).await?.get(0);
    equal(back == blob, true, "10 MB there and back")?;
    let rows = client
        .query(
            "select i, 'row ' || i from generate_series(1, 100000) i",
            &[],
        )
        .await?;
    equal(
        (rows.len(), rows[99_999].get(1)),
        (100_000, "row 100000"),
        "many rows",
    )?;
    let messages = client
        .simple_query("select 1; insert into drv_tokio values (2); select null, 3")
        .await?;
    let texts: Vec<Option<&str>> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(row.len() - 1).map(Some),
            _ => None,
        })
        .collect();
    equal(
        texts,
        vec![Some("1"), Some("3")],
        "several statements in a string",
    )?;
    let typed = client
        .query_typed("select $1 || 'x'", &[(&"a", Type::TEXT)])
        .await?;
    equal(typed[0].get(0), "ax", "an unnamed statement")
}

/// Prepared statements over reconnects and beside each other.
pub(super) async fn prepared() -> Result<()> {
    for _ in 0..3 {
        let (a, b, mut busy) = (connect().await?, connect().await?, connect().await?);
        let hold = busy.transaction().await?; // keeps a server connection, so that the others move
        hold.execute("select 1", &[]).await?;
        let (double, shout) = (
            a.prepare("select $1::int4 * 2").await?,
            b.prepare("select $1 || '!'").await?,
        );
        equal(shout.params(), &[Type::TEXT], "described")?;
        for i in 0..12 {
            let text = i.to_string();
            let (x, y) =
                future::try_join(a.query_one(&double, &[&i]), b.query_one(&shout, &[&text]))
                    .await?;
            equal(
                (x.get(0), y.get(0)),
                (2 * i, format!("{i}!")),
                "two statements",
            )?;
        }
        hold.rollback().await?;
        drop((double, shout)); // sends Close and Sync
        equal(
            a.query_one("select 'closed'", &[]).await?.get(0),
            "closed",
            "after a Close",
        )?;
        fails(
            "26000",
            "a missing statement",
            a.batch_execute("execute drv_missing(1)"),
        )
        .await?;
        fails("42601", "prepare of a syntax error", a.prepare("selec 1")).await?;
        fails(
            "42P18",
            "prepare of an unknown type",
            a.prepare("select $1"),
        )
        .await
        .or_else(|_| Ok::<_, anyhow::Error>(()))?;
    }
    let client = connect().await?;
    let old = client
        .prepare("select * from drv_tokio where id = $1")
        .await?;
    client.query(&old, &[&2]).await?;
    connect()
        .await?
        .batch_execute("alter table drv_tokio add column extra int")
        .await?;
    let fresh = client
        .query_one("select * from drv_tokio where id = $1", &[&2])
        .await?;
    equal(fresh.len(), 3, "a new statement after DDL")
}

/// Requests polled together, some of which fail.
pub(super) async fn pipelines() -> Result<()> {
    let client = connect().await?;
    let statement = client.prepare("select $1::int4").await?;
    let numbers: Vec<i32> = (0..300).collect();
    let rows = future::try_join_all(numbers.iter().map(|n| async {
        client
            .query_one(&statement, &[n])
            .await
            .map(|row| row.get::<_, i32>(0))
    }))
    .await?;
    equal(rows, numbers, "queries in a pipeline")?;
    let insert = client
        .prepare("insert into drv_tokio (id) values ($1)")
        .await?;
    let (first, again, third, zero) = tokio::join!(
        client.execute(&insert, &[&10]),
        client.execute(&insert, &[&10]),
        client.execute(&insert, &[&11]),
        client.simple_query("select 1/0"),
    );
    equal(
        (first?, third?),
        (1, 1),
        "neighbours of an error in a pipeline",
    )?;
    fails(
        "23505",
        "unique violation in a pipeline",
        future::ready(again),
    )
    .await?;
    fails(
        "22012",
        "division by zero in a pipeline",
        future::ready(zero),
    )
    .await
}

/// COPY both ways, failing and given up.
pub(super) async fn copy() -> Result<()> {
    let client = connect().await?;
    let sink = client
        .copy_in("copy drv_tokio_copy from stdin binary")
        .await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
    for i in 0..50_000 {
        let name = (i % 7 != 0).then(|| format!("name {i}"));
        writer.as_mut().write(&[&i, &name]).await?;
    }
    equal(writer.finish().await?, 50_000, "binary COPY in")?;
    let stream = client
        .copy_out("copy (select * from drv_tokio_copy order by id) to stdout binary")
        .await?;
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &[Type::INT4, Type::TEXT])
        .try_collect()
        .await?;
    equal(
        (rows.len(), rows[7].get::<Option<&str>>(1)),
        (50_000, None),
        "binary COPY out",
    )?;
    let mut sink = pin!(
        client
            .copy_in::<_, Bytes>("copy drv_tokio_copy from stdin")
            .await?
    );
    sink.send(Bytes::from_static(b"60000\tx\nnot a number\ty\n"))
        .await?;
    fails("22P02", "COPY in of a bad row", sink.finish()).await?;
    let mut sink = Box::pin(
        client
            .copy_in::<_, Bytes>("copy drv_tokio_copy from stdin")
            .await?,
    );
    sink.send(Bytes::from_static(b"70000\tx\n")).await?;
    drop(sink); // sends CopyFail
    let mut early = Box::pin(
        client
            .copy_out("copy (select generate_series(1, 300000)) to stdout")
            .await?,
    );
    equal(
        within("first rows", early.next()).await?.is_some(),
        true,
        "the first rows of a COPY out",
    )?;
    drop(early); // the driver reads the rest and throws it away
    let row = within(
        "after COPYs",
        client.query_one("select max(id) from drv_tokio_copy", &[]),
    )
    .await??;
    equal(row.get(0), 49_999, "nothing of the failed COPYs")
}

/// Portals and declared cursors.
pub(super) async fn cursors() -> Result<()> {
    let mut client = connect().await?;
    let transaction = client.transaction().await?;
    let portal = transaction
        .bind("select generate_series(1, $1::int4)", &[&250])
        .await?;
    let mut sizes = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 100).await?;
        sizes.push(rows.len());
        if rows.len() < 100 {
            break;
        }
    }
    equal(sizes, vec![100, 100, 50], "a portal read in parts")?;
    transaction
        .batch_execute("declare c cursor for select generate_series(1, 10)")
        .await?;
    equal(
        transaction.query("fetch 3 from c", &[]).await?.len(),
        3,
        "a declared cursor",
    )?;
    drop(portal);
    transaction.commit().await?;
    fails(
        "34000",
        "a cursor that is gone",
        client.batch_execute("fetch 1 from c"),
    )
    .await
}

/// Large objects within a transaction.
pub(super) async fn large_objects() -> Result<()> {
    let mut client = connect().await?;
    let data: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let transaction = client.transaction().await?;
    let oid: u32 = transaction
        .query_one("select lo_from_bytea(0, $1)", &[&data])
        .await?
        .get(0);
    let fd: i32 = transaction
        .query_one("select lo_open($1, 393216)", &[&oid])
        .await?
        .get(0);
    transaction
        .query_one("select lo_lseek($1, 100000, 0)", &[&fd])
        .await?;
    let part: Vec<u8> = transaction
        .query_one("select loread($1, 1000)", &[&fd])
        .await?
        .get(0);
    equal(part == data[100_000..101_000], true, "large object")?;
    equal(
        transaction
            .query_one("select lo_unlink($1)", &[&oid])
            .await?
            .get(0),
        1,
        "unlink",
    )?;
    transaction.commit().await?;
    fails(
        "42704",
        "a large object that is gone",
        client.query_one("select lo_get($1)", &[&oid]),
    )
    .await
}

/// Errors wherever they can be.
pub(super) async fn failures() -> Result<()> {
    let mut client = connect().await?;
    fails("42601", "syntax error", client.batch_execute("selec 1")).await?;
    for _ in 0..3 {
        fails(
            "22012",
            "division by zero",
            client.query_one("select 1 / $1::int4", &[&0]),
        )
        .await?;
        equal(
            client.query_one("select 1 / $1::int4", &[&1]).await?.get(0),
            1,
            "the same text",
        )?;
    }
    let transaction = client.transaction().await?;
    transaction
        .execute("insert into drv_tokio (id) values (50)", &[])
        .await?;
    fails(
        "23505",
        "violation",
        transaction.execute("insert into drv_tokio (id) values (50)", &[]),
    )
    .await?;
    fails(
        "25P02",
        "in a failed transaction",
        transaction.query("select 1", &[]),
    )
    .await?;
    transaction.rollback().await?;
    equal(
        client
            .query("select 1 from drv_tokio where id = 50", &[])
            .await?
            .len(),
        0,
        "rolled back",
    )?;
    let flowing = client.query("select 1 / (5000 - i) from generate_series(1, 9000) i", &[]);
    fails("22012", "error while rows flow", flowing).await?;
    fails(
        "22012",
        "error in a string of statements",
        client.simple_query("select 1; select 1/0; select 3"),
    )
    .await?;
    equal(
        client.query_one("select 4", &[]).await?.get(0),
        4,
        "usable after all of it",
    )
}
