"""Measures that count: system calls (strace) and user-space instructions (callgrind).

Counts say more than times on a shared machine: they repeat to a few percent. Both are taken in
the steady part of a run, and divided by the client transactions that pgbench logged meanwhile
(the server's xact_commit would also count what a proxy adds on its own).
"""
import re
import signal
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from .client import Client
from .load import Job, Load
from .postgres import serves
from .processes import BenchError, wait_until
from .results import Measure
from .targets import POOL

SYSCALLS = Measure(
    "syscalls", "System calls per transaction (strace), 64 clients", ("mode",),
    (("calls", "calls/tx", 2), ("detail", "which", None)))
INSTRUCTIONS = Measure(
    "instructions", "User-space instructions per transaction (callgrind), 32 clients, pool of 20", ("mode",),
    (("instructions", "instructions/tx", 0), ("transactions", "transactions counted", 0)))
# Two kinds of sessions take turns on each server connection: five settings to be changed each time.
SETTINGS = ["-c work_mem=5MB -c statement_timeout=60s -c lock_timeout=30s -c search_path=public -c app.tenant=a",
            "-c work_mem=6MB -c statement_timeout=61s -c lock_timeout=31s -c search_path=public,pg_catalog -c app.tenant=b"]
BACKENDS = "select count(*) from pg_stat_activity where datname = 'bench' and pid <> pg_backend_pid()"
PATIENCE = 3.0  # seconds without a new server connection: the pool has what it needs


class Counted:
    """Runs the counted measures; direct has no proxy to count in."""

    def __init__(self, bench):
        self.bench, self.plan, self.results = bench, bench.plan, bench.results
        self.targets = [t for t in bench.targets if t.is_proxy]

    def run(self):
        """Those that the plan names."""
        if SYSCALLS.name in self.plan.measures:
            self._each(SYSCALLS, self._syscalls)
        if INSTRUCTIONS.name in self.plan.measures:
            self._each(INSTRUCTIONS, self.instructions)

    def _each(self, measure, count):
        self.bench.say(measure.title)
        for mode in self.plan.counted_modes:
            for target in self.targets:
                reason = target.unsupported(mode, 0)
                if reason:
                    self.results.skip(measure, (mode,), target.name, reason)
                    continue
                try:
                    for turn, values in enumerate(count(target, mode)):
                        self.results.add(measure, (mode,), target.name, turn, values)
                except BenchError as error:
                    self.results.fail(measure, (mode,), target.name, error)
            self.bench.say_cell(measure, (mode,))

    @contextmanager
    def _load(self, endpoint, mode, clients, script=""):
        """Steady load on an endpoint."""
        jobs = [Job(mode, clients, script=script)]
        if mode == "settings":
            jobs = [Job("simple", clients // 2, settings=settings) for settings in SETTINGS]
        with ExitStack() as stack:
            loads = [stack.enter_context(Load(self.bench.session, self.bench.pgbench, endpoint, job)) for job in jobs]
            for load in loads:
                load.await_steady()
            yield loads

    def _syscalls(self, target, mode):
        with target.started() as endpoint, self._load(endpoint, mode, 64) as loads:
            for _ in range(self.plan.windows):
                counts, start, end = self._trace(endpoint)
                transactions = transactions_between(loads, start, end)
                yield per_transaction(counts, transactions)

    def _trace(self, endpoint):
        """System calls by name within a window, and the window."""
        session = self.bench.session
        place = session.directory("strace")
        threads = sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in endpoint.pids())
        tracer = session.start(["strace", "-f", "-c", "-o", place / "calls", "-p", endpoint.daemon.pid], cwd=place)
        # strace says one line when it is attached, however many threads there are.
        wait_until(lambda: "attached" in tracer.output(), 20, f"strace to attach to {threads} threads", tracer)
        start = time.time()
        time.sleep(self.plan.window_seconds)
        end = time.time()
        tracer.process.send_signal(signal.SIGINT)
        wait_until(lambda: not tracer.running(), 20, "strace to end")
        session.stop(tracer)
        return parse_strace((place / "calls").read_text()), start, end

    def _await_full_pool(self):
        """Waits until no more server connections are opened: one login is worth thousands of transactions."""
        with closing(Client(self.bench.server.port)) as client:
            last, since = 0, time.monotonic()
            while last < POOL and time.monotonic() - since < PATIENCE:
                # Those still logging in count too; this connection does not.
                now = int(client.query(BACKENDS)[0][0])
                if now != last:
                    last, since = now, time.monotonic()
                time.sleep(0.1)
        time.sleep(self.plan.valgrind_warm_up)

    def instructions(self, target, mode, script=""):
        """Each window's, of a process of its own."""
        session, place = self.bench.session, self.bench.session.directory("callgrind")
        pipes = f"--vgdb-prefix={place}/vgdb"
        wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={place}/out",
                   "--fair-sched=try", "--vgdb=yes", pipes]
        with target.started(wrapper, place) as endpoint, self._load(endpoint, mode, 32, script) as loads:
            def command(what):
                """Tells callgrind, and returns when (the middle of the call)."""
                begun = time.time()
                session.run(["vgdb", pipes, f"--pid={endpoint.daemon.pid}", what], cwd=place,
                            user=target.user, timeout=60)
                return (begun + time.time()) / 2

            self._await_full_pool()
            for turn in range(self.plan.windows):
                start = command("zero")
                time.sleep(self.plan.valgrind_seconds)
                end = command("dump")
                transactions = transactions_between(loads, start, end)
                executed = callgrind_total(place, turn + 1)
                yield {"instructions": executed / transactions, "transactions": transactions}
            if not serves(endpoint.port):
                raise BenchError(f"{target.name} no longer serves under callgrind: {endpoint.daemon.tail()}")


def transactions_between(loads, start, end) -> int:
    """Transactions that ended in the window; BenchError if none."""
    for load in loads:
        load.await_logged(end)
    count = sum(1 for load in loads for moment in load.ends() if start < moment <= end)
    if not count:
        raise BenchError("no transaction ended within the window")
    return count


def parse_strace(text) -> dict:
    """{name: calls} of `strace -c`: % time, seconds, usecs/call, calls, (errors), syscall."""
    rows = (line.split() for line in text.splitlines())
    return {r[-1]: int(r[3]) for r in rows if len(r) >= 5 and r[3].isdigit() and r[-1] != "total"}


def per_transaction(counts, transactions) -> dict:
    """Total, and the calls that matter by name."""
    each = {name: calls / transactions for name, calls in counts.items()}
    common = sorted((n for n in each if each[n] >= 0.02), key=each.get, reverse=True)
    return {"calls": sum(each.values()), "detail": " ".join(f"{n}={each[n]:.2f}" for n in common)}


def callgrind_total(place, number) -> int:
    """Instructions in the dump with this number."""
    for dump in place.glob(f"out.{number}*"):
        found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(errors="replace"), re.MULTILINE)
        if found:
            return int(found[1])
    raise BenchError(f"callgrind left no dump {number}")
