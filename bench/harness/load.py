"""pgbench as the source of load, and its transaction log as the source of truth.

Every figure is taken from the steady part of a run: the log says when each transaction ended, so
that logins, the opening of the pool and the end of the run stay out of it.
"""
import re
import signal
import time
from dataclasses import dataclass
from statistics import fmean

from .processes import BenchError, CpuSampler, Session, clean_environment, wait_until

WARM_UP = 0.3  # seconds at the start of a run that do not count
LONGEST = 600  # seconds; we end each run ourselves, as pgbench's own clock includes the logins


@dataclass(frozen=True)
class Job:
    """One pgbench run: select-only transactions."""

    mode: str = "simple"
    clients: int = 1
    seconds: int = 4
    tls: bool = False
    reconnect: bool = False
    rate: int = 0  # transactions per second; 0: as fast as it goes
    settings: str = ""  # PGOPTIONS
    script: str = ""  # what pgbench runs instead of its select-only transaction


class Load:
    """A running pgbench with its log."""

    def __init__(self, session: Session, binary, endpoint, job: Job):
        self.session, self.endpoint = session, endpoint
        self.place = session.directory("pgbench")
        # No home: libpq would look for certificates there.
        env = dict(clean_environment(), HOME="/nonexistent", PGPASSWORD="bench", PGGSSENCMODE="disable",
                   PGSSLMODE="require" if job.tls else "disable")
        if job.settings:
            env["PGOPTIONS"] = job.settings
        what = ["-S"]
        if job.script:
            (self.place / "script.sql").write_text(job.script)
            what = ["-f", self.place / "script.sql"]
        command = [binary, "-n", *what, "-l", "--log-prefix=tx", "-h", "127.0.0.1", "-p", endpoint.port,
                   "-U", "bench", "-M", job.mode, "-c", job.clients, "-T", LONGEST]
        command += ["-C"] if job.reconnect else []
        command += ["-R", job.rate] if job.rate else []
        self.daemon = session.start([*command, "bench"], cwd=self.place, env=env, user=session.server_user)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.stop(self.daemon)

    def await_steady(self):
        """Waits until transactions run: pgbench starts the first when all clients are logged in."""
        wait_until(lambda: any(f.stat().st_size for f in self._logs()), 90, "pgbench to start", self.daemon)
        time.sleep(WARM_UP)

    def await_logged(self, moment):
        """Waits until the log holds all transactions up to this wall clock time."""
        wait_until(lambda: self.ends()[-1:] > [moment], 30, "pgbench's log", self.daemon)

    def finish(self) -> str:
        """Ends the run as pgbench's own alarm clock would; what pgbench printed."""
        self.daemon.process.send_signal(signal.SIGALRM)
        wait_until(lambda: not self.daemon.running(), 60, "pgbench to end")
        if self.daemon.process.returncode:
            raise BenchError(f"pgbench: {self._complaint()}")
        return self.daemon.output()

    def _complaint(self) -> str:
        """The first error that pgbench printed."""
        lines = self.daemon.output().splitlines()
        return next((line for line in lines if "error" in line.lower()), self.daemon.tail())

    def transactions(self) -> list:
        """(end in wall clock seconds, latency in ms) of each transaction, in order."""
        found = []
        for log in self._logs():
            for line in log.read_text().splitlines():
                fields = line.split()
                if len(fields) >= 6:
                    found.append((int(fields[4]) + int(fields[5]) / 1e6, int(fields[2]) / 1e3))
        return sorted(found)

    def ends(self) -> list:
        """When each logged transaction ended, in order."""
        # The last line may be half written.
        return [end for end, _ in self.transactions()][:-1]

    def _logs(self):
        return list(self.place.glob("tx.*"))


def percentile(ordered, share):
    """The value below which this share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def run(session: Session, binary, endpoint, job: Job) -> dict:
    """Runs a job: tps, avg, p50, p95, p99 (ms), cpu (us per transaction), connect (ms)."""
    with Load(session, binary, endpoint, job) as load:
        load.await_steady()
        with CpuSampler(endpoint.pids()) as cpu:
            time.sleep(job.seconds)
        output = load.finish()
        transactions = load.transactions()
    return figures(transactions, cpu, output)


def figures(transactions, cpu, output) -> dict:
    """What a finished run tells; its last moments do not count, when clients leave one by one."""
    if not transactions:
        raise BenchError(f"pgbench finished no transaction: {output.strip()[-300:]}")
    start, end = transactions[0][0] + WARM_UP, cpu.ended
    steady = [t for t in transactions if start < t[0] <= end]
    if len(steady) < 2:
        raise BenchError("the run was too short to have a steady part")
    latencies = sorted(latency for _, latency in steady)
    values = {"tps": len(steady) / (end - start), "avg": fmean(latencies)}
    values |= {f"p{p}": percentile(latencies, p / 100) for p in (50, 95, 99)}
    used = cpu.between(start, end)
    if used:
        count = sum(1 for t in steady if used[0] < t[0] <= used[1])
        values["cpu"] = used[2] / max(count, 1) * 1e6
    connect = re.search(r"average connection time = ([\d.]+) ms", output)
    if connect:
        values["connect"] = float(connect[1])
    return values
