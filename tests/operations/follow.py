"""Follows docs/operations.md from top to bottom.

Every block marked `sh` runs, in order, in one shell, on a machine of its own making: what the page
puts into /etc, /usr and /run goes into a temporary folder, ports are free ones, and the few commands
that change the machine (systemctl, journalctl, useradd, chgrp, pg_ctlcluster, install's owners) are small stand-ins
below, of which systemctl runs the real unit file's command and waits for its READY=1.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "operations.md"
SHIMS = pathlib.Path(__file__).resolve().parent / "shims"

# What a block's output must hold, by a command of the block.
EXPECTED = {
    "select current_database()": ["tenant_acme"],
    "/health/live": ["ok"],
    "^tenantry_transactions_total": ["tenantry_transactions_total{tenant=\"acme\"}"],
    "'SHOW NODES'": ["acme", "max_connections"],
    "journalctl": ["serving", "login"],
    "pg_sleep(3)": ["waiting"],
    "new-app-secret": ["1 row"],
    "'SHOW REPLICAS'": ["main", "sv_idle"],
    "pg_ctlcluster": ["PAUSE", "|primary|", "RESUME", "CREATE TABLE"],
}


def blocks():
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def moved(text, root, ports):
    """The same, on the machine below `root`."""
    for path in ("/etc/tenantry", "/etc/systemd/system", "/usr/share/doc/tenantry", "/run/tenantry"):
        text = text.replace(path, f"{root}{path}")
    text = re.sub(r"(?<![\w/.])/usr/bin/tenantry", f"{root}/usr/bin/tenantry", text)
    text = text.replace("target/release/tenantry", os.environ["TENANTRY_BINARY"])
    for usual, free in ports.items():
        text = re.sub(rf"\b{usual}\b", str(free), text)
    return text


def script(root, ports):
    lines = ["set -euo pipefail"]
    for number, block in enumerate(blocks()):
        lines.append(f"echo '=== block {number}'")
        lines.append(moved(block, root, ports))
    return "\n".join(lines)


def check(output):
    parts = re.split(r"^=== block \d+\n", output, flags=re.M)[1:]
    assert len(parts) == len(blocks()), "not every block was run"
    for command, wanted in EXPECTED.items():
        found = [said for block, said in zip(blocks(), parts) if command in block]
        assert found, f"no block has {command!r} any more"
        for word in wanted:
            assert word in found[0], f"{command!r} did not say {word!r} but:\n{found[0]}"


def main():
    root = tempfile.mkdtemp(prefix="tenantry-operations-")
    for folder in ("etc/systemd/system", "usr/bin", "usr/share/doc", "run/tenantry"):
        os.makedirs(f"{root}/{folder}")
    own = free_ports(2)
    ports = {6432: own[0], 9432: own[1], 5432: int(os.environ["SERVER_PORT"]), 5433: int(os.environ["STANDBY_PORT"])}
    environment = {
        **os.environ,
        "PATH": f"{SHIMS}:{root}/usr/bin:{os.environ['PATH']}",
        "MACHINE": root,
        "PGCONNECT_TIMEOUT": "20",
    }
    run = subprocess.run(
        ["bash", "-c", script(root, ports)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    try:
        assert run.returncode == 0, f"exit code {run.returncode}"
        check(run.stdout)
        left = list(pathlib.Path(root, "run").glob("*.pid"))
        assert not left, f"still running at the end: {left}"
    except AssertionError as wrong:
        print(run.stdout)
        for journal in pathlib.Path(root, "run").glob("*.journal"):
            print(f"--- {journal.name}\n{journal.read_text()}")
        subprocess.run([str(SHIMS / "systemctl"), "kill-all"], env=environment, check=False)
        sys.exit(f"operations: {wrong}")
    shutil.rmtree(root)
    print(f"operations: {len(blocks())} blocks of docs/operations.md, each as it says")


main()
