"""What it costs to find out where a transaction belongs: user-space instructions of Tenantry per
transaction, of a cluster with a standby, for each kind of reads that may go there.

The targets are one build with other settings; "off" is what the others are compared with. The
load only reads, so that each of them does the same work in the end.
"""
from .counted import Counted
from .processes import BenchError
from .results import Measure
from .targets import Reading

ROUTING = Measure(
    "routing", "Routing: user-space instructions per transaction (callgrind), 32 clients, a standby", ("load",),
    (("instructions", "instructions/tx", 0), ("transactions", "transactions counted", 0)))
READS = ("off", "transactions", "statements")
# A transaction that says that it only reads.
BLOCK = """\
BEGIN READ ONLY;
SELECT abalance FROM pgbench_accounts WHERE aid = 1;
COMMIT;
"""
# Texts that come again and again, as those of an application do.
FEW_TEXTS = """\
\\set aid random(1, 100)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
"""
LOADS = {"simple": ("simple", FEW_TEXTS), "prepared": ("prepared", FEW_TEXTS), "READ ONLY": ("simple", BLOCK)}


class Routing:
    """The measure, over targets of its own."""

    def __init__(self, bench, binary):
        self.bench, self.results, self.counted = bench, bench.results, Counted(bench)
        standby = bench.server.standby(bench.session)
        self.targets = [Reading(bench.session, bench.server, bench.tls, binary, reads, standby) for reads in READS]

    def run(self):
        """Each load at each target."""
        self.bench.say(ROUTING.title)
        for load, (mode, script) in LOADS.items():
            for target in self.targets:
                try:
                    for turn, values in enumerate(self.counted.instructions(target, mode, script)):
                        self.results.add(ROUTING, (load,), target.name, turn, values)
                except BenchError as error:
                    self.results.fail(ROUTING, (load,), target.name, error)
            self.bench.say_cell(ROUTING, (load,), self.targets)
