"""psycopg 3 with its defaults (server-side prepare from the fifth execution on), and its libpq 18:
raw protocol calls, protocol 3.2 and direct TLS.

Lacks: the function call protocol, which psycopg does not offer (with_psql.py has it).
"""

import contextlib
import datetime
import hashlib
import os
import threading

import psycopg
from psycopg import pq

from common import BIG, CLIENTS, DIRECT, PATIENCE, RUNNING, TLS, Checks, Failed, mark, run, until

checks = Checks("psycopg")
T = "drv_psycopg"


def connect(**options):
    """A connection of the environment's target."""
    return psycopg.connect(connect_timeout=PATIENCE, **options)


def one(conn, sql, *args):
    """The only value of a query."""
    row = conn.execute(sql, args or None).fetchone()
    return row[0] if len(row) == 1 else row


def setup():
    with connect(autocommit=True) as conn:
        conn.execute(f"drop table if exists {T}, {T}_copy, {T}_conc")
        conn.execute(f"create table {T} (id int primary key, name text, data bytea)")
        conn.execute(f"create table {T}_copy (id int primary key, name text)")
        conn.execute(f"create table {T}_conc (mark text, n int)")


def values():
    with connect() as conn:
        checks.equal(one(conn, "select %s::int4 + 1", 41), 42, "integer")
        row = conn.execute("select null, %s::text, '', %s::int[]", (None, [1, None, 3])).fetchone()
        checks.equal(row, (None, None, "", [1, None, 3]), "NULLs and empty strings")
        blob = os.urandom(BIG)
        checks.equal(one(conn, "select %b::bytea", blob) == blob, True, "10 MB there and back, binary")
        text = "ä" * (BIG // 2)
        checks.equal(one(conn, "select %s::text", text) == text, True, "10 MB there and back, text")
        conn.execute(f"insert into {T} values (1, 'big', %s)", (blob,))
        conn.commit()
        got = one(conn, f"select md5(data) from {T} where id = 1")
        checks.equal(got, hashlib.md5(blob).hexdigest(), "10 MB stored")
        rows = conn.execute("select i, 'row ' || i from generate_series(1, 100000) i").fetchall()
        checks.equal((len(rows), rows[0], rows[-1]), (100000, (1, "row 1"), (100000, "row 100000")), "many rows")
        with conn.cursor() as cur:
            total = sum(row[0] for row in cur.stream("select generate_series(1, 50000)", size=100))
        checks.equal(total, 50000 * 50001 // 2, "rows in chunks of 100")
        cur = conn.execute("select 1; select 2 as two, 3; insert into drv_psycopg (id) values (2)")
        got = [cur.fetchall()]
        while cur.nextset():
            got.append(cur.fetchall() if cur.description else cur.statusmessage)
        checks.equal(got, [[(1,)], [(2, 3)], "INSERT 0 1"], "several statements in a string")
        conn.rollback()


def prepared():
    for _ in range(3):  # each round is a reconnect that counts its names from 0 again
        with connect() as conn, connect() as other:
            for i in range(12):
                checks.equal(one(conn, "select %s::int4 * 2", i), 2 * i, "prepared at the fifth time")
                conn.commit()
                checks.equal(one(other, "select %s::text || '!'", str(i)), f"{i}!", "same name, other text")
                if i % 3 == 0:
                    other.commit()
    with connect(autocommit=True) as conn:
        for i in range(12):
            checks.equal(one(conn, "select %s::int8 as n", i), i, "prepared, autocommit")
        checks.equal(one(conn, "select %s::int4 * 2", 21), 42, "text of earlier connections")


def raw_prepared():
    with connect(autocommit=True) as a, connect(autocommit=True) as b, connect() as busy:
        pa, pb = a.pgconn, b.pgconn
        checks.equal(pa.prepare(b"same", b"select 'a' || $1::text").status, pq.ExecStatus.COMMAND_OK, "prepare a")
        checks.equal(pb.prepare(b"same", b"select $1::int4, 'b'").status, pq.ExecStatus.COMMAND_OK, "prepare b")
        busy.execute("select 1")  # a transaction that keeps a server connection, so that the others move
        for _ in range(5):
            checks.equal(pa.exec_prepared(b"same", [b"1"]).get_value(0, 0), b"a1", "a's statement")
            got = pb.exec_prepared(b"same", [b"1"])
            checks.equal((got.get_value(0, 0), got.get_value(0, 1)), (b"1", b"b"), "b's statement")
        checks.equal((pa.describe_prepared(b"same").nparams, pa.describe_prepared(b"same").nfields), (1, 1), "describe a")
        checks.equal(pb.describe_prepared(b"same").nfields, 2, "describe b")
        again = pa.prepare(b"same", b"select 2")
        checks.equal(again.error_field(pq.DiagnosticField.SQLSTATE), b"42P05", "a name cannot be prepared twice")
        checks.equal(pa.exec_prepared(b"same", [b"2"]).get_value(0, 0), b"a2", "the first text stays")
        state = pa.exec_prepared(b"missing", []).error_field(pq.DiagnosticField.SQLSTATE)
        checks.equal(state, b"26000", "execute of a missing statement")
        state = pb.describe_prepared(b"missing").error_field(pq.DiagnosticField.SQLSTATE)
        checks.equal(state, b"26000", "describe of a missing statement")
        state = pa.prepare(b"wrong", b"selec 1").error_field(pq.DiagnosticField.SQLSTATE)
        checks.equal(state, b"42601", "prepare of a syntax error")
        state = pa.exec_prepared(b"wrong", []).error_field(pq.DiagnosticField.SQLSTATE)
        checks.equal(state, b"26000", "a Parse that failed leaves no name")
        checks.equal(pa.prepare(b"wrong", b"select 7").status, pq.ExecStatus.COMMAND_OK, "the name is free")
        checks.equal(pa.exec_prepared(b"wrong", []).get_value(0, 0), b"7", "and holds what was prepared")
        checks.equal(pa.close_prepared(b"same").status, pq.ExecStatus.COMMAND_OK, "close")
        checks.equal(pa.exec_prepared(b"same", [b"1"]).error_field(pq.DiagnosticField.SQLSTATE), b"26000", "closed")
        checks.equal(pb.exec_prepared(b"same", [b"9"]).get_value(0, 0), b"9", "b still has its own")
        a.execute("deallocate all")
        checks.equal(pa.exec_prepared(b"wrong", []).error_field(pq.DiagnosticField.SQLSTATE), b"26000", "deallocated")
        checks.equal(pa.prepare(b"wrong", b"select 8").status, pq.ExecStatus.COMMAND_OK, "prepared after all")


def thresholds():
    """psycopg's own cache: at once, never, small enough to evict; and DEALLOCATE as older ones send it."""
    for threshold, kept in ((0, 12), (None, 0), (5, 0)):
        with connect(prepare_threshold=threshold) as conn:
            for i in range(12):
                checks.equal(one(conn, f"select %s::int4 * {i}", i), i * i, f"threshold {threshold}")
                conn.commit()
            checks.equal(len(conn._prepared._names), kept, f"statements after one execution each, threshold {threshold}")
    for make in (lambda conn: contextlib.nullcontext(), lambda conn: conn.pipeline()):
        with connect(prepare_threshold=0) as small, connect(prepare_threshold=0) as other:
            small.prepared_max = other.prepared_max = 3
            for i in range(40):
                with make(small), make(other):
                    got = [c.execute(f"select %s::int4 + {word} + {i % 7}", (i,)) for c, word in ((small, 1000), (other, 2000))]
                    checks.equal([c.fetchone()[0] for c in got], [1000 + i + i % 7, 2000 + i + i % 7], "seven texts, three kept")
                if i % 3 == 0:
                    small.commit()  # the other one stays in its transaction
            checks.equal((len(small._prepared._names), len(other._prepared._names)), (3, 3), "evicted")
            other.rollback()  # after which psycopg forgets and deallocates all
            checks.equal(one(other, "select %s::int4", 5), 5, "after DEALLOCATE ALL")
    with connect(autocommit=True) as conn, connect() as busy:
        busy.execute("select 1")
        for i in range(10):
            name = f"a{i % 2}".encode()
            checks.equal(conn.pgconn.prepare(name, f"select 'text {i}', $1::int".encode()).status, pq.ExecStatus.COMMAND_OK, "prepare")
            checks.equal(conn.pgconn.exec_prepared(name, [b"1"]).get_value(0, 0), f"text {i}".encode(), "a name used again")
            conn.execute(f"deallocate {name.decode()}" if i % 3 else f'DEALLOCATE PREPARE "{name.decode()}"')
            gone = conn.pgconn.exec_prepared(name, [b"1"])
            checks.equal(gone.error_field(pq.DiagnosticField.SQLSTATE), b"26000", "deallocated by SQL")
        checks.fails("26000", "DEALLOCATE of what is not there", conn.execute, "deallocate a0")


def two_schemas():
    """Tables of one name, columns of other types, one text: search_path decides, as it is when it is parsed."""
    with connect(autocommit=True) as conn:
        conn.execute(f"""
            drop schema if exists {T}_x, {T}_y cascade;
            create schema {T}_x; create table {T}_x.same (v int8, w text); insert into {T}_x.same values (7, 'x');
            create schema {T}_y; create table {T}_y.same (v text, w date); insert into {T}_y.same values ('y', '2024-02-29')""")
    want = {"x": (7, "x"), "y": ("y", datetime.date(2024, 2, 29))}
    with connect(autocommit=True, prepare_threshold=None) as conn:
        for i in range(20):
            schema = "xy"[i % 2]
            conn.execute(f"set search_path to {T}_{schema}")
            with conn.transaction():
                got = conn.execute("select * from same", binary=bool(i % 3)).fetchone()
                checks.equal(got, want[schema], "unprepared")
                found = conn.execute("select count(*) from same where v = %s", (want[schema][0],)).fetchone()
                checks.equal(found, (1,), "with a parameter of the column's type")
    with connect(options=f"-c search_path={T}_x", prepare_threshold=0) as x, \
            connect(options=f"-c search_path={T}_y", prepare_threshold=0) as y:
        for _ in range(15):
            for conn, schema in ((x, "x"), (y, "y")):
                checks.equal(conn.execute("select * from same", binary=True).fetchone(), want[schema], "prepared")
                checks.equal(one(conn, "select count(*) from same where v = %s", want[schema][0]), 1, "with a parameter")
                conn.commit()
    with connect(autocommit=True, prepare_threshold=0) as conn:
        conn.execute(f"set search_path to {T}_x")
        checks.equal(conn.execute("select * from same").fetchone(), want["x"], "prepared in one schema")
        conn.execute(f"set search_path to {T}_y")
        checks.fails("0A000", "executed in the other", conn.execute, "select * from same")
        conn.execute(f"set search_path to {T}_x")
        checks.equal(conn.execute("select * from same").fetchone(), want["x"], "and again in the first")
        conn.execute("deallocate all")
        conn.execute(f"set search_path to {T}_y")
        conn.prepare_threshold = None
        checks.equal(conn.execute("select * from same").fetchone(), want["y"], "prepared anew")
        conn.execute(f"drop schema {T}_x, {T}_y cascade")


def read_under_settings():
    """What parsing reads is what is set at that moment: also in one transaction, and where the session is pinned."""
    text = b"select extract(epoch from timestamptz '2024-01-01 12:00')::int"
    noon = {"UTC": 1704110400, "Asia/Tokyo": 1704078000, "Asia/Kathmandu": 1704089700}
    for first in ("select 1", "listen drv_psycopg_other", "create temp table drv_temp (n int)"):
        for around, set_it in (("", "set"), ("begin; {}; commit", "set"), ("begin; {}; commit", "set local"), ("begin", "set local")):
            with connect(autocommit=True) as conn:
                conn.execute(first)
                if around == "begin":
                    conn.execute("begin")
                for zone, want in noon.items():
                    begins, _, ends = around.partition("{}") if "{}" in around else ("", "", "")
                    for sql in (*begins.split(";"), f"{set_it} timezone = '{zone}'"):
                        conn.execute(sql)
                    name = zone.encode()
                    checks.equal(conn.pgconn.prepare(name, text).status, pq.ExecStatus.COMMAND_OK, "prepare")
                    got = int(conn.pgconn.exec_prepared(name, []).get_value(0, 0))
                    checks.equal(got, want, f"noon in {zone}, by {set_it!r} after {first!r}, {around!r}")
                    for sql in ends.split(";"):
                        conn.execute(sql)


def pipelines():
    with connect(autocommit=True) as conn:
        with conn.pipeline() as pipe:
            cursors = [conn.execute("select %s::int4", (i,)) for i in range(200)]
            pipe.sync()
            cursors += [conn.execute("select %s::int4", (i,)) for i in range(200, 300)]
            checks.equal([c.fetchone()[0] for c in cursors], list(range(300)), "300 queries in a pipeline")

        def violate():
            with conn.pipeline():
                conn.execute(f"insert into {T} (id) values (10)")
                conn.execute(f"insert into {T} (id) values (10)")
                conn.execute(f"insert into {T} (id) values (11)")

        checks.fails("23505", "unique violation in the middle of a pipeline", violate)
        checks.equal(one(conn, f"select count(*) from {T} where id in (10, 11)"), 0, "the batch is undone")
        with conn.pipeline() as pipe:
            conn.execute(f"insert into {T} (id) values (12)")
            pipe.sync()
            bad = conn.execute(f"insert into {T} (id) values (12)")
            checks.fails("23505", "violation behind a sync", bad.fetchone)
            pipe.sync()
            checks.equal(conn.execute("select 'alive'").fetchone(), ("alive",), "the pipeline goes on after its sync")
        checks.equal(one(conn, f"select count(*) from {T} where id = 12"), 1, "what was synced stays")
        with conn.pipeline(), conn.transaction():
            for i in range(20, 30):
                conn.execute(f"insert into {T} (id) values (%s)", (i,))
        checks.equal(one(conn, f"select count(*) from {T} where id between 20 and 29"), 10, "transaction in a pipeline")
        with conn.cursor() as cur:
            cur.executemany(f"insert into {T} (id, name) values (%s, %s)", [(i, str(i)) for i in range(100, 400)])
            checks.equal(cur.rowcount, 300, "executemany is a pipeline")


def copy():
    with connect() as conn:
        with conn.cursor().copy(f"copy {T}_copy from stdin") as copy_in:
            for i in range(50000):
                copy_in.write_row((i, None if i % 7 == 0 else f"name {i}"))
        conn.commit()
        got = one(conn, f"select count(*), count(name), sum(id) from {T}_copy")
        checks.equal(got, (50000, 42857, 1249975000), "COPY in")
        with conn.cursor().copy(f"copy (select * from {T}_copy order by id) to stdout") as copy_out:
            copy_out.set_types(["int4", "text"])
            rows = list(copy_out.rows())
        checks.equal((len(rows), rows[7], rows[-1]), (50000, (7, None), (49999, "name 49999")), "COPY out")

        def bad_data():
            with conn.cursor().copy(f"copy {T}_copy from stdin") as copy_in:
                for i in range(60000, 70000):
                    copy_in.write(f"{i}\tfine\n")
                copy_in.write("not a number\tx\n")

        checks.fails("22P02", "COPY in of a bad row", bad_data)
        conn.rollback()

        def abort_in():
            with conn.cursor().copy(f"copy {T}_copy from stdin") as copy_in:
                copy_in.write("70000\tx\n")
                raise KeyError("the client's own trouble")

        def abort_out():
            with conn.cursor().copy("copy (select generate_series(1, 1000000000)) to stdout") as copy_out:
                checks.true(copy_out.read(), "the first rows of a COPY out")
                raise KeyError("the client has seen enough")

        for abort in (abort_in, abort_out):  # out is a cancel in the midst of a flood of rows
            try:
                abort()
                raise Failed("an aborted COPY succeeded")
            except KeyError:
                conn.rollback()
        checks.equal(one(conn, f"select max(id) from {T}_copy"), 49999, "nothing of the failed COPYs")
        checks.equal(one(conn, "select 'usable'"), "usable", "after aborted COPYs")


def running(conn, word):
    """Whether a statement with this mark runs."""
    return one(conn, RUNNING, f"%{word}%") == 1


def cancellation():
    with connect(autocommit=True) as victim, connect(autocommit=True) as other, connect(autocommit=True) as eye:
        for send in (lambda: victim.cancel_safe(timeout=PATIENCE), victim.cancel):
            word, failed = mark(), []

            def sleep(conn, seconds, text=word, sink=failed):
                try:
                    sink.append(one(conn, f"select 'slept' from pg_sleep({seconds}) /* {text} */"))
                except psycopg.Error as error:
                    sink.append(error)

            slept = []
            bystander = threading.Thread(target=sleep, args=(other, 2, "bystander", slept), daemon=True)
            thread = threading.Thread(target=sleep, args=(victim, 90), daemon=True)
            bystander.start()
            thread.start()
            until(lambda text=word: running(eye, text), "the sleep runs")
            send()
            thread.join(PATIENCE)
            checks.sqlstate(failed[0] if failed else None, "57014", "the cancelled sleep")
            checks.equal(one(victim, "select 5"), 5, "usable after a cancel")
            bystander.join(PATIENCE)
            checks.equal(slept, ["slept"], "another session is not cancelled")
        victim.cancel_safe(timeout=PATIENCE)
        checks.equal(one(other, "select 6"), 6, "a cancel of an idle session hits nobody")


def cursors():
    with connect() as conn:
        with conn.cursor("drv_cur", scrollable=True) as cur:
            cur.execute("select generate_series(1, 1000)")
            checks.equal(cur.fetchmany(10), [(i,) for i in range(1, 11)], "first ten of a cursor")
            checks.equal(one(conn, "select 'between'"), "between", "a query beside a cursor")
            cur.scroll(990, "absolute")
            checks.equal(len(cur.fetchall()), 10, "rest of a cursor")
        conn.commit()
        with conn.cursor("drv_hold", withhold=True) as cur:
            cur.execute("select generate_series(1, 100)")
            conn.commit()
            checks.equal(len(cur.fetchall()), 100, "a cursor WITH HOLD outlives its transaction")
        conn.commit()
        checks.fails("34000", "fetch from a missing cursor", conn.execute, "fetch 1 from drv_none")


def timeouts():
    with connect(options="-c statement_timeout=300", autocommit=True) as conn:
        checks.equal(one(conn, "show statement_timeout"), "300ms", "statement_timeout in the options")
        checks.fails("57014", "statement_timeout of the options", conn.execute, "select pg_sleep(60)")
        checks.equal(one(conn, "select 1"), 1, "usable after a timeout")
    with connect() as conn, connect() as holder:
        conn.execute("set local statement_timeout = '200ms'")
        checks.fails("57014", "SET LOCAL statement_timeout", conn.execute, "select pg_sleep(60)")
        conn.rollback()
        checks.equal(one(conn, "show statement_timeout"), "0", "SET LOCAL ended with its transaction")
        conn.rollback()
        holder.execute(f"lock table {T}_conc in access exclusive mode")
        conn.execute("set local lock_timeout = '200ms'")
        checks.fails("55P03", "lock_timeout", conn.execute, f"select * from {T}_conc")
        conn.rollback()
        checks.fails("55P03", "NOWAIT", conn.execute, f"lock table {T}_conc in share mode nowait")


def large_objects():
    with connect() as conn:
        data = os.urandom(300000)
        oid = one(conn, "select lo_from_bytea(0, %s)", data)
        conn.commit()
        fd = one(conn, "select lo_open(%s, 393216)", oid)
        checks.equal(one(conn, "select lo_lseek(%s, 100000, 0)", fd), 100000, "seek in a large object")
        checks.equal(one(conn, "select loread(%s, 1000)", fd), data[100000:101000], "read from a large object")
        checks.equal(one(conn, "select lowrite(%s, 'end'::bytea)", fd), 3, "write into a large object")
        conn.commit()
        checks.equal(one(conn, "select lo_get(%s, 101000, 3)", oid), b"end", "what was written")
        checks.equal(one(conn, "select lo_unlink(%s)", oid), 1, "unlink")
        conn.commit()
        checks.fails("42704", "a large object that is gone", one, conn, "select lo_get(%s)", oid)


def failures():
    with connect() as conn:
        error = checks.fails("42601", "syntax error", conn.execute, "selec 1")
        checks.equal(error.diag.statement_position, "1", "position of a syntax error")
        checks.fails("25P02", "in a failed transaction", conn.execute, "select 1")
        conn.rollback()
        conn.execute(f"insert into {T} (id) values (50)")
        error = checks.fails("23505", "unique violation", conn.execute, f"insert into {T} (id) values (50)")
        checks.equal((error.diag.constraint_name, error.diag.table_name), (f"{T}_pkey", T), "fields of the error")
        conn.rollback()
        checks.equal(one(conn, f"select count(*) from {T} where id = 50"), 0, "rolled back")
        checks.fails("22012", "error while rows flow", one, conn, "select 1 / (5000 - i) from generate_series(1, 9000) i")
        conn.rollback()
        for _ in range(8):  # past the prepare threshold
            checks.fails("22012", "division by zero, prepared", one, conn, "select 1 / %s::int4", 0)
            conn.rollback()
        checks.equal(one(conn, "select 1 / %s::int4", 1), 1, "the same text without an error")
        checks.fails("42601", "error in a string of statements", conn.execute, "select 1; selec 2; select 3")


def notices():
    with connect(autocommit=True) as conn:
        seen = []
        conn.add_notice_handler(lambda d: seen.append((d.severity_nonlocalized, d.sqlstate, d.message_primary)))
        conn.execute("do $$ begin raise notice 'one %', 1; raise warning 'two'; end $$")
        checks.equal(seen, [("NOTICE", "00000", "one 1"), ("WARNING", "01000", "two")], "notices")


def session_state():
    with connect(autocommit=True) as ear, connect(autocommit=True) as mouth:
        ear.execute("listen drv_psycopg_channel")
        mouth.execute("notify drv_psycopg_channel, 'hello'")
        mouth.execute("select pg_notify('drv_psycopg_channel', 'again')")
        got = [n.payload for n in ear.notifies(timeout=PATIENCE, stop_after=2)]
        checks.equal(got, ["hello", "again"], "LISTEN and NOTIFY")
    with connect() as conn:
        conn.execute("create temp table drv_temp (n int)")
        conn.commit()
        conn.execute("insert into drv_temp values (1), (2)")
        conn.commit()
        checks.equal(one(conn, "select sum(n) from drv_temp"), 3, "a temporary table over transactions")
    with connect() as conn, connect() as other:
        checks.fails("42P01", "temporary tables are gone with their session", conn.execute, "select * from drv_temp")
        conn.rollback()
        conn.execute("set search_path = pg_catalog")
        conn.execute("set timezone = 'Asia/Tokyo'")
        conn.commit()
        checks.equal(one(other, "show search_path"), '"$user", public', "SET does not reach others")
        checks.equal(one(conn, "show search_path"), "pg_catalog", "SET stays")
        checks.equal(conn.info.parameter_status("TimeZone"), "Asia/Tokyo", "ParameterStatus of a SET")
        conn.rollback()
        conn.execute("set search_path = information_schema")
        conn.rollback()
        checks.equal(one(conn, "show search_path"), "pg_catalog", "a SET that was rolled back")
        conn.execute("reset search_path")
        checks.equal(one(conn, "show search_path"), '"$user", public', "RESET")


def transactions():
    with connect() as conn:
        with conn.transaction():
            conn.execute(f"insert into {T} (id) values (60)")

            def inner():
                with conn.transaction():
                    conn.execute(f"insert into {T} (id) values (61)")
                    conn.execute(f"insert into {T} (id) values (60)")

            checks.fails("23505", "violation in a savepoint", inner)
            with conn.transaction():
                conn.execute(f"insert into {T} (id) values (62)")
        got = conn.execute(f"select id from {T} where id between 60 and 69 order by 1").fetchall()
        checks.equal(got, [(60,), (62,)], "savepoints")
        conn.commit()
        for level in psycopg.IsolationLevel:
            conn.isolation_level = level
            name = level.name.replace("_", " ").lower()
            checks.equal(one(conn, "show transaction_isolation"), name, "isolation level")
            conn.rollback()
        conn.isolation_level = None
        conn.read_only = True
        checks.fails("25006", "write in a read-only transaction", conn.execute, f"delete from {T}")
        conn.rollback()
    with connect() as a, connect() as b:
        for conn in (a, b):
            conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            conn.execute(f"select count(*) from {T}_conc")
        a.execute(f"insert into {T}_conc values ('serial', 1)")
        b.execute(f"insert into {T}_conc values ('serial', 2)")
        a.commit()
        checks.fails("40001", "write skew is refused", b.commit)


def concurrency():
    ready, failed = threading.Barrier(CLIENTS, timeout=60), []

    def client(number):
        try:
            word = f"client {number}"
            with connect() as conn:
                ready.wait()
                for i in range(30):
                    conn.execute(f"insert into {T}_conc values (%s, %s)", (word, i))
                    got = conn.execute("select %s::text, %s::int4", (word, i)).fetchone()
                    checks.equal(got, (word, i), "a row carries its client's mark")
                    conn.commit()
                rows = conn.execute(f"select mark, n from {T}_conc where mark = %s order by n", (word,)).fetchall()
                checks.equal(rows, [(word, i) for i in range(30)], "each write is there once")
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            failed.append(error)

    threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failed:
        raise failed[0]
    checks.equal(sum(t.is_alive() for t in threads), 0, "all clients came to their end")


def protocol_versions():
    want = 30000 if DIRECT else 30002  # PostgreSQL 15 negotiates down to 3.0
    with connect(max_protocol_version="latest", autocommit=True) as conn, connect(autocommit=True) as eye:
        checks.equal(conn.pgconn.full_protocol_version, want, "the latest protocol version")
        checks.equal(one(conn, "select 32"), 32, "a query")
        word, failed = mark(), []

        def sleep():
            try:
                conn.execute(f"select pg_sleep(90) /* {word} */")
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=sleep, daemon=True)
        thread.start()
        until(lambda: running(eye, word), "the sleep runs")
        conn.cancel_safe(timeout=PATIENCE)
        thread.join(PATIENCE)
        checks.sqlstate(failed[0] if failed else None, "57014", "cancel with a long key")
    if not DIRECT:
        with connect(min_protocol_version="3.2", max_protocol_version="3.2") as conn:
            checks.equal(conn.pgconn.full_protocol_version, 30002, "protocol 3.2 and nothing below")
            checks.equal(one(conn, "select 1"), 1, "a query")


def direct_tls():
    if DIRECT or not TLS:  # PostgreSQL 15 does not know direct TLS
        return
    modes = ["require"] + (["verify-full"] if os.environ.get("PGSSLROOTCERT") else [])
    for mode in modes:
        with connect(sslnegotiation="direct", sslmode=mode) as conn:
            checks.true(conn.pgconn.ssl_in_use, "direct TLS")
            checks.equal(one(conn, "select 1"), 1, "a query over direct TLS")


def cleanup():
    with connect(autocommit=True) as conn:
        conn.execute(f"drop table {T}, {T}_copy, {T}_conc")


run(checks, [
    setup, values, prepared, raw_prepared, thresholds, two_schemas, read_under_settings, pipelines, copy, cancellation, cursors, timeouts, large_objects,
    failures, notices, session_state, transactions, concurrency, protocol_versions, direct_tls, cleanup,
])
