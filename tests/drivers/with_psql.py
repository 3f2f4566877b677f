"""psql, as a program: scripts through pipes, and a terminal for what only a person does (Ctrl-C).

psql's large object commands are the function call protocol of libpq (PQfn), which no other driver
here but JDBC speaks.
"""

import hashlib
import os
import pty
import select
import signal
import subprocess
import tempfile
import time

from common import BIG, CLIENTS, PATIENCE, RUNNING, Checks, Failed, mark, run, short, until

checks = Checks("psql")
T = "drv_psql"
ENV = {**os.environ, "PGCONNECT_TIMEOUT": str(PATIENCE), "PSQLRC": os.devnull, "PGCLIENTENCODING": "UTF8"}
COMMAND = ["psql", "-X", "-q", "-A", "-t", "-F", "|"]


def psql(script, *options, stdin_rest="", want=0):
    """Output of a script on psql's standard input; `want` is the exit code."""
    done = subprocess.run(
        [*COMMAND, "-v", "VERBOSITY=sqlstate", *options], input=script + stdin_rest, env=ENV, text=True,
        capture_output=True, timeout=60, check=False)
    if done.returncode != want:
        raise Failed(f"{short(script)}: exit {done.returncode}, want {want}: {short(done.stderr)}")
    return done.stdout.rstrip("\n"), done.stderr.rstrip("\n")


def gives(script, want, what, *options):
    """The script prints exactly this, and no error."""
    checks.equal(psql(script, *options), (want, ""), what)


def setup():
    psql(f"""set client_min_messages = warning;
        drop table if exists {T}, {T}_copy, {T}_conc;
        create table {T} (id int primary key, name text);
        create table {T}_copy (id int primary key, name text);
        create table {T}_conc (mark text, n int);""", "-v", "ON_ERROR_STOP=1")


def values():
    gives("select 40 + 2, null, '', 'x';", "42|||x", "values")
    gives("\\pset null NIL\nselect null, '';", "NIL|", "NULL is not the empty string")
    out, _ = psql(f"select repeat('x', {BIG});")
    checks.equal((len(out), set(out)), (BIG, {"x"}), "10 MB out")
    text = "y" * BIG
    gives(f"select md5('{text}');", hashlib.md5(text.encode()).hexdigest(), "10 MB in")
    out, _ = psql("select i, 'row ' || i from generate_series(1, 100000) i;")
    lines = out.split("\n")
    checks.equal((len(lines), lines[0], lines[-1]), (100000, "1|row 1", "100000|row 100000"), "many rows")
    out, _ = psql("\\set FETCH_COUNT 100\nselect generate_series(1, 2500);")
    checks.equal(out.split("\n"), [str(i) for i in range(1, 2501)], "FETCH_COUNT's cursor")
    gives("select 1\\; select 2\\; select 3;", "1\n2\n3", "several statements in a string")
    checks.equal(psql("", "-c", "select 1; select 2")[0], "1\n2", "several statements by -c")
    gives("select 'a' as x, 'b' as y \\gset\nselect :'y' || :'x';", "ba", "\\gset")
    out, _ = psql("\\dt drv_psql*\n\\d drv_psql\n\\l\n\\dn\n")
    checks.true(f"public|{T}|table" in out and "id|integer||not null" in out, "\\d, \\dt, \\l and \\dn")


def prepared():
    gives("prepare p(int) as select $1 * 2; execute p(4); execute p(5); deallocate p;", "8\n10", "SQL PREPARE")
    checks.equal(psql("execute drv_missing(1);"), ("", "ERROR:  26000"), "a missing prepared statement")


def copy():
    rows = "".join(f"{i}\tname {i}\n" if i % 7 else f"{i}\t\\N\n" for i in range(20000))
    gives(f"copy {T}_copy from stdin;\n{rows}\\.\nselect count(*), count(name) from {T}_copy;", "20000|17142", "COPY in")
    out, _ = psql(f"copy (select * from {T}_copy order by id) to stdout;")
    checks.equal(out + "\n", rows, "COPY out gives what COPY took")
    out, err = psql(f"copy {T}_copy from stdin;\n30000\tx\nnot a number\ty\n\\.\nselect max(id) from {T}_copy;")
    checks.equal((out, err), ("19999", "ERROR:  22P02"), "COPY in of a bad row, and the session goes on")
    out, err = psql(f"begin; copy {T}_copy from stdin;\n1\tx\n\\.\nselect 1; rollback; select 2;")
    checks.equal((out, err), ("2", "ERROR:  23505\nERROR:  25P02"), "a COPY that fails in a transaction")
    gives(f"copy {T}_copy from stdin\\; select 'behind';\n40000\tx\n\\.\n", "behind", "COPY within a string")
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write("50000,x\n50001,y\n")
        file.flush()
        gives(f"\\copy {T}_copy from '{file.name}' csv\nselect count(*) from {T}_copy where id >= 50000;", "2", "\\copy")
    process = start(f"copy {T}_copy from stdin;\n60000\tx\n" + "60001\ty\n" * 3)
    word = f"copy {T}_copy from stdin"
    until(lambda: count_running(word) == 1, "the COPY runs")
    process.kill()  # a client that vanishes in the midst of a COPY
    process.wait(PATIENCE)
    until(lambda: count_running(word) == 0, "the COPY of a client that vanished ends")
    gives(f"select count(*) from {T}_copy where id >= 60000;", "0", "and nothing of it stays")


def start(script):
    """A psql that has read a script and waits for more."""
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, text=True)
    process.stdin.write(script)
    process.stdin.flush()
    return process


def count_running(word):
    """How many backends run a statement with this mark."""
    return int(psql(RUNNING.replace("%s", f"'%' || '{word[:5]}' || '{word[5:]}%'") + ";")[0])


class Terminal:
    """psql on a terminal."""

    def __init__(self):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-n", "-P", "pager=off"], stdin=slave, stdout=slave, stderr=slave, env=ENV, start_new_session=True)
        os.close(slave)

    def send(self, line):
        """Types a line."""
        os.write(self.master, line.encode() + b"\n")

    def expect(self, text):
        """Reads until the text was printed."""
        seen, deadline = b"", time.monotonic() + PATIENCE
        while text.encode() not in seen:
            if not select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failed(f"psql did not print {text!r} within {PATIENCE} s but {short(seen)}")
            seen += os.read(self.master, 65536)

    def close(self):
        """Ends psql."""
        self.send("\\q")
        self.process.wait(PATIENCE)
        os.close(self.master)


def cancellation():
    other = start("select 'slept' from pg_sleep(2);\n")
    terminal = Terminal()
    for _ in range(2):
        word = mark()
        terminal.send(f"select pg_sleep(90) /* {word} */;")
        until(lambda text=word: count_running(text) == 1, "the sleep runs")
        terminal.process.send_signal(signal.SIGINT)
        terminal.expect("canceling statement due to user request")
        checks.equal(count_running(word), 0, "the cancelled sleep has ended")
        terminal.send("select 'still ' || 'alive';")
        terminal.expect("still alive")
    terminal.close()
    checks.equal(other.communicate(timeout=PATIENCE), ("slept\n", ""), "another session is not cancelled")


def cursors():
    gives("begin; declare c cursor for select generate_series(1, 100); fetch 2 from c; move 50 in c; fetch c; commit;",
          "1\n2\n53", "a cursor")
    gives("begin; declare c cursor with hold for select generate_series(1, 3); commit; fetch all from c; close c;",
          "1\n2\n3", "a cursor WITH HOLD")
    checks.equal(psql("begin; declare c cursor for select 1; commit; fetch c;"), ("", "ERROR:  34000"), "a cursor that is gone")


def timeouts():
    os_options = {**ENV, "PGOPTIONS": "-c statement_timeout=300"}
    done = subprocess.run(
        [*COMMAND, "-v", "VERBOSITY=sqlstate"], input="show statement_timeout; select pg_sleep(60); select 1;",
        env=os_options, text=True, capture_output=True, timeout=60, check=False)
    checks.equal((done.stdout, done.stderr), ("300ms\n1\n", "ERROR:  57014\n"), "statement_timeout by PGOPTIONS")
    out = psql("begin; set local statement_timeout = '200ms'; select pg_sleep(60); rollback; show statement_timeout;")
    checks.equal(out, ("0", "ERROR:  57014"), "SET LOCAL statement_timeout")
    holder = start(f"begin; lock table {T}_conc in access exclusive mode; select 'locked';\n")
    checks.equal(holder.stdout.readline(), "locked\n", "a lock")
    out = psql(f"begin; set local lock_timeout = '200ms'; select * from {T}_conc; rollback; select 1;")
    checks.equal(out, ("1", "ERROR:  55P03"), "lock_timeout")
    holder.communicate("rollback;\n", timeout=PATIENCE)


def large_objects():
    data = os.urandom(200000)
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in"), os.path.join(folder, "out")
        with open(source, "wb") as file:
            file.write(data)
        out, _ = psql(
            f"\\lo_import '{source}'\n\\lo_export :LASTOID '{target}'\n"
            "select md5(lo_get(:LASTOID));\n\\lo_unlink :LASTOID\nselect lo_get(:LASTOID);\n")
        checks.true(hashlib.md5(data).hexdigest() in out, "lo_import by function calls")
        with open(target, "rb") as file:
            checks.equal(file.read() == data, True, "lo_export by function calls")
    out, err = psql("begin;\n\\lo_unlink 4294967295\nselect 1;\nrollback;\nselect 2;\n")
    checks.equal((out, err.count("ERROR:") >= 1), ("2", True), "a function call that fails in a transaction")


def failures():
    checks.equal(psql("selec 1; select 2;"), ("2", "ERROR:  42601"), "a syntax error")
    checks.equal(psql(f"insert into {T} values (1); insert into {T} values (1); select 3;"), ("3", "ERROR:  23505"), "violation")
    checks.equal(psql("begin; select 1/0; select 1; commit; select 4;"), ("4", "ERROR:  22012\nERROR:  25P02"), "transaction")
    checks.equal(psql("select 1\\; select 1/0\\; select 3;"), ("1", "ERROR:  22012"), "error in a string of statements")
    checks.equal(psql(f"insert into {T} values (5)\\; select 1/0;\nselect count(*) from {T} where id = 5;"),
                 ("0", "ERROR:  22012"), "a string of statements is one transaction")
    psql("select 1/0;", "-v", "ON_ERROR_STOP=1", want=3)
    out = psql("do $$ begin raise notice 'one'; raise warning 'two'; end $$;", "-v", "VERBOSITY=terse")
    checks.equal(out, ("", "NOTICE:  one\nWARNING:  two"), "notices")
    checks.equal(psql("commit;", "-v", "VERBOSITY=terse"), ("", "WARNING:  there is no transaction in progress"), "warning")


def session_state():
    out, _ = psql("listen drv_psql_channel; notify drv_psql_channel, 'hello'; select 1;")
    checks.equal(out.split('" with payload')[0].split("\n")[-1].replace("1\n", ""),
                 'Asynchronous notification "drv_psql_channel', "LISTEN and NOTIFY")
    checks.true('with payload "hello" received' in out, "the payload")
    gives("create temp table drv_temp as select 7 as n; begin; insert into drv_temp values (8); commit; table drv_temp;",
          "7\n8", "a temporary table")
    checks.equal(psql("table drv_temp;"), ("", "ERROR:  42P01"), "temporary tables are gone with their session")
    gives("set search_path = pg_catalog; begin; commit; show search_path;", "pg_catalog", "SET stays")
    gives("show search_path;", '"$user", public', "SET is gone with its session")
    gives("set timezone = 'Asia/Tokyo'; begin; set timezone = 'UTC'; rollback; show timezone;", "Asia/Tokyo", "rolled back")
    gives("select pg_advisory_lock(815); select pg_advisory_unlock(815);", "\nt", "a session's advisory lock")


def transactions():
    gives(f"begin; insert into {T} values (60); savepoint a; insert into {T} values (61); rollback to a; release a; "
          f"insert into {T} values (62); commit; select id from {T} where id between 60 and 69 order by 1;",
          "60\n62", "savepoints")
    for level in ("read committed", "repeatable read", "serializable"):
        gives(f"begin isolation level {level}; show transaction_isolation; commit and chain; "
              "show transaction_isolation; rollback;", f"{level}\n{level}", "isolation level and COMMIT AND CHAIN")
    checks.equal(psql(f"begin read only; delete from {T}; rollback;"), ("", "ERROR:  25006"), "read only")
    checks.equal(psql(f"\\set AUTOCOMMIT off\ninsert into {T} values (70);\nrollback;\nselect count(*) from {T} where id = 70;"),
                 ("0", ""), "AUTOCOMMIT off")
    out = psql("\\set ON_ERROR_ROLLBACK on\nbegin;\nselect 1/0;\nselect 'on';\ncommit;\n")
    checks.equal(out, ("on", "ERROR:  22012"), "ON_ERROR_ROLLBACK's savepoints")


def concurrency():
    scripts = [
        "".join(f"begin; insert into {T}_conc values ('client {c}', {i}); select 'client {c}', {i}; commit;\n" for i in range(30))
        + f"select count(*), sum(n) from {T}_conc where mark = 'client {c}';\n"
        for c in range(CLIENTS)]
    clients = [start(script) for script in scripts]
    for number, client in enumerate(clients):
        out, err = client.communicate(timeout=60)
        want = "".join(f"client {number}|{i}\n" for i in range(30)) + "30|435\n"
        checks.equal((out, err), (want, ""), "rows carry their client's mark")


def cleanup():
    gives(f"drop table {T}, {T}_copy, {T}_conc;", "", "dropped")


run(checks, [
    setup, values, prepared, copy, cancellation, cursors, timeouts, large_objects, failures, session_state,
    transactions, concurrency, cleanup,
])
