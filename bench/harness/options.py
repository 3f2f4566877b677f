"""The command line, and the plan that follows from it: which measures, how long, how often."""
import argparse
from dataclasses import dataclass, replace

MEASURES = ("throughput", "latency", "connect", "tls", "syscalls", "instructions", "routing", "idle")
MODES = ("simple", "extended", "prepared")
TARGETS = ("direct", "tenantry", "ignore", "pgbouncer")


@dataclass(frozen=True)
class Plan:
    """A full run; `QUICK` overrides what a short one does less of."""

    measures: tuple = MEASURES
    targets: tuple = TARGETS
    modes: tuple = MODES
    counted_modes: tuple = (*MODES, "settings")
    clients: tuple = (1, 16, 64, 500)
    rounds: int = 3
    seconds: int = 3
    rate: int = 2000  # transactions per second of the latency measure
    latency_modes: tuple = ("simple", "extended")
    connects: tuple = ((1, False), (16, False), (16, True))  # (clients, TLS)
    tls_cells: tuple = (("simple", 16), ("simple", 64), ("extended", 64))
    windows: int = 3  # of the counted measures
    window_seconds: float = 1.5
    valgrind_warm_up: float = 1.0
    valgrind_seconds: float = 3.0
    idle_rounds: int = 1
    idle_clients: int = 5000
    idle_tls_clients: int = 1000


QUICK = {"clients": (1, 64), "rounds": 2, "seconds": 2, "latency_modes": ("simple",),
         "connects": ((16, False),), "tls_cells": (("simple", 64),), "windows": 2,
         "window_seconds": 1.0, "valgrind_seconds": 2.5, "idle_clients": 2000}


def listed(allowed):
    """A type for argparse: comma-separated names, each one allowed, in the order of `allowed`."""
    def parse(text):
        names = [name.strip() for name in text.split(",") if name.strip()]
        wrong = [name for name in names if name not in allowed]
        if wrong or not names:
            raise argparse.ArgumentTypeError(f"choose from {', '.join(allowed)}; not {', '.join(wrong) or 'nothing'}")
        return tuple(name for name in allowed if name in names)
    return parse


def positive(text) -> int:
    """A type for argparse: a whole number above 0."""
    if not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def numbers(text) -> tuple:
    """A type for argparse: comma-separated whole numbers above 0."""
    return tuple(positive(part) for part in text.split(","))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="bench/run", description="Measures Tenantry beside PgBouncer and a direct connection.",
        epilog="The environment variable PGBOUNCER names another PgBouncer than the one on PATH.")
    p.add_argument("--quick", action="store_true", help="fewer cells, shorter runs: under 5 minutes")
    p.add_argument("--only", type=listed(MEASURES), metavar="LIST", help=",".join(MEASURES))
    p.add_argument("--targets", type=listed(TARGETS), metavar="LIST", help=",".join(TARGETS))
    p.add_argument("--modes", type=listed(MODES), metavar="LIST", help=",".join(MODES))
    p.add_argument("--clients", type=numbers, metavar="LIST", help="of the throughput measure: 1,16,64,500")
    p.add_argument("--rounds", type=positive, help="repetitions of each timed cell")
    p.add_argument("--seconds", type=positive, help="length of each timed run")
    p.add_argument("--idle-clients", type=positive, help="plain idle clients: 5000, with --quick 2000")
    p.add_argument("--tenantry", metavar="PATH", help="the binary; default target/release/tenantry")
    return p


def plan(options) -> Plan:
    """What the options ask for."""
    made = replace(Plan(), **QUICK) if options.quick else Plan()
    asked = {"measures": options.only, "targets": options.targets, "modes": options.modes,
             "clients": options.clients, "rounds": options.rounds, "seconds": options.seconds,
             "idle_clients": options.idle_clients}
    made = replace(made, **{key: value for key, value in asked.items() if value})
    return replace(made, counted_modes=made.modes if options.modes else made.counted_modes,
                   latency_modes=tuple(m for m in made.latency_modes if m in made.modes),
                   tls_cells=tuple(c for c in made.tls_cells if c[0] in made.modes))
