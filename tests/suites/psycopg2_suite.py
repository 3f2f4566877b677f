"""Runs psycopg2's own tests and writes the outcome of each.

    psycopg2_suite.py OUTCOMES PROXY_LOG

In the folder of the source package, with its PSYCOPG2_TESTDB* variables. A line a test:
name, tab, outcome (`ok`, `skipped: why`, `failed: what`, `hung`), tab, why it pinned its session
(read from the proxy's log, empty when direct). A test that hangs ends the process (exit
code 1); started again it goes on behind it.
"""

import faulthandler
import sys
import time
import unittest
from pathlib import Path

LIMIT = 100  # seconds for one test

sys.path.insert(0, ".")


def short(text):
    return " ".join(text.split())[:300]


class Outcomes(unittest.TestResult):
    def __init__(self, path, log):
        super().__init__()
        self.path, self.log, self.read = path, log, 0
        self.pins()

    def startTest(self, test):
        super().startTest(test)
        self.outcome = "failed: no outcome"
        with self.path.open("a") as file:
            file.write(f"{test.id()}\t")
        faulthandler.dump_traceback_later(LIMIT, exit=True)

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        with self.path.open("a") as file:
            file.write(f"{self.outcome}\t{self.pins()}\n")

    def addSuccess(self, test):
        super().addSuccess(test)
        if self.outcome == "failed: no outcome":
            self.outcome = "ok"

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.outcome = f"skipped: {short(reason)}"

    def addError(self, test, err):
        super().addError(test, err)
        self.outcome = f"failed: {err[0].__name__}: {short(str(err[1]))}"
        sys.stderr.write(f"== {test.id()}\n{self._exc_info_to_string(err, test)}\n")

    def addFailure(self, test, err):
        self.addError(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(test, err)

    def addExpectedFailure(self, test, err):
        self.outcome = "ok: failed as it expects"

    def addUnexpectedSuccess(self, test):
        self.outcome = "failed: passed where it expects to fail"

    def pins(self):
        """The reasons of the log's new lines about pins."""
        if not self.log.exists():
            return ""
        with self.log.open() as file:
            file.seek(self.read)
            lines = file.read()
            self.read = file.tell()
        reasons = {line.split('reason="')[1].split('"')[0] for line in lines.splitlines() if "session pinned" in line}
        return ", ".join(sorted(reasons))


def each(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


def main():
    path, log = Path(sys.argv[1]), Path(sys.argv[2])
    done = set()
    if path.exists():
        text = path.read_text()
        if text and not text.endswith("\n"):
            path.write_text(text + "hung\t\n")
        done = {line.split("\t")[0] for line in text.splitlines()}
    import tests  # the suite

    suite = unittest.TestSuite(t for t in each(tests.test_suite()) if t.id() not in done)
    started = time.monotonic()
    result = suite.run(Outcomes(path, log))
    print(f"{result.testsRun} tests in {time.monotonic() - started:.0f} s")


main()
