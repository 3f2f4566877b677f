"""Others on the same tenant and role, who take turns on its server connections while scripts run.

Each session has settings, tables or statement names that must not meet those of anybody else:
schemas with tables of one name and different columns, time zones, statements under the names that
drivers count. They never pin, hold at most two server connections at a time, and check what they
see themselves. They say when they are there, run until SIGTERM, then say how many checks held.
"""

import faulthandler
import random
import signal
import threading
import time

import psycopg
from psycopg import pq

from common import PATIENCE, Checks, fatal

checks = Checks("others")
S = "drv_others"
PAUSE = 0.01
"""Seconds between two turns of a thread: the machine is for the scripts."""
ZONES = {"Asia/Tokyo": 32400, "Asia/Kathmandu": 20700, "Pacific/Marquesas": -34200, "UTC": 0}
"""Time zones without summer time, and their seconds east of Greenwich."""
ROWS = {f"{S}_a": [(7, "a")], f"{S}_b": [("seven", 8, "b")]}
"""What `select * from same` gives by the schema that is searched first."""
NAMES = ("S_1", "S_2", "a1", "a2", "a3", "_pg3_0", "_pg3_1", "__asyncpg_stmt_1__", "same", "s0", "s1")
"""Names that drivers give their statements."""

over = threading.Event()


def connect(**options):
    """A session without a transaction around its statements."""
    return psycopg.connect(connect_timeout=PATIENCE, autocommit=True, **options)


def look(conn, schema, zone):
    """In one transaction: the session has its own settings and reads its own tables."""
    with conn.transaction():
        checks.equal(conn.execute("select * from same").fetchall(), ROWS[schema], "its own schema's table")
        checks.equal(conn.execute("show search_path").fetchone()[0].strip('"'), schema, "its own search_path")
        got = conn.execute("select extract(timezone from now())::int").fetchone()[0]
        checks.equal(got, ZONES[zone], "its own TimeZone")


def settled(schema, zone, **options):
    """Settings that are made once; statements are prepared under them, by a text that all share."""
    conn = connect(prepare_threshold=None, **options)
    if not options:
        conn.execute(f"set search_path = {schema}")
        conn.execute(f"set time zone '{zone}'")
    conn.prepare_threshold = 0
    return lambda: look(conn, schema, zone)


def restless():
    """Settings that change with each turn, and with some are taken back."""
    conn = connect(prepare_threshold=None)
    state = {"schema": f"{S}_a", "zone": "UTC"}

    def say(schema, zone):
        conn.execute(f'set search_path to "{schema}"')
        conn.execute(f"set timezone = '{zone}'")

    def turn():
        schema, zone = random.choice(list(ROWS)), random.choice(list(ZONES))
        if random.random() < 0.3:
            with conn.transaction(force_rollback=True):
                say(schema, zone)
        else:
            say(schema, zone)
            state.update(schema=schema, zone=zone)
        look(conn, **state)

    say(**state)
    return turn


def plain():
    """No settings at all: those of the server."""
    conn = connect()

    def turn():
        rows = conn.execute(
            "select name from pg_settings where setting is distinct from reset_val"
            " and name in ('search_path', 'TimeZone', 'IntervalStyle', 'DateStyle', 'client_min_messages',"
            " 'standard_conforming_strings', 'bytea_output', 'lock_timeout', 'statement_timeout', 'role')").fetchall()
        checks.equal(rows, [], "settings that nobody has made")

    return turn


def named():
    """Statements under the names that drivers give theirs."""
    conn = connect()
    for i, name in enumerate(NAMES):
        made = conn.pgconn.prepare(name.encode(), f"select 'others {name}', {i}".encode())
        checks.equal(made.status, pq.ExecStatus.COMMAND_OK, "prepare")

    def turn():
        i = random.randrange(len(NAMES))
        got = conn.pgconn.exec_prepared(NAMES[i].encode(), [])
        checks.equal(got.status, pq.ExecStatus.TUPLES_OK, "execute")
        checks.equal((got.get_value(0, 0), got.get_value(0, 1)), (f"others {NAMES[i]}".encode(), b"%d" % i), "its own text")

    return turn


def setup():
    with connect() as conn:
        conn.execute(f"drop schema if exists {S}_a, {S}_b cascade")
        conn.execute(f"create schema {S}_a; create table {S}_a.same (id int, mark text); insert into {S}_a.same values (7, 'a')")
        conn.execute(f"create schema {S}_b; create table {S}_b.same (id text, n int8, mark text);"
                     f" insert into {S}_b.same values ('seven', 8, 'b')")


def turns(makers):
    """One thread: its sessions one after the other."""
    try:
        sessions = [make() for make in makers]
        while not over.is_set():
            random.choice(sessions)()
            time.sleep(PAUSE)
    except BaseException as error:  # noqa: BLE001 - reported, then the end
        fatal(checks, error)


def main():
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    faulthandler.cancel_dump_traceback_later()  # as long as the scripts
    checks.section = "setup"
    try:
        setup()
    except BaseException as error:  # noqa: BLE001 - reported, then the end
        fatal(checks, error)
    checks.section = "turns"
    options = f"-c search_path={S}_b -c timezone=Pacific/Marquesas"
    threads = [threading.Thread(target=turns, args=(makers,), daemon=True) for makers in (
        [lambda: settled(f"{S}_a", "Asia/Tokyo"), restless, plain],
        [lambda: settled(f"{S}_b", "Asia/Kathmandu"), lambda: settled(f"{S}_b", "Pacific/Marquesas", options=options), named],
    )]
    for thread in threads:
        thread.start()
    print("others: there", flush=True)
    over.wait()
    for thread in threads:
        thread.join(PATIENCE)
    checks.equal(sum(t.is_alive() for t in threads), 0, "all turns came to their end")
    with connect() as conn:
        conn.execute(f"drop schema {S}_a, {S}_b cascade")
    checks.done()


main()
