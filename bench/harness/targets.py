"""What is measured: a direct connection, Tenantry, PgBouncer. Same pool, same login, one worker each.

A target can be started more than once, each time on a fresh port: figures about memory and
instructions need a process of their own.
"""
import os
import subprocess
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

from .postgres import Postgres, serves
from .processes import BenchError, Session, tree, wait_until, free_port

POOL = 20

TENANTRY_CONFIG = """\
[server]
listen = ["127.0.0.1:{port}"]
workers = 1
max_clients = {clients}

[server.tls]
mode = "allow"
certificate = "{tls}/server.crt"
private_key = "{tls}/server.key"

[auth]
method = "scram-sha-256"

[pool]
mode = "transaction"
size = {pool}
max_clients = {clients}
session_state = "{state}"

[routing]
reads = "{reads}"

[[cluster]]
name = "bench"
primary = "127.0.0.1:{backend}"
{replicas}
max_connections = 90
tls = "disable"

[[tenant]]
slug = "bench"
cluster = "bench"
database = "bench"
user = "bench"
password = "bench"
roles = [{{ name = "bench", password = "bench" }}]
"""

PGBOUNCER_CONFIG = """\
[databases]
bench = host=127.0.0.1 port={backend} dbname=bench

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {place}/userlist.txt
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = {clients}
server_tls_sslmode = disable
client_tls_sslmode = allow
client_tls_cert_file = {tls}/server.crt
client_tls_key_file = {tls}/server.key
log_connections = 0
log_disconnections = 0
"""


class Endpoint:
    """A target that serves: where, and which process (none for a direct connection)."""

    def __init__(self, name, port, daemon=None):
        self.name, self.port, self.daemon = name, port, daemon

    def pids(self) -> list:
        return tree(self.daemon.pid) if self.daemon else []


class Target:
    """Common to all: a name, a version, and what it cannot do."""

    name = ""
    version = ""
    is_proxy = True
    is_timed = True  # else it takes part in counts only

    def unsupported(self, mode, clients):
        """Why this cell cannot be measured; None: it can."""
        del mode, clients
        return None


class Direct(Target):
    """No proxy: pgbench talks to PostgreSQL."""

    name, is_proxy = "direct", False

    def __init__(self, server: Postgres):
        self.server, self.version = server, server.version

    def unsupported(self, mode, clients):
        return "more clients than max_connections of the server" if clients > 150 else None

    @contextmanager
    def started(self):
        yield Endpoint(self.name, self.server.port)


class Proxy(Target):
    """A proxy in front of the server; subclasses say with which command it runs."""

    user = None

    def __init__(self, session: Session, server: Postgres, tls: Path):
        self.session, self.server, self.tls = session, server, tls

    def command(self, place, port) -> list:
        raise NotImplementedError

    @contextmanager
    def started(self, wrapper=(), place=None):
        """Runs it, behind `wrapper` (valgrind) if given, until the block ends."""
        place, port = place or self.session.directory(self.name), free_port()
        daemon = self.session.start([*wrapper, *self.command(place, port)], cwd=place, user=self.user)
        try:
            wait_until(lambda: serves(port), 60, f"{self.name} to serve", daemon)
            yield Endpoint(self.name, port, daemon)
        finally:
            self.session.stop(daemon)

    def values(self, **more) -> dict:
        return dict(more, backend=self.server.port, tls=self.tls, pool=POOL,
                    clients=self.session.max_clients)


class Tenantry(Proxy):
    """This project, as built for release."""

    name = "tenantry"
    state = "carry"
    reads, replicas = "transactions", ""

    def __init__(self, session, server, tls, binary: Path):
        super().__init__(session, server, tls)
        self.binary = binary
        self.version = session.run([binary, "--version"]).strip()

    def command(self, place, port):
        config = place / "proxy.toml"
        config.write_text(TENANTRY_CONFIG.format(**self.values(
            port=port, state=self.state, reads=self.reads, replicas=self.replicas)))
        return [self.binary, "serve", "--config", config]


class Ignoring(Tenantry):
    """The same, but it does not look at session state: what carrying it costs is the difference."""

    name, state, is_timed = "ignore", "ignore", False

    def unsupported(self, mode, clients):
        return "its settings are set once, for all" if mode == "settings" else None


class Reading(Tenantry):
    """The same, with a standby for reads of some kind."""

    def __init__(self, session, server, tls, binary: Path, reads, standby):
        super().__init__(session, server, tls, binary)
        self.name, self.reads = f"reads = {reads}", reads
        self.replicas = f'replicas = ["127.0.0.1:{standby}"]'


class PgBouncer(Proxy):
    """The one on PATH, or that the environment variable PGBOUNCER names."""

    name = "pgbouncer"

    def __init__(self, session, server, tls, binary: Path):
        super().__init__(session, server, tls)
        self.binary, self.user = binary, session.server_user
        self.version = session.run([binary, "--version"], user=self.user).splitlines()[0]
        numbers = re.search(r"(\d+)\.(\d+)", self.version)
        self.prepares = bool(numbers) and (int(numbers[1]), int(numbers[2])) >= (1, 21)

    def unsupported(self, mode, clients):
        if mode == "settings":
            return "it knows no startup parameter options"
        if mode == "prepared" and not self.prepares:
            return f"prepared statements in transaction mode need PgBouncer 1.21 (this is {self.version})"
        return None

    def command(self, place, port):
        text = PGBOUNCER_CONFIG.format(**self.values(port=port, place=place))
        if self.prepares:
            text += "max_prepared_statements = 500\n"
        (place / "pgbouncer.ini").write_text(text)
        (place / "userlist.txt").write_text('"bench" "bench"\n')
        return [self.binary, place / "pgbouncer.ini"]


def find_tenantry(path) -> Path:
    """The binary that was named, else that of this checkout, built now: an old one would be measured
    in its place unseen."""
    root = Path(__file__).resolve().parents[2]
    built = Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release" / "tenantry"
    if not path:
        build = subprocess.run(["cargo", "build", "--quiet", "--release", "--locked"], cwd=root)
        if build.returncode:
            raise BenchError("cargo build --release failed; "
                             "leave Tenantry out with --targets direct,pgbouncer")
    binary = Path(path) if path else built
    if not os.access(binary, os.X_OK):
        raise BenchError(f"{binary} is no program")
    return binary.resolve()


def find_pgbouncer() -> Path:
    """PgBouncer's binary, or BenchError."""
    name = os.environ.get("PGBOUNCER", "pgbouncer")
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        raise BenchError(f"{name} is missing: apt-get install pgbouncer, or set PGBOUNCER=path, "
                         "or leave it out with --targets direct,tenantry")
    return Path(found)
