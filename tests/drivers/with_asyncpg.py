"""asyncpg with its defaults: every query is a prepared statement kept in a cache, results are binary.

asyncpg asks the catalog about types it does not know and switches `jit` off for that; pools reset
each connection. Lacks: the function call protocol and protocol-level pipelines, which asyncpg does
not offer (executemany is one batch behind one Sync).
"""

import asyncio
import io
import os
import random

import asyncpg

from common import BIG, CLIENTS, PATIENCE, RUNNING, Checks, Failed, mark, run_async

checks = Checks("asyncpg")
T = "drv_asyncpg"
TYPED = 2
"""Sessions at once that look up types: `set_config('jit', 'off', false)` beside it pins them."""


def connect(**options):
    """A connection of the environment's target."""
    return asyncpg.connect(timeout=PATIENCE, command_timeout=60, **options)


async def until_running(conn, word):
    """Waits until a statement with this mark runs."""
    for _ in range(PATIENCE * 50):
        if await conn.fetchval(RUNNING.replace("%s", "$1"), f"%{word}%") == 1:
            return
        await asyncio.sleep(0.02)
    raise Failed(f"{word}: does not run within {PATIENCE} s")


async def setup():
    conn = await connect()
    await conn.execute(f"""
        drop table if exists {T}, {T}_copy, {T}_conc, {T}_typed;
        drop type if exists {T}_mood;
        create type {T}_mood as enum ('sad', 'glad');
        create table {T} (id int primary key, name text, data bytea);
        create table {T}_copy (id int primary key, name text, at timestamptz);
        create table {T}_conc (mark text, n int);
        create table {T}_typed (mood {T}_mood, moods {T}_mood[])
    """)
    await conn.close()


async def values():
    conn = await connect()
    checks.equal(await conn.fetchval("select $1::int4 + 1", 41), 42, "integer")
    row = await conn.fetchrow("select null, $1::text, '', $2::int[]", None, [1, None, 3])
    checks.equal(tuple(row), (None, None, "", [1, None, 3]), "NULLs and empty strings")
    blob = random.randbytes(BIG)
    checks.equal(await conn.fetchval("select $1::bytea", blob) == blob, True, "10 MB there and back")
    text = "ä" * (BIG // 2)
    checks.equal(await conn.fetchval("select $1::text", text) == text, True, "10 MB of text there and back")
    rows = await conn.fetch("select i, 'row ' || i from generate_series(1, 100000) i")
    checks.equal((len(rows), tuple(rows[-1])), (100000, (100000, "row 100000")), "many rows")
    await conn.execute(f"insert into {T}_typed values ($1, $2)", "glad", ["sad", "glad"])
    row = await conn.fetchrow(f"select * from {T}_typed")
    checks.equal(tuple(row), ("glad", ["sad", "glad"]), "a type of the user's own, looked up in the catalog")
    checks.equal(await conn.fetchval("show jit"), "on", "jit is back after the look-up")
    status = await conn.execute(f"select 1; insert into {T} values (2); select 3")
    checks.equal(status, "SELECT 1", "several statements in a string")
    checks.equal(await conn.fetchval(f"select count(*) from {T} where id = 2"), 1, "all of them ran")
    await conn.close()


async def prepared():
    for _ in range(3):  # each round is a reconnect
        conn, other, busy = await connect(), await connect(), await connect()
        busy_transaction = busy.transaction()
        await busy_transaction.start()  # keeps a server connection, so that the others move
        statement = await conn.prepare("select $1::int4 * 2, 'a'", name="same")
        twin = await other.prepare("select $1::text || '!'", name="same")
        for i in range(12):
            async with conn.transaction():
                checks.equal(await conn.fetchval("select $1::int4 * 2", i), 2 * i, "cached statement")
            checks.equal(tuple(await statement.fetchrow(i)), (2 * i, "a"), "one name")
            checks.equal(await twin.fetchval(str(i)), f"{i}!", "the same name, other text")
        checks.equal([a.name for a in statement.get_attributes()], ["?column?", "?column?"], "described")
        await checks.fails_async("26000", "a missing statement", conn.execute("execute drv_missing(1)"))
        await busy_transaction.rollback()
        for c in (conn, other, busy):
            await c.close()


async def schema_changes():
    """Types change under a statement that asyncpg believes to know, while the session moves."""
    conn, changer, busy = await connect(), await connect(), [await connect() for _ in range(2)]
    for i in range(4):
        await changer.execute(f"drop table if exists {T}_stale; create table {T}_stale (id int, v int8)")
        insert, query = f"insert into {T}_stale values ($1, $2)", f"select id, v from {T}_stale order by id"
        await conn.execute(insert, 1, 7)
        checks.equal([tuple(r) for r in await conn.fetch(query)], [(1, 7)], "before")
        for c in busy:  # keep the server connections that were used last, so that the others move
            await c.execute("begin; select 1")
        await changer.execute(f"alter table {T}_stale alter column v type float8")
        await conn.execute(insert, 2, 8)
        checks.equal([tuple(r) for r in await changer.fetch(query + " limit 2")], [(1, 7.0), (2, 8.0)], "written after the change")
        checks.equal([tuple(r) for r in await conn.fetch(query)], [(1, 7.0), (2, 8.0)], "read after the change")
        await changer.execute(f"alter table {T}_stale add column extra text default 'x'")
        checks.equal(tuple(await conn.fetchrow(f"select * from {T}_stale where id = 1")), (1, 7.0, "x"), "one column more")
        for c in busy:
            await c.execute("rollback")
    await changer.execute(f"drop table {T}_stale")
    for c in busy:
        await c.close()
    conn, changer = await connect(), await connect()
    checks.equal(dict(await conn.fetchrow(f"select * from {T}_typed")), {"mood": "glad", "moods": ["sad", "glad"]}, "before")
    await changer.execute(f"alter table {T}_typed add column extra int")
    row = None
    for _ in range(2):  # asyncpg retries by itself outside of transactions
        row = await conn.fetchrow(f"select * from {T}_typed")
    checks.equal(dict(row), {"mood": "glad", "moods": ["sad", "glad"], "extra": None}, "a cached plan after DDL")
    await conn.close()
    await changer.close()


async def introspection():
    """Types that asyncpg asks the catalog about: enums, composites, arrays, domains and ranges of them."""
    first = await connect()
    await first.execute(f"""
        drop schema if exists {T}_types cascade;
        create schema {T}_types;
        set search_path to {T}_types;
        create type color as enum ('red', 'green');
        create domain small as int check (value < 100);
        create type point3 as (x small, y float8, hue color);
        create type polyline as (name text, points point3[]);
        create type span as range (subtype = float8);
        create table shape (id int primary key, hue color, at point3, edge polyline, hues color[], spans span[]);
        reset search_path
    """)
    value = (1, "green", (5, 0.5, "red"), ("l", [(1, 1.5, "red"), (2, 2.5, "green")]), ["red", "green"],
             [asyncpg.Range(1.5, 2.5)])
    insert = f"insert into {T}_types.shape values ($1, $2, $3, $4, $5, $6)"
    await first.execute(insert, *value)
    async with asyncpg.create_pool(min_size=TYPED, max_size=TYPED, timeout=PATIENCE, command_timeout=60) as pool:

        async def client(number):
            async with pool.acquire() as conn:
                await conn.execute(insert, number + 2, *value[1:])
                row = await conn.fetchrow(f"select * from {T}_types.shape where id = $1", number + 2)
                checks.equal((row["hue"], row["hues"], row["spans"]), (value[1], value[4], value[5]), "enum, array, range")
                checks.equal((row["at"]["hue"], tuple(row["at"])), ("red", value[2]), "a composite")
                checks.equal([tuple(p) for p in row["edge"]["points"]], value[3][1], "an array of composites in a composite")

        await asyncio.wait_for(asyncio.gather(*(client(i) for i in range(CLIENTS))), 60)
    query = f"select hue, at, hues from {T}_types.shape where id = 1"
    checks.equal((await first.fetchrow(query))["at"]["y"], 0.5, "before a change of the types")
    changer = await connect()
    await changer.execute(f"alter type {T}_types.point3 add attribute z int; alter type {T}_types.color add value 'blue'")
    await first.reload_schema_state()
    row = await first.fetchrow(f"select hue, at, hues from {T}_types.shape where id = 1 and true")
    checks.equal(tuple(row["at"]), (5, 0.5, "red", None), "after reload_schema_state")
    checks.equal(await first.fetchval(f"select $1::{T}_types.color", "blue"), "blue", "a new value of the enum")
    await changer.execute(f"drop schema {T}_types cascade")
    for conn in (first, changer):
        await conn.close()


async def caches():
    """asyncpg's cache of statements: without one, a small one, a short one."""
    for options in ({"statement_cache_size": 0}, {"statement_cache_size": 3}, {"max_cached_statement_lifetime": 1},
                    {"max_cacheable_statement_size": 10}):
        conn, other = await connect(**options), await connect(**options)
        for i in range(30):
            async with conn.transaction():
                checks.equal(await conn.fetchval(f"select $1::int4 + {i % 7}", i), i + i % 7, f"{options}")
            checks.equal(await other.fetchval(f"select $1::text || '{i % 7}'", str(i)), f"{i}{i % 7}", f"{options}, another session")
            if i % 10 == 0:
                statement = await conn.prepare("select $1::int4 * 3")
                checks.equal(await statement.fetchval(i), 3 * i, "a statement of one's own")
        await checks.fails_async("42703", "an error in a statement", conn.fetchval("select missing"))
        checks.equal(await conn.fetchval("select 1"), 1, "usable")
        for c in (conn, other):
            await c.close()


async def two_schemas():
    """Tables of one name and columns of other types, by search_path."""
    conn = await connect()
    await conn.execute(f"""
        drop schema if exists {T}_x, {T}_y cascade;
        create schema {T}_x; create table {T}_x.same (v int8, w text); insert into {T}_x.same values (7, 'x');
        create schema {T}_y; create table {T}_y.same (v text, w int8); insert into {T}_y.same values ('y', 8)""")
    want = {"x": (7, "x"), "y": ("y", 8)}
    own = {schema: await connect(server_settings={"search_path": f"{T}_{schema}"}) for schema in want}
    for _ in range(15):
        for schema, session in own.items():
            async with session.transaction():
                checks.equal(tuple(await session.fetchrow("select * from same")), want[schema], "by a startup setting")
                found = await session.fetchval("select count(*) from same where v = $1", want[schema][0])
                checks.equal(found, 1, "with a parameter of the column's type")
    for schema in "xyx":  # asyncpg prepares again by itself outside of transactions
        await conn.execute(f"set search_path to {T}_{schema}")
        checks.equal(tuple(await conn.fetchrow("select * from same")), want[schema], "by SET, over one cached statement")
    await conn.execute(f"set search_path to {T}_y")
    try:
        async with conn.transaction():
            await conn.fetch("select * from same")
        raise Failed("a stale statement passed in a transaction")
    except asyncpg.InvalidCachedStatementError as error:
        checks.true("schema or configuration" in str(error), "in a transaction it is an error")
    checks.equal(tuple(await conn.fetchrow("select * from same")), want["y"], "after it")
    await conn.execute(f"drop schema {T}_x, {T}_y cascade")
    for c in (conn, *own.values()):
        await c.close()


async def batches():
    conn = await connect()
    insert = f"insert into {T} (id, name) values ($1, $2)"
    await conn.executemany(insert, [(i, str(i)) for i in range(1000, 6000)])
    checks.equal(await conn.fetchval(f"select count(*) from {T} where id >= 1000"), 5000, "executemany")
    rows = [(7000, "x"), (7001, "y"), (7000, "again"), (7002, "z")]
    await checks.fails_async("23505", "violation in the middle of a batch", conn.executemany(insert, rows))
    checks.equal(await conn.fetchval(f"select count(*) from {T} where id >= 7000"), 0, "the batch is undone")
    got = await conn.fetchmany("select $1::int4 + 1", [(i,) for i in range(100)])
    checks.equal([r[0] for r in got], list(range(1, 101)), "fetchmany")
    await conn.close()


async def copy():
    conn = await connect()
    records = [(i, None if i % 7 == 0 else f"name {i}", None) for i in range(50000)]
    checks.equal(await conn.copy_records_to_table(f"{T}_copy", records=records), "COPY 50000", "binary COPY in")
    out = io.BytesIO()
    status = await conn.copy_from_query(f"select id, name from {T}_copy order by id", output=out, format="csv")
    lines = out.getvalue().decode().splitlines()
    checks.equal((status, lines[7], lines[-1]), ("COPY 50000", "7,", "49999,name 49999"), "COPY out")
    source = io.BytesIO(b"60000,fine,\nnot a number,x,\n")
    await checks.fails_async(
        "22P02", "COPY in of a bad row", conn.copy_to_table(f"{T}_copy", source=source, format="csv"))

    async def broken():
        yield b"70000,x,\n"
        raise KeyError("the client's own trouble")

    try:
        await conn.copy_to_table(f"{T}_copy", source=broken(), format="csv")
        raise Failed("an aborted COPY succeeded")
    except KeyError:
        pass
    checks.equal(await conn.fetchval(f"select max(id) from {T}_copy"), 49999, "nothing of the failed COPYs")

    async def enough(_data):
        raise KeyError("the client has seen enough")

    try:
        await conn.copy_from_query("select generate_series(1, 3000000)", output=enough)
        raise Failed("an aborted COPY out succeeded")
    except KeyError:
        pass
    checks.equal(await conn.fetchval("select 'usable'"), "usable", "after aborted COPYs")
    await conn.close()


async def cancellation():
    victim, other, eye = await connect(), await connect(), await connect()
    bystander = asyncio.create_task(other.fetchval("select 'slept' from pg_sleep(2)"))
    for way in ("task", "timeout"):
        word = mark()
        sleep = f"select pg_sleep(90) /* {word} */"
        if way == "task":
            task = asyncio.create_task(victim.execute(sleep))
            await until_running(eye, word)
            task.cancel()
        else:
            task = asyncio.create_task(victim.execute(sleep, timeout=0.3))
        try:
            await asyncio.wait_for(task, PATIENCE)
            raise Failed("a cancelled sleep succeeded")
        except (asyncio.CancelledError, asyncio.TimeoutError):
            pass
        checks.equal(await victim.fetchval("select 5"), 5, f"usable after a cancel by {way}")
        checks.equal(await eye.fetchval(RUNNING.replace("%s", "$1"), f"%{word}%"), 0, "the sleep has ended")
    checks.equal(await bystander, "slept", "another session is not cancelled")
    for conn in (victim, other, eye):
        await conn.close()


async def cursors():
    conn = await connect()
    async with conn.transaction():
        got = [r[0] async for r in conn.cursor("select generate_series(1, 1000)", prefetch=30)]
        checks.equal(got, list(range(1, 1001)), "a portal read in parts")
        cur = await conn.cursor("select generate_series(1, $1::int4)", 100)
        checks.equal([r[0] for r in await cur.fetch(5)], [1, 2, 3, 4, 5], "first five")
        checks.equal(await conn.fetchval("select 'between'"), "between", "a query beside a portal")
        checks.equal(await cur.forward(90), 90, "skip")
        checks.equal([r[0] for r in await cur.fetch(50)], [96, 97, 98, 99, 100], "rest")
    await checks.fails_async("34000", "fetch from a missing cursor", conn.execute("fetch 1 from drv_none"))
    await conn.close()


async def timeouts():
    conn = await connect(server_settings={"statement_timeout": "300"})
    checks.equal(await conn.fetchval("show statement_timeout"), "300ms", "statement_timeout at the start")
    await checks.fails_async("57014", "statement_timeout", conn.execute("select pg_sleep(60)"))
    checks.equal(await conn.fetchval("select 1"), 1, "usable after a timeout")
    await conn.close()
    conn, holder = await connect(), await connect()

    async def inside(setting, statement):
        async with conn.transaction():
            await conn.execute(f"set local {setting} = '200ms'")
            await conn.fetch(statement)

    await checks.fails_async("57014", "SET LOCAL", inside("statement_timeout", "select pg_sleep(60)"))
    checks.equal(await conn.fetchval("show statement_timeout"), "0", "SET LOCAL ended with its transaction")
    async with holder.transaction():
        await holder.execute(f"lock table {T}_conc in access exclusive mode")
        await checks.fails_async("55P03", "lock_timeout", inside("lock_timeout", f"select * from {T}_conc"))
    checks.equal(await conn.fetchval(f"select count(*) from {T}_conc"), 0, "the lock is gone")
    await conn.close()
    await holder.close()


async def large_objects():
    conn = await connect()
    data = os.urandom(300000)
    async with conn.transaction():
        oid = await conn.fetchval("select lo_from_bytea(0, $1)", data)
        fd = await conn.fetchval("select lo_open($1, 393216)", oid)
        await conn.fetchval("select lo_lseek($1, 100000, 0)", fd)
        checks.equal(await conn.fetchval("select loread($1, 1000)", fd), data[100000:101000], "large object")
        checks.equal(await conn.fetchval("select lo_unlink($1)", oid), 1, "unlink")
    await checks.fails_async("42704", "a large object that is gone", conn.fetchval("select lo_get($1)", oid))
    await conn.close()


async def failures():
    conn = await connect()
    error = await checks.fails_async("42601", "syntax error", conn.execute("selec 1"))
    checks.equal(error.position, "1", "position of a syntax error")
    for _ in range(3):
        await checks.fails_async("42601", "syntax error in a prepared statement", conn.fetch("selec $1::int", 1))
        await checks.fails_async("22012", "division by zero", conn.fetchval("select 1 / $1::int4", 0))
        checks.equal(await conn.fetchval("select 1 / $1::int4", 1), 1, "the same statement")
    await checks.fails_async("42P01", "a missing table", conn.fetch("select * from drv_missing where id = $1", 1))
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(f"insert into {T} (id) values (50)")
    error = await checks.fails_async("23505", "violation", conn.execute(f"insert into {T} (id) values ($1)", 50))
    checks.equal((error.constraint_name, error.table_name), (f"{T}_pkey", T), "fields of the error")
    await checks.fails_async("25P02", "in a failed transaction", conn.fetchval("select 1"))
    await transaction.rollback()
    checks.equal(await conn.fetchval(f"select count(*) from {T} where id = 50"), 0, "rolled back")
    await checks.fails_async(
        "22012", "error while rows flow", conn.fetch("select 1 / (5000 - i) from generate_series(1, 9000) i"))
    await checks.fails_async("42601", "error in a string of statements", conn.execute("select 1; selec 2"))
    seen = []
    conn.add_log_listener(lambda _conn, message: seen.append((message.severity, message.message)))
    await conn.execute("do $$ begin raise notice 'one'; raise warning 'two'; end $$")
    await asyncio.sleep(0)  # listeners are called by the loop
    checks.equal(seen, [("NOTICE", "one"), ("WARNING", "two")], "notices")
    await conn.close()


async def session_state():
    ear, mouth, heard = await connect(), await connect(), asyncio.Queue()
    await ear.add_listener("drv_asyncpg_channel", lambda _c, _pid, _channel, payload: heard.put_nowait(payload))
    await mouth.execute("notify drv_asyncpg_channel, 'hello'")
    await mouth.fetchval("select pg_notify('drv_asyncpg_channel', $1)", "again")
    got = [await asyncio.wait_for(heard.get(), PATIENCE) for _ in range(2)]
    checks.equal(got, ["hello", "again"], "LISTEN and NOTIFY, while idle")
    await ear.close()
    await mouth.close()
    conn, other = await connect(), await connect()
    await conn.execute("create temp table drv_temp (n int)")
    await conn.execute("insert into drv_temp values (1), (2)")
    checks.equal(await conn.fetchval("select sum(n) from drv_temp"), 3, "a temporary table")
    await checks.fails_async("42P01", "which nobody else sees", other.fetch("select * from drv_temp"))
    await conn.execute("set search_path = pg_catalog")
    checks.equal(await conn.fetchval("show search_path"), "pg_catalog", "SET stays")
    checks.equal(await other.fetchval("show search_path"), '"$user", public', "SET does not reach others")
    await conn.reset()
    checks.equal(await conn.fetchval("show search_path"), '"$user", public', "reset")
    await conn.close()
    await other.close()


async def transactions():
    conn = await connect()
    async with conn.transaction():
        await conn.execute(f"insert into {T} (id) values (60)")

        async def inner():
            async with conn.transaction():
                await conn.execute(f"insert into {T} (id) values (61)")
                await conn.execute(f"insert into {T} (id) values (60)")

        await checks.fails_async("23505", "violation in a savepoint", inner())
        async with conn.transaction():
            await conn.execute(f"insert into {T} (id) values (62)")
    got = await conn.fetch(f"select id from {T} where id between 60 and 69 order by 1")
    checks.equal([r[0] for r in got], [60, 62], "savepoints")
    for level in ("read_uncommitted", "read_committed", "repeatable_read", "serializable"):
        async with conn.transaction(isolation=level, readonly=True):
            checks.equal(await conn.fetchval("show transaction_isolation"), level.replace("_", " "), "isolation level")
            await checks.fails_async("25006", "write in a read-only transaction", _write(conn))
    await conn.close()


async def _write(conn):
    async with conn.transaction():  # a savepoint: the outer transaction goes on
        await conn.execute(f"delete from {T}")


async def concurrency():
    async with asyncpg.create_pool(min_size=CLIENTS, max_size=CLIENTS, timeout=PATIENCE, command_timeout=60) as pool:

        async def client(number):
            word = f"client {number}"
            for i in range(30):
                async with pool.acquire() as conn:  # and a reset at the end
                    async with conn.transaction():
                        await conn.execute(f"insert into {T}_conc values ($1, $2)", word, i)
                        row = await conn.fetchrow("select $1::text, $2::int4", word, i)
                        checks.equal(tuple(row), (word, i), "a row carries its client's mark")
            rows = await pool.fetch(f"select mark, n from {T}_conc where mark = $1 order by n", word)
            checks.equal([tuple(r) for r in rows], [(word, i) for i in range(30)], "each write is there once")

        await asyncio.wait_for(asyncio.gather(*(client(i) for i in range(CLIENTS))), 60)


async def cleanup():
    conn = await connect()
    await conn.execute(f"drop table {T}, {T}_copy, {T}_conc, {T}_typed; drop type {T}_mood")
    await conn.close()


asyncio.run(run_async(checks, [
    setup, values, prepared, schema_changes, introspection, caches, two_schemas, batches, copy, cancellation, cursors, timeouts, large_objects, failures,
    session_state, transactions, concurrency, cleanup,
]))
