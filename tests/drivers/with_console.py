"""The console by psycopg 3 (both protocols), asyncpg and psql.

The user is `operator` of `[console] users`, with PGPASSWORD. Directly there is no console.
"""

import asyncio
import os
import re
import subprocess

import asyncpg
import psycopg

from common import DIRECT, PATIENCE, Checks, run

checks = Checks("console")
TARGET = {"host": os.environ["PGHOST"], "port": os.environ["PGPORT"], "password": os.environ.get("PGPASSWORD", "")}


def connect(**more):
    return psycopg.connect(user="operator", dbname="pgbouncer", connect_timeout=PATIENCE, **TARGET, **more)


def tables(cursor, how):
    cursor.execute("SHOW POOLS")
    names = [column.name for column in cursor.description]
    checks.equal(names[:3], ["database", "user", "cl_active"], f"{how}: columns")
    rows = {row[0]: row for row in cursor.fetchall()}
    checks.equal((rows["pgbouncer"][1], rows["pgbouncer"][15]), ("pgbouncer", "statement"), f"{how}: text")
    checks.equal(isinstance(rows["pgbouncer"][2], int), True, f"{how}: numbers are numbers")
    cursor.execute("SHOW STATS")
    checks.equal(cursor.fetchall()[-1][0] in ("acme", "pgbouncer"), True, f"{how}: SHOW STATS")
    cursor.execute("SHOW LISTS")
    checks.equal(dict(cursor.fetchall())["free_servers"], 0, f"{how}: SHOW LISTS")


def psycopg_extended():
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        tables(cursor, "extended")
        error = checks.fails("42601", "nonsense", cursor.execute, "SELECT 1 FROM pg_class")
        checks.equal(error.diag.message_hint, "use SHOW HELP;", "the hint")
        tables(cursor, "after an error")
        cursor.execute("SHOW POOLS", prepare=True)
        cursor.execute("SHOW POOLS", prepare=True)
        checks.equal(cursor.rowcount >= 1, True, "prepared")
    with connect(autocommit=True) as connection, connection.cursor(binary=True) as cursor:
        tables(cursor, "binary")


def psycopg_simple():
    with connect(autocommit=True, cursor_factory=psycopg.ClientCursor) as connection, connection.cursor() as cursor:
        tables(cursor, "simple")
        cursor.execute("SHOW VERSION; SHOW STATE")
        checks.equal(cursor.nextset(), True, "two results")


def psycopg_transactions():
    with connect() as connection, connection.cursor() as cursor:
        tables(cursor, "with BEGIN before")
        connection.commit()
        tables(cursor, "and after COMMIT")
        connection.rollback()


def with_asyncpg():
    async def body():
        connection = await asyncpg.connect(user="operator", database="tenantry", ssl=False, **TARGET)
        rows = await connection.fetch("SHOW DATABASES")
        checks.equal([row["name"] for row in rows][-1], "pgbouncer", "asyncpg: rows")
        checks.equal(rows[0]["paused"], 0, "asyncpg: binary int4")
        row = await connection.fetchrow("SHOW STATS_TOTALS")
        checks.equal(int(row["bind_count"]) >= 0, True, "asyncpg: binary numeric")
        checks.equal(await connection.fetchval("SHOW VERSION") != "", True, "asyncpg: one row of many")
        clients = await connection.fetch("SHOW CLIENTS")
        checks.equal(any(row["user"] == "operator" for row in clients), True, "asyncpg: binary int8")
        await checks.fails_async("55000", "asyncpg: an error", connection.execute("RESUME"))
        checks.equal(await connection.execute("RECONNECT"), "RECONNECT", "asyncpg: a command")
        await connection.reset()
        await connection.close()

    asyncio.run(body())


def with_psql():
    env = {**os.environ, "PGUSER": "operator", "PGDATABASE": "pgbouncer"}

    def psql(*arguments):
        done = subprocess.run(
            ["psql", "-X", "-A", "-t", *arguments], env=env, text=True, capture_output=True, timeout=PATIENCE, check=False)
        return done.stdout, done.stderr

    out, _ = psql("-c", "SHOW POOLS")
    checks.equal(out.splitlines()[-1].split("|")[:2], ["pgbouncer", "pgbouncer"], "psql -c")
    again = "SHOW STATE \\; SHOW VERSION \\;\n" * 3
    out, err = psql("-c", again.replace("\\;", ";"))
    checks.equal((out.count("active|yes"), err), (3, ""), "psql: several in one string")
    watched = subprocess.run(
        ["timeout", "2", "psql", "-X"], input="SHOW POOLS \\watch 0.2\n", env=env, text=True, capture_output=True, check=False)
    checks.equal(watched.stdout.count("cl_active") >= 3, True, "psql: \\watch")
    _, err = psql("-c", "SHOW HELP")
    checks.equal(bool(re.search(r"NOTICE:  Console usage\nDETAIL:", err)), True, "psql: SHOW HELP")
    _, err = psql("-c", "FROB")
    checks.equal(err, "ERROR:  invalid command 'FROB'\nHINT:  use SHOW HELP;\n", "psql: an error")


run(checks, [] if DIRECT else [psycopg_extended, psycopg_simple, psycopg_transactions, with_asyncpg, with_psql])
