"""Clients that take turns with a suite under test on the same small pool.

    disturb.py HOST PORT USER DATABASE SESSIONS

Each session has settings of its own (some from its startup, some from SET), changes them in and
outside of transactions, commits or rolls back, and has prepared statements by the names that
drivers use. It does nothing that pins. After each step it looks whether all it set is there, and nothing of
others. On SIGTERM it says how many transactions ran; exit code 1 if one of them saw what it should not.

It speaks the protocol itself, so that no driver's habits are in the way.
"""

import random
import signal
import socket
import struct
import sys
import threading

PAUSE = 0.004  # seconds between transactions
NAMES = ["s0", "s1", "s2", "__asyncpg_stmt_1__"]
# What a session may change, with values that differ between sessions and from the defaults.
SETTINGS = {
    "search_path": lambda n: f"disturb_{n}",
    "timezone": lambda n: ["Asia/Tokyo", "America/Caracas", "Australia/Eucla", "Pacific/Apia"][n % 4],
    "application_name": lambda n: f"disturber {n}",
    "intervalstyle": lambda n: ["iso_8601", "sql_standard", "postgres_verbose"][n % 3],
    "bytea_output": lambda n: ["escape", "hex"][n % 2],
    "extra_float_digits": lambda n: str(-n - 1),
    # Not default_transaction_deferrable: with the next two the server waits for a safe snapshot.
    "default_transaction_isolation": lambda n: ["serializable", "repeatable read"][n % 2],
    "default_transaction_read_only": lambda n: "on",
    "statement_timeout": lambda n: f"{n + 3}min",
    "work_mem": lambda n: f"{n + 5}MB",
    "xmloption": lambda n: "document",
    "disturb.own": lambda n: f"of {n}",
}

stopping = threading.Event()


class Session:
    """One connection: trust, plain text, a reply of text values a query."""

    def __init__(self, address, user, database, options):
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        parameters = {"user": user, "database": database, **options}
        body = b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
        self.socket.sendall(struct.pack("!II", len(body) + 8, 196608) + body)
        self.replies()

    def replies(self):
        """Rows and errors until ReadyForQuery."""
        rows, errors = [], []
        while True:
            try:
                kind, length = struct.unpack("!cI", self.exactly(5))
            except EOFError:
                raise RuntimeError(f"the connection is closed: {errors}") from None
            body = self.exactly(length - 4)
            if kind == b"D":
                rows.append(row(body))
            elif kind == b"E":
                errors.append(body.replace(b"\0", b" ").decode(errors="replace"))
            elif kind == b"Z":
                if errors:
                    raise RuntimeError(errors[0])
                return rows

    def exactly(self, length):
        data = self.file.read(length)
        if len(data) != length:
            raise EOFError
        return data

    def query(self, sql):
        self.socket.sendall(message(b"Q", sql.encode() + b"\0"))
        return self.replies()

    def prepare(self, name, sql):
        self.socket.sendall(
            message(b"P", f"{name}\0{sql}\0".encode() + b"\0\0") + message(b"S", b"")
        )
        self.replies()

    def close(self, name):
        self.socket.sendall(message(b"C", f"S{name}\0".encode()) + message(b"S", b""))
        self.replies()

    def execute(self, name):
        self.socket.sendall(
            message(b"B", f"\0{name}\0".encode() + bytes(6))
            + message(b"E", bytes(5))
            + message(b"S", b"")
        )
        return self.replies()


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


def row(body):
    values, at = [], 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if length < 0 else body[at : at + length].decode())
        at += max(length, 0)
    return values


class Disturber(threading.Thread):
    def __init__(self, number, address, user, database):
        super().__init__(daemon=True)
        self.number, self.address, self.user, self.database = number, address, user, database
        self.session = None
        self.transactions, self.ended, self.failure = 0, 0, None

    def run(self):
        while not stopping.is_set():
            try:
                self.work()
            except Exception as error:  # told by main
                # psycopg2's suite ends server connections by the process ids that it reads there.
                if "57P01" in str(error) and self.ended < 50:
                    self.ended += 1
                    continue
                self.failure = f"session {self.number}: {error}"
                break
            finally:
                if self.session:
                    self.session.socket.close()

    def value(self, name):
        return SETTINGS[name](self.number)

    def work(self):
        n, pick = self.number, random.Random(self.number)
        # Half of them by their startup message, the others by SET.
        start = {"datestyle": "German", "client_encoding": "LATIN1"} if n % 2 else {}
        start["application_name"] = self.value("application_name")
        start["options"] = f"-c disturb.own=start -c search_path={self.value('search_path')}"
        self.session = Session(self.address, self.user, self.database, start)
        self.names = list(SETTINGS)
        started = {k: self.show(k) for k in self.names}
        self.expected = dict(started)
        steps = [self.set, self.set, self.rolled_back, self.local, self.reset, self.prepared, self.failing]
        while not stopping.wait(PAUSE):
            if pick.random() < 0.01:
                self.session.query("reset all")
                self.expected = dict(started)
            else:
                pick.choice(steps)(pick.choice(self.names), pick, started)
            self.look(pick)
            self.transactions += 1

    def show(self, name):
        return self.session.query(f"show {name}")[0][0]

    def set(self, name, pick, _started):
        text = f"set {name} = '{self.value(name)}'"
        if pick.random() < 0.5:
            self.session.query(text)
        else:
            for part in ["begin", text, "select 1", "commit"]:
                self.session.query(part)
        self.expected[name] = self.value(name)

    def rolled_back(self, name, _pick, _started):
        for part in ["begin", f"set {name} = '{self.value(name)}'", "select 1", "rollback"]:
            self.session.query(part)

    def local(self, name, _pick, _started):
        for part in ["begin", f"set local {name} = '{self.value(name)}'", "select 1", "commit"]:
            self.session.query(part)

    def reset(self, name, _pick, started):
        self.session.query(f"reset {name}")
        self.expected[name] = started[name]

    def prepared(self, _name, pick, _started):
        # Closed again: a name that is kept while settings change pins.
        name = pick.choice(NAMES)
        self.session.prepare(name, f"select 'disturbed {self.number}', '{name}'")
        for _ in range(3):
            self.equal(self.session.execute(name), [[f"disturbed {self.number}", name]], name)
            stopping.wait(PAUSE)
        self.session.close(name)

    def failing(self, name, _pick, _started):
        self.session.query("begin")
        self.session.query(f"set {name} = '{self.value(name)}'")
        try:
            self.session.query("select 1 / 0")
        except RuntimeError as error:
            if "22012" not in str(error):
                raise
        self.session.query("rollback")

    def look(self, pick):
        """Two of the settings in a transaction of its own, the long way at times."""
        names = pick.sample(self.names, 2) if pick.random() < 0.9 else self.names
        columns = ", ".join(f"current_setting('{name}')" for name in names)
        self.equal(
            self.session.query(f"select {columns}"), [[self.expected[n] for n in names]], names
        )

    def equal(self, found, expected, what):
        if found != expected:
            raise RuntimeError(f"{what}: {found} instead of {expected}")


def main():
    host, port, user, database, sessions = sys.argv[1:]
    address = (host, int(port))
    disturbers = [Disturber(n, address, user, database) for n in range(int(sessions))]
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    for disturber in disturbers:
        disturber.start()
    stopping.wait()
    for disturber in disturbers:
        disturber.join(70)
    ended = sum(d.ended for d in disturbers)
    failures = [d.failure for d in disturbers if d.failure]
    print(f"{sum(d.transactions for d in disturbers)} transactions of {sessions} disturbers, {ended} ended by pg_terminate_backend")
    for failure in failures:
        print(f"disturber: {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
