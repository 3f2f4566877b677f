"""Composition: checks what is needed, starts the server, runs the measures, reports.

Exit codes: 0 measured, 1 something failed (the table says what), 2 something is missing, 130 interrupted.
"""
import shutil
import sys
import time

from .counted import Counted
from .idle import Idle
from .options import parser, plan
from .postgres import Postgres, certificate, find_binaries
from .processes import BenchError, Session
from .report import Report, machine
from .results import Results
from .routing import ROUTING, Routing
from .targets import Direct, Ignoring, PgBouncer, Tenantry, find_pgbouncer, find_tenantry
from .timed import Timed

TOOLS = {"syscalls": ("strace",), "instructions": ("valgrind", "vgdb"), "routing": ("valgrind", "vgdb")}
PACKAGE = {"vgdb": "valgrind"}


class Bench:
    """What the measures share."""

    def __init__(self, session, options, binaries):
        self.session, self.plan, self.results = session, plan(options), Results()
        self.say("starting PostgreSQL")
        tls = certificate(session)
        self.tls, self.tenantry = tls, binaries.get("tenantry")
        self.server = server = Postgres(session, tls)
        self.pgbench = server.bin / "pgbench"
        made = {"direct": lambda: Direct(server),
                "tenantry": lambda: Tenantry(session, server, tls, binaries["tenantry"]),
                "ignore": lambda: Ignoring(session, server, tls, binaries["ignore"]),
                "pgbouncer": lambda: PgBouncer(session, server, tls, binaries["pgbouncer"])}
        self.targets = [made[name]() for name in self.plan.targets]

    def say(self, text):
        """Progress, on stderr: stdout is for the table."""
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)

    def say_cell(self, measure, cell, targets=None):
        """The first metric of a finished cell."""
        key, header, decimals = measure.metrics[0]
        values = {t.name: self.results.median(measure, cell, t.name, key) for t in targets or self.targets}
        said = ", ".join(f"{name} {value:,.{decimals}f}" for name, value in values.items() if value is not None)
        self.say(f"  {' '.join(map(str, cell))}: {header}: {said or 'nothing'}")

    def run(self):
        """All measures, the timed ones first: they want a fresh machine least."""
        for family in (Timed, Counted, Idle):
            family(self).run()
        if ROUTING.name in self.plan.measures and self.tenantry:
            Routing(self, self.tenantry).run()


def find_all(chosen, options) -> dict:
    """The targets' binaries; BenchError with everything that is missing, at once."""
    missing, found = [], {}
    tenantry = lambda: find_tenantry(options.tenantry)
    finders = {"tenantry": tenantry, "ignore": tenantry, "pgbouncer": find_pgbouncer}
    for name, find in [("postgres", find_binaries)] + [(n, finders[n]) for n in chosen.targets if n in finders]:
        try:
            found[name] = find()
        except BenchError as error:
            missing.append(str(error))
    tools = {"openssl"}.union(*(TOOLS.get(measure, ()) for measure in chosen.measures))
    lacking = sorted({PACKAGE.get(tool, tool) for tool in tools if not shutil.which(tool)})
    if lacking:
        missing.append(f"apt-get install {' '.join(lacking)}")
    if missing:
        raise BenchError("\n".join(missing))
    return found


def main(arguments) -> int:
    """`bench/run`."""
    options = parser().parse_args(arguments)
    try:
        binaries = find_all(plan(options), options)
    except BenchError as error:
        print(f"bench/run cannot start:\n{error}", file=sys.stderr)
        return 2
    begun, where = time.monotonic(), machine()
    try:
        with Session() as session:
            bench = Bench(session, options, binaries)
            bench.run()
    except BenchError as error:
        print(f"bench/run failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench/run interrupted; everything it started is stopped and removed", file=sys.stderr)
        return 130
    versions = {target.name: target.version for target in bench.targets}
    report = Report(bench.results, versions, " ".join(arguments), where)
    seconds = time.monotonic() - begun
    print(report.markdown(seconds), flush=True)
    try:
        print(f"saved as {report.save(seconds)} and .json", file=sys.stderr)
    except OSError as error:
        print(f"bench/run could not save the report: {error}", file=sys.stderr)
        return 1
    return 1 if bench.results.failures else 0
