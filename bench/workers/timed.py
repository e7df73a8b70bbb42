"""One of the three processes of a wake, with a stopwatch around the steps named in `STEPS`. For `bench.timeline`, ours only.

A stopwatch costs about 1 µs, and more where caches are cold; so the whole is some 5 % longer here than in the row `wake`.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
from typing import Any

from bench.workers.link import event, exact_timer, heard, say, sleep_until

STEPS = {
    "producer": (
        "waitbus.event_checks:fields",
        "waitbus.event_checks:payload",
        "waitbus.events:made_summary",
        "waitbus.producer:emit",
        "waitbus.producer:_log",
        "waitbus.store.rows:append",
        "waitbus.store.log:Log._is_current",
        "waitbus.producer:ring",
        "waitbus.bell:_ring_one",
    ),
    "daemon": (
        "waitbus.bell:Bell.drain",
        "waitbus.hub.hub:page_behind",
        "waitbus.store.log:Log._is_current",
        "waitbus.hub.hub:Hub._fan_out",
        "waitbus.hub.encoded:EncodedPage.document",
        "waitbus.predicate_index:Index.matching",
        "waitbus.hub.encoded:event_lean",
        "waitbus.hub.connection:_send_now",
    ),
    "subscriber": (
        "waitbus.client.subscription:poll",
        "waitbus.client.connection:Connection.receive",
        "waitbus.wire:decode",
        "waitbus.wire:frame_of_lean",
        "waitbus.client.feed:Feed._matches",
    ),
}
"""What is timed, as it is named where it is called."""

marks: list[tuple[str, int, int]] = []
"""(step, begin, end), ns of CLOCK_MONOTONIC."""


def watch(path: str) -> None:
    """Put a stopwatch around a function or a method."""
    module, _, qualified = path.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = qualified.split(".")
    for part in outer:
        owner = getattr(owner, part)
    timed = getattr(owner, name)
    clock, note = time.monotonic_ns, marks.append

    def stopwatch(*args: Any, **keywords: Any) -> Any:
        begin = clock()
        result = timed(*args, **keywords)
        note((qualified, begin, clock()))
        return result

    setattr(owner, name, stopwatch)


def main(role: str, out: str, count: int) -> None:
    exact_timer()
    for path in STEPS[role]:
        watch(path)
    try:
        {"producer": produce, "daemon": serve, "subscriber": subscribe}[role](count)
    finally:
        with open(out, "w", encoding="ascii") as file:
            json.dump(marks, file)
    if role != "daemon":
        say(done=True)
        heard()


def produce(count: int) -> None:
    from waitbus import producer

    say(ready=True)
    heard()
    start = time.monotonic_ns() + 50_000_000
    for number in range(count):
        moment = start + number * 10_000_000
        sleep_until(moment)
        begin = time.monotonic_ns()
        made = event(f"t-{number}")
        end = time.monotonic_ns()
        marks.extend([("planned", moment, begin), ("EventInsert", begin, end)])
        producer.emit(made)
    producer.emit(event("bye"))


def serve(_: int) -> None:
    import trio

    from waitbus import config, daemon

    settings = config.load()
    say(ready=True)
    trio.run(lambda: daemon.serve(settings, lambda: settings))


def subscribe(_: int) -> None:
    import waitbus

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with waitbus.subscribe(source="github") as frames:
        say(ready=True)
        for frame in frames:
            now = time.monotonic_ns()
            marks.append(("in hand", now, now))
            if frame.delivery_id == "bye":
                break


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
