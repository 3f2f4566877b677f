"""Memory of idle clients: proportional set size of a proxy per logged-in client that does nothing.

First some hundred clients log in and leave (one-off costs), then as many log in and stay (so that
no memory which those left is handed out again unseen), then the clients that count. The target is
a fresh process each time.
"""
import time
from concurrent.futures import ThreadPoolExecutor

from .client import Client, ClientError
from .processes import BenchError, pss_bytes
from .results import Measure

IDLE = Measure(
    "idle", "Proportional set size per idle client", ("transport", "clients"),
    (("bytes", "bytes/client after login", 0), ("used", "bytes/client after a query", 0)))
WARM = 300
LOGINS_AT_ONCE = 8
SETTLED = 16 * 1024  # bytes between two readings


class Idle:
    """Runs the memory measure."""

    def __init__(self, bench):
        self.bench, self.plan, self.results = bench, bench.plan, bench.results

    def run(self):
        """Plain and TLS, if the plan names it."""
        if IDLE.name not in self.plan.measures:
            return
        self.bench.say(IDLE.title)
        for clients, tls in ((self.plan.idle_clients, False), (self.plan.idle_tls_clients, True)):
            clients = self._affordable(clients)
            cell = ("TLS" if tls else "TCP", clients)
            for turn in range(self.plan.idle_rounds):
                for target in [t for t in self.bench.targets if t.is_proxy and t.is_timed]:
                    try:
                        self.results.add(IDLE, cell, target.name, turn, measure(target, clients, tls))
                    except (BenchError, ClientError, OSError) as error:
                        self.results.fail(IDLE, cell, target.name, error)
            self.bench.say_cell(IDLE, cell)

    def _affordable(self, clients):
        limit = self.bench.session.max_clients - WARM
        if clients > limit:
            self.results.note(f"idle: {limit} instead of {clients} clients: the limit of open files "
                              "(ulimit -Hn) allows no more")
        return min(clients, limit)


def measure(target, clients, tls) -> dict:
    """Bytes per client of a fresh process: after the login, and after one query each."""
    with target.started() as endpoint:
        close_all(log_in(endpoint, WARM, tls))
        held = log_in(endpoint, WARM, tls)
        try:
            before = settled_pss(endpoint)
            counted = log_in(endpoint, clients, tls)
            held += counted
            after = settled_pss(endpoint)
            in_parallel(lambda client: client.query("select 1"), counted)
            used = settled_pss(endpoint)
        finally:
            close_all(held)
    return {"bytes": (after - before) / clients, "used": (used - before) / clients}


def log_in(endpoint, count, tls) -> list:
    """Logs in so many clients, a few at a time."""
    return in_parallel(lambda _: Client(endpoint.port, tls=tls), range(count))


def in_parallel(do, items) -> list:
    with ThreadPoolExecutor(LOGINS_AT_ONCE) as pool:
        return list(pool.map(do, items))


def close_all(clients):
    for client in clients:
        client.close()


def settled_pss(endpoint) -> int:
    """The proportional set size once it has stopped moving (5 s at most)."""
    last = pss_bytes(endpoint.pids())
    for _ in range(10):
        time.sleep(0.5)
        now = pss_bytes(endpoint.pids())
        if abs(now - last) <= SETTLED:
            return now
        last = now
    return last
