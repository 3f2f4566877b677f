"""The PostgreSQL server behind every target: found on this machine, started in a temporary directory.

Role, password and database are all `bench`, filled by `pgbench -i`. Nothing survives a crash:
fsync is off, as the disk is not what is measured.
"""
import os
import signal
from pathlib import Path

from .client import Client, ClientError
from .processes import BenchError, Session, free_port, wait_until

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
password_encryption = 'scram-sha-256'
ssl = on
"""
SCALE = 10


def find_binaries() -> Path:
    """The newest directory with initdb, postgres and pgbench, or BenchError."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    others = [Path(p) for p in os.environ.get("PATH", "").split(":") if p]
    usual = [Path("/usr/local/pgsql/bin"), Path("/opt/homebrew/bin")]
    for place in debian + others + usual:
        if all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres", "pgbench")):
            return place
    raise BenchError("PostgreSQL's server binaries (initdb, postgres, pgbench) are missing: "
                     "apt-get install postgresql")


def version(place) -> float:
    """15 of /usr/lib/postgresql/15/bin."""
    try:
        return float(place.parent.name)
    except ValueError:
        return 0.0


def certificate(session: Session) -> Path:
    """A directory with a self-signed server.crt and server.key, for every target."""
    place = session.directory("tls")
    session.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                 "-keyout", "server.key", "-out", "server.crt"], cwd=place, user=session.server_user)
    (place / "server.key").chmod(0o600)
    return place


class Postgres:
    """A running server with the pgbench tables."""

    def __init__(self, session: Session, tls: Path):
        self.bin = find_binaries()
        self.version = session.run([self.bin / "postgres", "--version"]).strip()
        self.port = free_port()
        self._start(session, tls)
        self._fill(session)

    def _start(self, session, tls):
        place, user = session.directory("postgres"), session.server_user
        (place / "password").write_text("bench\n")
        (place / "password").chmod(0o644)  # read by initdb, which runs as another user
        data = place / "data"
        session.run([self.bin / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C",
                     "-A", "scram-sha-256", "--pwfile", place / "password", "--no-sync"], cwd=place, user=user)
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(SETTINGS + f"port = {self.port}\n"
                       f"ssl_cert_file = '{tls}/server.crt'\nssl_key_file = '{tls}/server.key'\n")
        daemon = session.start([self.bin / "postgres", "-D", data], cwd=place, user=user, how=signal.SIGINT)
        wait_until(lambda: serves(self.port, "postgres"), 30, "PostgreSQL", daemon)

    def standby(self, session) -> int:
        """Starts a streaming standby of it; its port."""
        place, user, port = session.directory("standby"), session.server_user, free_port()
        data = place / "data"
        session.run(["env", "PGPASSWORD=bench", self.bin / "pg_basebackup", "-h", "127.0.0.1", "-p", str(self.port),
                     "-U", "postgres", "-D", data, "-R", "-X", "stream", "-c", "fast"], cwd=place, user=user, timeout=300)
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(f"port = {port}\n")
        daemon = session.start([self.bin / "postgres", "-D", data], cwd=place, user=user, how=signal.SIGINT)
        wait_until(lambda: serves(port, "postgres"), 60, "the standby", daemon)
        return port

    def _fill(self, session):
        admin = Client(self.port, user="postgres", database="postgres")
        admin.query("CREATE ROLE bench LOGIN PASSWORD 'bench'")
        admin.query("CREATE DATABASE bench OWNER bench")
        admin.close()
        session.run(["env", "PGPASSWORD=bench", self.bin / "pgbench", "-i", "-q", "-s", str(SCALE),
                     "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "bench"], timeout=300)


def serves(port, name="bench") -> bool:
    """Whether a login and a query succeed."""
    try:
        client = Client(port, user=name, database=name, timeout=10)
        client.query("select 1")
        client.close()
        return True
    except (OSError, ClientError):
        return False
