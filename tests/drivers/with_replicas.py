"""Drivers in front of a primary and two replicas (PRIMARY_PORT; the proxy balances in turn): each of
psql, pgbench, psycopg, asyncpg and node-postgres, in its own way of saying READ ONLY, in the simple
and the extended protocol. Read-only transactions are spread evenly over both replicas, all others
are at the primary.
"""

import asyncio
import json
import os
import subprocess
import tempfile
from collections import Counter

import asyncpg
import psycopg

from common import Checks, run

checks = Checks("replicas")
T = "drv_replicas"
PRIMARY = int(os.environ["PRIMARY_PORT"])
TIMES = 100
WHERE = "select inet_server_port()"


def spread(ports, what):
    """They are those of two replicas, each as often as the other but for 5 %."""
    counts = Counter(ports)
    checks.equal(sum(counts.values()), TIMES, f"{what}: transactions")
    checks.true(PRIMARY not in counts, f"{what}: none at the primary: {counts}")
    checks.equal(len(counts), 2, f"{what}: both replicas: {counts}")
    checks.true(max(counts.values()) - min(counts.values()) <= 0.05 * TIMES, f"{what}: evenly: {counts}")


def written(ports, what):
    """All of them are the primary's."""
    checks.equal(set(ports), {PRIMARY}, f"{what}: writes are at the primary")


def connect(**options):
    return psycopg.connect("", connect_timeout=20, **options)


def setup():
    with connect(autocommit=True) as conn:
        conn.execute(f"drop table if exists {T}; create table {T} (what text, port int)")


def with_psycopg():
    for what, options in {"simple": {}, "extended": {"binary": True}}.items():
        with connect(prepare_threshold=None) as conn:
            conn.read_only = True
            ports = []
            for _ in range(TIMES):
                ports += conn.execute(WHERE, **options).fetchone()
                conn.commit()
            spread(ports, f"psycopg {what}")
            conn.read_only = False
            ports = []
            for _ in range(20):
                ports += conn.execute(f"insert into {T} values ('psycopg', 1) returning inet_server_port()", **options).fetchone()
                conn.commit()
            written(ports, f"psycopg {what}")
    with connect(prepare_threshold=0) as conn:
        conn.read_only = True
        ports = []
        for _ in range(TIMES):
            ports += conn.execute(WHERE + " where %s = 1", (1,)).fetchone()
            conn.commit()
        spread(ports, "psycopg prepared")


def with_asyncpg():
    async def both():
        conn = await asyncpg.connect(timeout=20)
        reads, writes = [], []
        for _ in range(TIMES):
            async with conn.transaction(readonly=True):
                reads.append(await conn.fetchval(WHERE))
        for _ in range(20):
            async with conn.transaction():
                writes.append(await conn.fetchval(f"insert into {T} values ('asyncpg', $1) returning inet_server_port()", 1))
        await conn.close()
        return reads, writes

    reads, writes = asyncio.run(both())
    spread(reads, "asyncpg")
    written(writes, "asyncpg")


def with_psql():
    def ports(script):
        done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1"], input=script, text=True, check=True, capture_output=True)
        return [int(line) for line in done.stdout.split()]

    spread(ports(f"begin read only;\n{WHERE};\ncommit;\n" * TIMES), "psql")
    spread(ports(f"begin;\nset transaction read only;\n{WHERE};\nend;\n" * TIMES), "psql, SET TRANSACTION")
    written(ports(f"begin;\n{WHERE};\ncommit;\n{WHERE};\n" * 10), "psql")


def with_pgbench():
    for mode in ("simple", "extended", "prepared"):
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(f"BEGIN READ ONLY;\n{WHERE} AS port \\gset\nCOMMIT;\n"
                         f"INSERT INTO {T} VALUES ('{mode}', :port);\n"
                         f"INSERT INTO {T} VALUES ('{mode} writes', inet_server_port());\n")
            script.flush()
            subprocess.run(["pgbench", "-n", "-M", mode, "-c", "4", "-t", str(TIMES // 4), "-f", script.name],
                           check=True, capture_output=True, text=True)
        with connect(autocommit=True) as conn:
            found = conn.execute(f"select what, port from {T} where what like %s", (mode + "%",)).fetchall()
        spread([port for what, port in found if what == mode], f"pgbench {mode}")
        written([port for what, port in found if what != mode], f"pgbench {mode}")


def with_node_postgres():
    done = subprocess.run(["node", "replicas.mjs", str(TIMES), T], check=True, capture_output=True, text=True)
    for what, ports in json.loads(done.stdout).items():
        (written if what.endswith("writes") else spread)(ports, f"node-postgres {what}")


def cleanup():
    with connect(autocommit=True) as conn:
        conn.execute(f"drop table {T}")


run(checks, [setup, with_psycopg, with_asyncpg, with_psql, with_pgbench, with_node_postgres, cleanup])
