"""Runs tokio-postgres' own tests, one process each, and writes the outcome of each.

    tokio_postgres_suite.py PROGRAM OUTCOMES PROXY_LOG [WORD..]

Only tests whose name has one of the words; `-WORD`: only those without it. A line a test, as
psycopg2_suite.py writes them.
"""

import subprocess
import sys
from pathlib import Path

LIMIT = 60  # seconds for one test


def wanted(name, words):
    without = [w[1:] for w in words if w.startswith("-")]
    within = [w for w in words if not w.startswith("-")]
    return not any(w in name for w in without) and (not within or any(w in name for w in within))


def listed(program, *more):
    text = subprocess.run([program, "--list", "--format", "terse", *more], capture_output=True, text=True, check=True)
    return [line.removesuffix(": test") for line in text.stdout.splitlines() if line.endswith(": test")]


def outcome(program, name):
    try:
        done = subprocess.run(
            [program, "--exact", name, "--nocapture"], capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return "hung"
    if done.returncode == 0 and "1 passed" in done.stdout:
        return "ok"
    sys.stderr.write(f"== {name}\n{done.stdout}{done.stderr}\n")
    panic = done.stderr.split("panicked at", 1)[-1]
    return "failed: " + " ".join(panic.split())[:300]


def main():
    program, outcomes, log, *words = sys.argv[1:]
    log, read = Path(log), 0
    ignored = set(listed(program, "--ignored"))
    with Path(outcomes).open("a") as file:
        for name in listed(program):
            if not wanted(name, words):
                continue
            if log.exists():
                read = log.stat().st_size
            result = "skipped: ignored by the suite" if name in ignored else outcome(program, name)
            reasons = set()
            if log.exists():
                lines = log.read_bytes()[read:].decode(errors="replace").splitlines()
                reasons = {x.split('reason="')[1].split('"')[0] for x in lines if "session pinned" in x}
            file.write(f"{name}\t{result}\t{', '.join(sorted(reasons))}\n")
            file.flush()


main()
