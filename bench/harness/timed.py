"""Measures against the clock: throughput, latency at a fixed rate, connect per transaction, TLS.

Targets take turns within each round, so that drift of the machine falls on all of them alike.
"""
from contextlib import ExitStack

from .load import Job, run
from .processes import BenchError
from .results import Measure

THROUGHPUT = Measure(
    "throughput", "Throughput: as fast as it goes, plain TCP", ("mode", "clients"),
    (("tps", "tx/s", 0), ("avg", "avg ms", 3), ("p50", "p50 ms", 3), ("p95", "p95 ms", 3),
     ("p99", "p99 ms", 3), ("cpu", "proxy CPU us/tx", 1)))
LATENCY = Measure(
    "latency", "Latency at a fixed rate, from the scheduled start", ("mode", "clients", "tx/s"),
    (("avg", "avg ms", 3), ("p50", "p50 ms", 3), ("p95", "p95 ms", 3), ("p99", "p99 ms", 3),
     ("cpu", "proxy CPU us/tx", 1)))
CONNECT = Measure(
    "connect", "A new connection for each transaction (SCRAM-SHA-256)", ("transport", "clients"),
    (("tps", "connections/s", 0), ("connect", "avg connect ms", 2), ("cpu", "proxy CPU us/connection", 0)))
TLS = Measure(
    "tls", "Throughput over TLS (sslmode=require; the server side is plain)", ("mode", "clients"),
    THROUGHPUT.metrics)


class Timed:
    """Runs the timed measures against one instance of each target."""

    def __init__(self, bench):
        self.bench, self.plan, self.results = bench, bench.plan, bench.results

    def run(self):
        """All timed measures that the plan names."""
        wanted = [m for m in (THROUGHPUT, LATENCY, CONNECT, TLS) if m.name in self.plan.measures]
        if not wanted:
            return
        with ExitStack() as stack:
            targets = [(t, stack.enter_context(t.started())) for t in self.bench.targets if t.is_timed]
            for measure in wanted:
                self.bench.say(measure.title)
                for cell, job in getattr(self, measure.name)():
                    self._cell(measure, cell, job, targets)

    def throughput(self):
        """Every protocol mode, from one client to many more than the pool."""
        for mode in self.plan.modes:
            for clients in self.plan.clients:
                yield (mode, clients), Job(mode, clients, self.plan.seconds)

    def latency(self):
        """Far from saturation, where a throughput run's latency is mostly queueing."""
        for mode in self.plan.latency_modes:
            job = Job(mode, 16, self.plan.seconds, rate=self.plan.rate)
            yield (mode, job.clients, job.rate), job

    def connect(self):
        """Logins, one after the other and 16 at a time; over TLS too."""
        for clients, tls in self.plan.connects:
            job = Job("simple", clients, self.plan.seconds, tls=tls, reconnect=True)
            yield ("TLS" if tls else "TCP", clients), job

    def tls(self):
        """What encryption towards the clients costs."""
        for mode, clients in self.plan.tls_cells:
            yield (mode, clients), Job(mode, clients, self.plan.seconds, tls=True)

    def _cell(self, measure, cell, job, targets):
        for turn in range(self.plan.rounds):
            # Another target begins each round: none is always the first after a pause.
            shift = turn % len(targets)
            for target, endpoint in targets[shift:] + targets[:shift]:
                reason = target.unsupported(job.mode, job.clients)
                if reason:
                    self.results.skip(measure, cell, target.name, reason)
                    continue
                try:
                    values = run(self.bench.session, self.bench.pgbench, endpoint, job)
                    self.results.add(measure, cell, target.name, turn, values)
                except BenchError as error:
                    self.results.fail(measure, cell, target.name, error)
        self.bench.say_cell(measure, cell)
