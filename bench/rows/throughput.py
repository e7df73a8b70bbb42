"""One producer in one thread, as fast as it goes, with the daemon and one SDK subscriber at work beside it.

Each event is one call of `emit`, committed and rung before the next. The count differs between the programs (a rate needs a
second or so of work, and theirs has fewer events in it); what arrives is counted.
"""

from __future__ import annotations

import os

from bench.figures import Budget, Sample, Wanted
from bench.latencies import load, quantiles
from bench.rows import Row, Scale
from bench.rows.wake import armed_subscriber
from bench.sides import Side


def measure(side: Side, scale: Scale) -> Sample:
    count = scale.loop_old if side.old else scale.loop
    with side.home() as home:
        home.daemon()
        out = home.place / "out"
        producer = home.worker("producer")
        subscriber = armed_subscriber(home, producer, out)
        producer.ask(do="loop", tag="w", count=count // 10, out=os.fspath(out))
        done = producer.ask(do="loop", tag="l", count=count, out=os.fspath(out))
        producer.ask(do="hello", name="bye")
        received = subscriber.hear()["done"]
        return {
            "rate": count / (done["end"] - done["start"]) * 1e9,
            **quantiles(load(out.with_suffix(".calls")), "call"),
            "lost": count + count // 10 - received,
        }


THROUGHPUT = Row(
    "throughput",
    "single producer, one thread",
    measure,
    (
        Wanted("rate", "single producer, one thread, one emit() each", "events/s", Budget(least=10, aim=20)),
        Wanted("call_p50", "the call in that loop, p50", "ms"),
        Wanted("call_p99", "the same, p99", "ms"),
        Wanted("call_max", "the same, slowest", "ms"),
    ),
    losses=("lost",),
)
