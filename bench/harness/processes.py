"""Processes of a benchmark: what is started here is stopped here, whatever happens.

A `Session` owns a temporary directory and every process; leaving it stops the processes, newest
first, and removes the directory. A signal during the clean-up does not interrupt it.
"""
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_CLIENTS = 8000  # of one proxy
SPARE_DESCRIPTORS = 500  # for everything but clients


def raise_descriptor_limit(wanted) -> int:
    """Raises our limit, and that of what we start, as far as may be; the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    for limit in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            return limit[0]
        except (ValueError, OSError):
            continue  # only root may raise the hard limit
    return soft


class BenchError(Exception):
    """Something that the user should read as one sentence, not as a traceback."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment() -> dict:
    """Our environment without libpq's variables, so that the user's settings change nothing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return dict(kept, LC_ALL="C")


class Daemon:
    """A process in a session of its own, so that Ctrl-C reaches only us and we stop it in order."""

    def __init__(self, command, cwd, env=None, user=None):
        self.name = Path(command[0]).name
        self.log = Path(tempfile.mkstemp(prefix=f"{self.name}-", suffix=".log", dir=cwd)[1])
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=env or clean_environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **as_user(user))
        self.pid = self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        """What it has printed so far, both streams."""
        return self.log.read_text(errors="replace")

    def tail(self, lines=5) -> str:
        """Its last words, for an error message."""
        return "\n".join(self.output().strip().splitlines()[-lines:])

    def stop(self, how=signal.SIGTERM, patience=10.0):
        """Asks it to end, and ends it with its children when it does not."""
        if self.running():
            self.process.send_signal(how)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def as_user(user) -> dict:
    """Arguments of Popen that run a process as `user`; none: as ourselves."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Session:
    """Owns the temporary directory and every process of one run."""

    def __init__(self):
        # PostgreSQL and PgBouncer refuse to run as root.
        self.server_user = "postgres" if os.geteuid() == 0 else None
        limit = raise_descriptor_limit(MOST_CLIENTS + SPARE_DESCRIPTORS)
        self.max_clients = min(MOST_CLIENTS, limit - SPARE_DESCRIPTORS)
        self.daemons = []
        self.dir = None
        self._starting = False
        self._interrupted = None

    def __enter__(self):
        if self.server_user:
            try:
                pwd.getpwnam(self.server_user)
            except KeyError:
                raise BenchError("run as root, this needs the system user postgres "
                                 "(PostgreSQL refuses root); or run it as another user") from None
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        self.dir = Path(tempfile.mkdtemp(prefix="tenantry-bench-"))
        self.dir.chmod(0o755)
        return self

    def __exit__(self, *_):
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for daemon, how in reversed(self.daemons):
            daemon.stop(how)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _on_signal(self, number, _frame):
        # Between fork and `daemons.append` an exception would lose the process.
        if self._starting:
            self._interrupted = number
        else:
            raise KeyboardInterrupt(signal.Signals(number).name)

    def directory(self, name) -> Path:
        """A new directory that the server user may write to."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.dir))
        if self.server_user:
            shutil.chown(path, self.server_user)
        return path

    def start(self, command, cwd, env=None, user=None, how=signal.SIGTERM) -> Daemon:
        """Starts a process that ends with the session at the latest, by the signal `how`."""
        self._starting = True
        try:
            daemon = Daemon([str(part) for part in command], cwd, env, user)
            self.daemons.append((daemon, how))
        finally:
            self._starting = False
        if self._interrupted:
            self._on_signal(self._interrupted, None)
        return daemon

    def stop(self, daemon):
        """Ends a process before the session does."""
        for entry in [e for e in self.daemons if e[0] is daemon]:
            daemon.stop(entry[1])
            self.daemons.remove(entry)

    def run(self, command, cwd=None, user=None, timeout=120) -> str:
        """Runs a command to its end; its output, or BenchError."""
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd or self.dir, env=clean_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=timeout, check=False, **as_user(user))
        if done.returncode:
            raise BenchError(f"{Path(command[0]).name} failed: {done.stdout.strip()[-400:]}")
        return done.stdout


def wait_until(true, seconds, what, daemon=None):
    """Polls `true` until it is; BenchError when `daemon` ends or time is up."""
    end = time.monotonic() + seconds
    while not true():
        if daemon is not None and not daemon.running():
            raise BenchError(f"{daemon.name} ended early: {daemon.tail()}")
        if time.monotonic() > end:
            raise BenchError(f"gave up after {seconds} s waiting for {what}"
                             + (f": {daemon.tail()}" if daemon else ""))
        time.sleep(0.02)


def tree(root) -> list:
    """The process and all its descendants."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{entry}/stat").read_text(errors="replace")
        except OSError:
            continue
        parent = int(stat.rsplit(")", 1)[1].split()[1])
        children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(pids) -> float:
    """CPU time of the processes so far: the scheduler's own count, else clock ticks."""
    total = 0.0
    for pid in pids:
        try:
            threads = [f"/proc/{pid}/task/{t}" for t in os.listdir(f"/proc/{pid}/task")]
            total += sum(thread_cpu(thread) for thread in threads)
        except OSError:
            continue  # it ended meanwhile
    return total


def thread_cpu(thread) -> float:
    """CPU time of one thread in seconds."""
    try:
        with open(f"{thread}/schedstat") as schedstat:
            return int(schedstat.read().split()[0]) / 1e9
    except OSError:
        with open(f"{thread}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def pss_bytes(pids) -> int:
    """Proportional set size of the processes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


class CpuSampler:
    """Notes (wall clock, CPU seconds) of processes every 50 ms, while the `with` block runs."""

    def __init__(self, pids):
        self.pids = pids
        self.samples = []
        self.ended = None  # wall clock
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.ended = time.time()
        self._done.set()
        self._thread.join()

    def _sample(self):
        while self.pids and not self._done.wait(0.05):
            self.samples.append((time.time(), cpu_seconds(self.pids)))

    def between(self, start, end):
        """(wall seconds start, end, CPU seconds used between) of the samples inside; None if too few."""
        inside = [s for s in self.samples if start <= s[0] <= end]
        if len(inside) < 2:
            return None
        return inside[0][0], inside[-1][0], inside[-1][1] - inside[0][1]
