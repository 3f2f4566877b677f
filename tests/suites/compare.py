"""Compares the outcomes of a suite, directly and through Tenantry.

    compare.py DIRECT THROUGH EXPECTED

EXPECTED lists the tests that differ: name, blanks, reason. Exit code 1 if another one differs, or
if one of those does not. A reason that begins with `at times:` is of a test that may differ.
"""

import sys
from collections import Counter
from pathlib import Path


def outcomes(path):
    found = {}
    for line in Path(path).read_text().splitlines():
        name, outcome, pins = line.split("\t")
        if name in found:
            sys.exit(f"{path}: {name} is there twice")
        found[name] = (outcome, pins)
    return found


def kind(outcome):
    """What must be the same: of a test that fails, that it does; of one that is skipped, also why."""
    return outcome.split(":")[0] if outcome.startswith("failed") else outcome


def count(name, tests):
    kinds = Counter(outcome.split(":")[0] for outcome, _ in tests.values())
    said = ", ".join(f"{n} {k}" for k, n in sorted(kinds.items(), key=lambda e: -e[1]))
    print(f"  {name}: {len(tests)} tests: {said}")


def main():
    direct, through = outcomes(sys.argv[1]), outcomes(sys.argv[2])
    expected = {}
    for line in Path(sys.argv[3]).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, reason = line.split(None, 1)
            expected[name] = reason
    count("directly", direct)
    count("through Tenantry", through)
    for name, (outcome, _) in direct.items():
        if not outcome.startswith(("ok", "skipped")):
            print(f"  fails directly: {name}: {outcome}")
    absent = ("not run", "")
    differing = {
        name: (direct.get(name, absent)[0], through.get(name, absent)[0])
        for name in {**direct, **through}
        if kind(direct.get(name, absent)[0]) != kind(through.get(name, absent)[0])
    }
    pins = Counter(reason for _, pinned in through.values() for reason in pinned.split(", ") if reason)
    pinned = sum(1 for _, pins in through.values() if pins)
    said = ", ".join(f"{reason} {n}" for reason, n in pins.most_common())
    print(f"  tests that pinned a session: {pinned} ({said})")
    same = len({**direct, **through}) - len(differing)
    print(f"  same outcome: {same}; differ: {len(differing)}, of which expected: {len(differing.keys() & expected.keys())}")
    wrong = False
    for name, (was, is_now) in differing.items():
        if name not in expected:
            wrong = True
            print(f"  DIFFERS {name}\n    directly: {was}\n    through:  {is_now}")
    for name, reason in expected.items():
        known = name in direct or name in through
        if name not in differing and not (known and reason.startswith("at times:")):
            wrong = True
            print(f"  EXPECTED TO DIFFER, BUT DOES NOT: {name}")
    sys.exit(1 if wrong else 0)


main()
