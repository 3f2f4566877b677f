"""What the Python driver scripts share: the target, exact checks that are counted, and deadlines.

The target comes from the environment (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE,
PGSSLROOTCERT; DIRECT=1 when it is PostgreSQL itself). The first check that does not hold ends the
script with a message; no script outlives OVERALL seconds.
"""

import faulthandler
import os
import random
import sys
import threading
import time

OVERALL = 120
"""Seconds that one script may take."""
PATIENCE = 20
"""Seconds that one wait may take."""
BIG = 10 * 1024 * 1024
"""Bytes of a big value."""
CLIENTS = 20
"""Connections at once where a pool is expected to be smaller."""

DIRECT = os.environ.get("DIRECT") == "1"
TLS = os.environ.get("PGSSLMODE", "disable") in ("require", "verify-ca", "verify-full")

faulthandler.dump_traceback_later(OVERALL, exit=True)


class Failed(AssertionError):
    """A check did not hold."""


class Checks:
    """Counts what held; the first thing that does not ends the script."""

    def __init__(self, name):
        self.name = name
        self.count = 0
        self.section = "start"
        self._lock = threading.Lock()

    def equal(self, got, want, what):
        """`got` is exactly `want`."""
        with self._lock:
            self.count += 1
        if got != want or isinstance(got, bool) != isinstance(want, bool):
            raise Failed(f"{what}: got {short(got)}, want {short(want)}")

    def true(self, condition, what):
        """`condition` holds."""
        self.equal(bool(condition), True, what)

    def sqlstate(self, error, want, what):
        """`error`, as a driver raised it, carries this SQLSTATE."""
        got = getattr(error, "sqlstate", None)
        self.equal(got, want, f"{what} (SQLSTATE of {type(error).__name__}: {short(str(error))})")

    def fails(self, want, what, action, *args):
        """`action(*args)` raises an error with this SQLSTATE, which is returned."""
        try:
            action(*args)
        except Failed:
            raise
        except Exception as error:  # noqa: BLE001 - every driver has its own base class
            self.sqlstate(error, want, what)
            return error
        raise Failed(f"{what}: succeeded, want SQLSTATE {want}")

    async def fails_async(self, want, what, awaitable):
        """Awaiting raises an error with this SQLSTATE, which is returned."""
        try:
            await awaitable
        except Failed:
            raise
        except Exception as error:  # noqa: BLE001 - every driver has its own base class
            self.sqlstate(error, want, what)
            return error
        raise Failed(f"{what}: succeeded, want SQLSTATE {want}")

    def done(self):
        """The script's last line."""
        print(f"ok {self.name}: {self.count} checks", flush=True)


def short(value):
    """A value as text that fits a message."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}.. ({len(text)} characters)"


def mark():
    """A word nobody else uses, to find a statement in pg_stat_activity."""
    return f"mark{random.getrandbits(64):016x}"


RUNNING = "select count(*) from pg_stat_activity where state = 'active' and query like %s and pid <> pg_backend_pid()"
"""How many backends run a statement with this mark; `%s` is the placeholder to replace."""


def until(condition, what):
    """Waits for `condition()`; a wait without an end is a failure."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {PATIENCE} s")
        time.sleep(0.02)


def fatal(checks, error):
    """Says which section failed and ends the process, whatever threads still wait."""
    if not isinstance(error, Failed):
        import traceback

        traceback.print_exception(error)
    print(f"FAILED {checks.name}, {checks.section}: {type(error).__name__}: {error}", flush=True)
    sys.stderr.flush()
    os._exit(1)


def run(checks, sections):
    """Runs the sections in order, then the last line."""
    try:
        for section in sections:
            checks.section = section.__name__
            section()
    except BaseException as error:  # noqa: BLE001 - reported, then the end
        fatal(checks, error)
    checks.done()


async def run_async(checks, sections):
    """Like `run`, for coroutines."""
    try:
        for section in sections:
            checks.section = section.__name__
            await section()
    except BaseException as error:  # noqa: BLE001 - reported, then the end
        fatal(checks, error)
    checks.done()
