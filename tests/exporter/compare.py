"""The console of Tenantry beside that of the PgBouncer on PATH, under the same small load.

Every table that PgBouncer's SHOW HELP names: each of its columns is there, with the same type, and
what can be compared has the same value. Every command: accepted or refused alike, with the same tag.
Debian's prometheus-pgbouncer-exporter, unmodified, gets each of its metrics from Tenantry.

SERVER_PORT: a PostgreSQL with database `acme` and role `app`; TENANTRY_PORT: a proxy in front of it
with the tenant `acme` and the console's user `admin`. All passwords are `secret`.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import psycopg2
from prometheus_pgbouncer_exporter import collectors

SECRET = "secret"
PATIENCE = 20
ROOT = os.geteuid() == 0

RENAMED = {}
"""(table, column of this PgBouncer) -> its name in 1.25, where the old one is not there any more."""

failures = []
checks = 0


def check(holds, what):
    """Takes note of a check; all are made before the verdict."""
    global checks
    checks += 1
    if not holds:
        failures.append(what)
        print("FAILED", what, flush=True)


def free_port():
    """A TCP port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(condition, what):
    """Waits for `condition()`, which may raise until then."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (OSError, psycopg2.OperationalError):
            pass
        if time.monotonic() > deadline:
            sys.exit(f"exporter: {what}: not within {PATIENCE} s")
        time.sleep(0.05)


class Side:
    """One of the two poolers."""

    def __init__(self, name, port):
        self.name, self.port = name, port
        self.console = self.connect("pgbouncer", "admin")

    def connect(self, database, user):
        """A connection without transactions around statements."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=user, password=SECRET, sslmode="disable")
        connection.autocommit = True
        return connection

    def show(self, table):
        """The columns with their types, and the rows."""
        with self.console.cursor() as cursor:
            cursor.execute(f"SHOW {table};")
            columns = {c.name: c.type_code for c in cursor.description}
            return columns, [dict(zip(columns, row)) for row in cursor.fetchall()]

    def row(self, table, **wanted):
        """The only row with these values."""
        rows = [r for r in self.show(table)[1] if all(r[k] == v for k, v in wanted.items())]
        if len(rows) != 1:
            sys.exit(f"exporter: {self.name}: {len(rows)} rows of SHOW {table} with {wanted}")
        return rows[0]

    def command(self, sql):
        """Its tag, or None where it is refused."""
        with self.console.cursor() as cursor:
            try:
                cursor.execute(sql)
            except psycopg2.Error:
                return None
            return cursor.statusmessage

    def tables(self):
        """What SHOW HELP names behind SHOW."""
        self.console.notices.clear()
        self.command("SHOW HELP")
        text = "".join(self.console.notices)
        names = re.findall(r"SHOW ([A-Z_|]+)", text)
        return {name for group in names for name in group.split("|")}


class PgBouncer:
    """The PgBouncer on PATH, for as long as the block lasts."""

    def __init__(self, server_port):
        self.dir, self.port = tempfile.mkdtemp(), free_port()
        with open(f"{self.dir}/users.txt", "w", encoding="utf-8") as file:
            file.write(f'"admin" "{SECRET}"\n"app" "{SECRET}"\n')
        with open(f"{self.dir}/pgbouncer.ini", "w", encoding="utf-8") as file:
            file.write(f"""
[databases]
acme = host=127.0.0.1 port={server_port} dbname=acme user=app password={SECRET}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {self.dir}/users.txt
admin_users = admin
pool_mode = transaction
logfile = {self.dir}/log
""")
        if ROOT:
            user = pwd.getpwnam("postgres")
            for path in (self.dir, f"{self.dir}/users.txt", f"{self.dir}/pgbouncer.ini"):
                os.chown(path, user.pw_uid, user.pw_gid)
        path = os.environ["PATH"] + ":/usr/sbin"
        program = shutil.which("pgbouncer", path=path) or sys.exit("exporter: pgbouncer is missing")
        as_user = {"user": "postgres"} if ROOT else {}
        self.process = subprocess.Popen(
            [program, "-q", f"{self.dir}/pgbouncer.ini"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user)

    def __enter__(self):
        until(lambda: socket.create_connection(("127.0.0.1", self.port)).close() is None, "pgbouncer listens")
        return Side("pgbouncer", self.port)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def load(side):
    """Eight transactions of twelve statements, but for the last COMMIT; two clients stay."""
    idle, busy = side.connect("acme", "app"), side.connect("acme", "app")
    with idle.cursor() as cursor:
        for _ in range(5):
            cursor.execute("select 1")
        cursor.execute("begin")
        cursor.execute("select 2")
        cursor.execute("commit")
    with busy.cursor() as cursor:
        cursor.execute("select 3")
        cursor.execute("begin")
        cursor.execute("select 4")
    return idle, busy


def compare_tables(theirs, ours):
    """Columns and types of every table."""
    named = theirs.tables() - {"HELP", "FDS"}
    check(len(named) >= 15, f"SHOW HELP names tables: {sorted(named)}")
    check(named <= ours.tables() | {"DNS_ZONES", "PEER_POOLS"}, "our SHOW HELP names them, too")
    for table in sorted(named):
        wanted, _ = theirs.show(table)
        found, _ = ours.show(table)
        for column, kind in wanted.items():
            name = RENAMED.get((table, column), column)
            check(name in found, f"SHOW {table} has {name}")
            check(found.get(name) == kind, f"SHOW {table}, {name}: type {kind}, not {found.get(name)}")


SAME = {
    "POOLS": ({"database": "acme"}, None),
    "DATABASES": ({"name": "acme"}, [
        "host", "port", "database", "force_user", "pool_size", "min_pool_size", "reserve_pool", "max_connections",
        "current_connections", "paused", "disabled"]),
}
"""Tables with a row that must be the same, and of which columns; None: all."""


def compare_counts(theirs, ours):
    """What has happened when all transactions have ended: PgBouncer counts one when it begins."""
    wanted, found = theirs.row("STATS_TOTALS", database="acme"), ours.row("STATS_TOTALS", database="acme")
    for column, count in (("xact_count", 8), ("query_count", 12)):
        check(wanted[column] == count, f"SHOW STATS_TOTALS of PgBouncer, {column}: {count}, not {wanted[column]}")
        check(found[column] == count, f"SHOW STATS_TOTALS, {column}: {count}, not {found[column]}")


def compare_values(theirs, ours):
    """What the load has left behind."""
    for table, (where, columns) in SAME.items():
        wanted, found = theirs.row(table, **where), ours.row(table, **where)
        for column in columns or wanted:
            check(found[column] == wanted[column], f"SHOW {table}, {column}: {wanted[column]}, not {found[column]}")
    for table in ("CLIENTS", "SERVERS"):
        for column in ("type", "database", "user", "addr", "local_addr", "wait", "close_needed", "tls"):
            values = [sorted(str(r[column]) for r in side.show(table)[1]) for side in (theirs, ours)]
            check(values[0] == values[1], f"SHOW {table}, {column}: {values[0]}, not {values[1]}")
        links = [sum(1 for r in side.show(table)[1] if r["link"]) for side in (theirs, ours)]
        check(links[0] == links[1], f"SHOW {table}: {links[0]} are linked, not {links[1]}")
    states = [sorted(r["state"] for r in side.show("SERVERS")[1]) for side in (theirs, ours)]
    check(states[0] == states[1], f"SHOW SERVERS: states {states[0]}, not {states[1]}")
    lists = [{r["list"]: r["items"] for r in side.show("LISTS")[1]} for side in (theirs, ours)]
    check(lists[0].keys() <= lists[1].keys(), f"SHOW LISTS has {sorted(lists[0])}")
    for name in ("databases", "pools", "used_clients", "login_clients", "used_servers"):
        check(lists[0][name] == lists[1][name], f"SHOW LISTS, {name}: {lists[0][name]}, not {lists[1][name]}")
    totals = [[r["name"] for r in side.show("TOTALS")[1]] for side in (theirs, ours)]
    check(set(totals[0]) <= set(totals[1]), f"SHOW TOTALS has {totals[0]}")
    time_of = ours.show("CLIENTS")[1][0]["connect_time"]
    check(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", time_of), f"connect_time is {time_of}")


COMMANDS = [
    "PAUSE", "PAUSE", "RESUME", "RESUME", "PAUSE acme", "PAUSE acme", "RESUME acme", "RESUME acme", "PAUSE nosuch",
    "RESUME nosuch", "PAUSE pgbouncer", "RECONNECT", "RECONNECT acme", "WAIT_CLOSE", "WAIT_CLOSE acme", "DISABLE acme",
    "ENABLE acme", "DISABLE", "ENABLE", "DISABLE nosuch", "KILL acme", "RESUME acme", "KILL nosuch", "SUSPEND", "RESUME",
    "pause \"acme\";", "resume acme;", "NONSENSE", "SHOW NONSENSE", "SET nosuch = 1", "SET client_encoding = 'UTF8'",
    "SHOW timezone", "RELOAD now", "RELOAD", "SHUTDOWN WAIT_FOR_SERVERS now",
]


def compare_commands(theirs, ours):
    """Accepted or refused alike, and with which tag."""
    for sql in COMMANDS:
        wanted, found = theirs.command(sql), ours.command(sql)
        check(found == wanted, f"{sql}: {wanted}, not {found}")


def scrape(port):
    """The metrics that the exporter has of that pooler, or the error that it answers."""
    http = free_port()
    exporter = subprocess.Popen(
        ["prometheus-pgbouncer-exporter", "--host", "127.0.0.1", "--port", str(http), "--pgbouncer-host", "127.0.0.1",
         "--pgbouncer-port", str(port), "--pgbouncer-user", "admin"],
        env={**os.environ, "PGPASSWORD": SECRET, "PGSSLMODE": "disable"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: socket.create_connection(("127.0.0.1", http)).close() is None, "the exporter listens")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=PATIENCE) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError) as error:
            return f"# {error}"
    finally:
        exporter.kill()
        exporter.wait()


def exporter_metrics(ours):
    """Each metric that the exporter knows, for the tenant where it is by database."""
    text = scrape(ours.port)
    by_database = (collectors.StatsCollector, collectors.PoolsCollector, collectors.DatabasesCollector)
    for collector in by_database:
        for name, _ in collector.metrics.values():
            check(re.search(rf'^pgbouncer_{name}{{[^}}]*database="acme"', text, re.M), f"pgbouncer_{name} of acme")
    for name, _ in collectors.ListsCollector.metrics.values():
        check(re.search(rf"^pgbouncer_{name} \d", text, re.M), f"pgbouncer_{name}")
    queries = re.search(r'^pgbouncer_requests_total{database="acme"} (\S+)', text, re.M)
    check(queries and float(queries[1]) == 12, f"pgbouncer_requests_total is {queries and queries[1]}")


def main():
    """Compares, then says how it went."""
    ours = Side("tenantry", int(os.environ["TENANTRY_PORT"]))
    with PgBouncer(int(os.environ["SERVER_PORT"])) as theirs:
        version = theirs.row("VERSION")["version"]
        held = [load(side) for side in (theirs, ours)]
        compare_tables(theirs, ours)
        compare_values(theirs, ours)
        for _, busy in held:
            busy.cursor().execute("commit")
        compare_counts(theirs, ours)
        exporter_metrics(ours)
        for idle, busy in held:
            idle.close()
            busy.close()
        for side in (theirs, ours):
            until(lambda s=side: s.row("POOLS", database="acme")["cl_active"] == 0, "clients have left")
        compare_commands(theirs, ours)
        check(ours.command("SET query_wait_timeout = 7") is not None, "SET by PgBouncer's name")
        check(ours.row("CONFIG", key="query_wait_timeout")["value"] == "7", "SHOW CONFIG by PgBouncer's name")
        check(theirs.row("CONFIG", key="query_wait_timeout").keys() == ours.row("CONFIG", key="pool.size").keys(), "CONFIG")
        check(ours.command("SHUTDOWN") == "SHUTDOWN", "SHUTDOWN")
    if failures:
        sys.exit(f"exporter: {len(failures)} of {checks} checks failed")
    print(f"ok exporter: {checks} checks beside {version}")


main()
