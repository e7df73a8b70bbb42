"""emit() to a waiting subscriber, open loop at 100 Hz, and what the call itself costs.

The producer has a plan of moments and sleeps until each; the latency of an event counts from its planned moment, so that a call
that takes long makes the next ones late instead of fewer. Producer, daemon and subscriber are three processes; the subscriber
is the SDK's `for frame in subscribe(...)`. At 100 Hz caches and CPUs are cold between two events, which is how events come;
the loop without a pause, row `throughput`, shows the other end. The floor is a bare socket pair between two Python processes
under the same plan.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from bench.figures import Budget, Sample, Wanted
from bench.latencies import load, quantiles
from bench.rows import Row, Scale
from bench.sides import Broken, Home, Side, Worker


def armed_subscriber(home: Home, producer: Worker, out: Path) -> Worker:
    """A subscriber that has seen an event: the only sign of being armed that both programs give."""
    subscriber = home.worker("subscriber", os.fspath(out))
    for attempt in range(200):
        producer.ask(do="hello", name=f"hello-{attempt}")
        try:
            subscriber.hear(within=0.1)
        except Broken:
            if subscriber.process.poll() is not None:
                raise
            continue
        break
    last = producer.ask(do="hello", name="hello-last")
    while subscriber.hear().get("hello") != "hello-last":
        pass
    assert last
    return subscriber


def measure(side: Side, scale: Scale) -> Sample:
    with side.home() as home:
        home.daemon()
        return _measure(home, scale)


def without_daemon(side: Side, scale: Scale) -> Sample:
    """The same where no daemon runs. 0.2 cannot."""
    if side.old:
        return {}
    with side.home() as home:
        return _measure(home, scale)


def _measure(home: Home, scale: Scale) -> Sample:
    out = home.place / "out"
    producer = home.worker("producer")
    subscriber = armed_subscriber(home, producer, out)
    total = scale.warm_up + scale.paced
    producer.ask(do="paced", tag="p", rate=scale.rate, count=total, out=os.fspath(out), within=total / scale.rate + 60)
    producer.ask(do="hello", name="bye")
    received = subscriber.hear()["done"]
    intended, calls = load(out.with_suffix(".intended")), load(out.with_suffix(".calls"))
    numbers, times = load(out.with_suffix(".numbers")), load(out.with_suffix(".times"))
    latencies = [at - intended[n] for n, at in zip(numbers, times, strict=True) if n >= scale.warm_up]
    return {
        **quantiles(latencies, "wake"),
        **quantiles(calls[scale.warm_up :], "emit"),
        "lost": total - len(set(numbers)),
        "doubled": received - len(set(numbers)),
        "disorder": int(list(numbers) != sorted(numbers)),
    }


def floor(scale: Scale, root: Path) -> Sample:
    """A socket pair, two Python processes, the same plan."""
    total = scale.warm_up + scale.paced
    out = root / "pair"
    here, there = socket.socketpair()
    try:
        workers = [_end(role, end, scale.rate, total, out) for role, end in (("receive", there), ("send", here))]
        for worker in workers:
            worker.hear()
        for worker in workers:
            worker.tell(go=True)
        for worker in workers:
            worker.hear(total / scale.rate + 60)
            worker.process.communicate()
    finally:
        here.close()
        there.close()
    return quantiles(load(out.with_suffix(".floor"))[scale.warm_up :], "wake")


def _end(role: str, end: socket.socket, rate: float, count: int, out: Path) -> Worker:
    args = [sys.executable, "-m", "bench.workers.floor", role, str(end.fileno()), str(rate), str(count), os.fspath(out)]
    return Worker(
        subprocess.Popen(
            args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[end.fileno()], cwd=Path(__file__).parents[2]
        )
    )


WAKE = Row(
    "wake",
    "emit() to a waiting subscriber, 100 Hz",
    measure,
    (
        Wanted("wake_p50", "emit() to a waiting subscriber, p50, 100 Hz", "ms", Budget(most=1 / 5, aim=1 / 8)),
        Wanted("wake_p99", "the same, p99", "ms", Budget(most=1 / 3, aim=1 / 5)),
        Wanted("wake_max", "the same, slowest", "ms"),
        Wanted("emit_p50", "the call emit(EventInsert(...)), p50, 100 Hz", "ms", Budget(most=1 / 6, aim=1 / 20)),
        Wanted("emit_p99", "the same, p99", "ms"),
    ),
    floor=floor,
    losses=("lost", "doubled", "disorder"),
)

WAKE_LOG = Row(
    "wake-log",
    "the same where no daemon runs",
    without_daemon,
    (
        Wanted("wake_p50", "no daemon: emit() to a waiting subscriber, p50, 100 Hz", "ms"),
        Wanted("wake_p99", "the same, p99", "ms"),
        Wanted("emit_p50", "the call emit(EventInsert(...)), p50, 100 Hz", "ms"),
    ),
    losses=("lost", "doubled", "disorder"),
)
