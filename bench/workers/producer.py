"""A producer: says `ready`, then does what it is told until its stdin ends.

`hello`: one event. `paced`: an open loop, one event each 1/rate s whatever the one before took; the intended times and what each
call took are saved. `loop`: one after the other, as fast as it goes. `batch`: all of them with one call of `emit_batch`.
A call is `emit(EventInsert(...))`: who emits has to make an event.
"""

from __future__ import annotations

import importlib
import time
from array import array
from collections.abc import Callable
from typing import Any

from bench.workers.link import event, exact_timer, heard, save, say, sleep_until


def main() -> None:
    exact_timer()
    emit: Any = importlib.import_module("waitbus").emit
    work: dict[str, Callable[..., dict[str, Any]]] = {"hello": hello, "paced": paced, "loop": loop, "batch": batch}
    say(ready=True)
    while True:
        asked = heard()
        say(**work[asked.pop("do")](emit, **asked))


def hello(emit: Any, name: str) -> dict[str, Any]:
    return {"event_id": emit(event(name)).event.event_id}


def paced(emit: Any, *, tag: str, rate: float, count: int, out: str) -> dict[str, Any]:
    clock = time.monotonic_ns
    period = round(1e9 / rate)
    intended, calls = array("q"), array("q")
    start = clock() + 50_000_000
    for n in range(count):
        moment = start + n * period
        sleep_until(moment)
        before = clock()
        emit(event(f"{tag}-{n}"))
        calls.append(clock() - before)
        intended.append(moment)
    save(f"{out}.intended", intended)
    save(f"{out}.calls", calls)
    return {"done": count}


def loop(emit: Any, *, tag: str, count: int, out: str) -> dict[str, Any]:
    clock = time.monotonic_ns
    calls = array("q")
    start = before = clock()
    for n in range(count):
        emit(event(f"{tag}-{n}"))
        after = clock()
        calls.append(after - before)
        before = after
    save(f"{out}.calls", calls)
    return {"done": count, "start": start, "end": before}


def batch(emit: Any, *, tag: str, count: int, first: int = 0) -> dict[str, Any]:
    emit_batch: Any = importlib.import_module(emit.__module__).emit_batch
    # Made before the clock starts: how fast events are made is not what a burst asks.
    events = [event(f"{tag}-{n}") for n in range(first, first + count)]
    start = time.monotonic_ns()
    inserted = emit_batch(events)
    return {"done": inserted, "start": start, "end": time.monotonic_ns()}


if __name__ == "__main__":
    main()
