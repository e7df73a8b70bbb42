"""A producer of the soak: single events and batches in an open loop, and a ledger of what was committed.

A line of the ledger is written when the call has returned: it names the delivery id and, of single events, the seq.
"""

from __future__ import annotations

import random
import select
import sys
import time

from bench.workers.link import event, heard, say, sleep_until
from waitbus import emit, emit_batch

BATCH_SHARE = 0.05
BATCH = 40


def main(name: str, ledger: str, rate: float) -> None:
    say(ready=True)
    heard()
    chance = random.Random(name)
    start = time.monotonic_ns()
    slowest = written = number = 0
    with open(ledger, "w", encoding="ascii") as file:
        # Until the bench says another word.
        while not select.select([sys.stdin], [], [], 0)[0]:
            sleep_until(start + round(number * 1e9 / rate))
            before = time.monotonic_ns()
            written += produce(f"{name}-{number}", chance.random() < BATCH_SHARE, file.write)
            slowest = max(slowest, time.monotonic_ns() - before)
            number += 1
    say(calls=number, written=written, slowest_ms=slowest / 1e6)
    sys.stdin.readline()
    while word := heard().get("last"):
        say(event_id=emit(event(word)).event.event_id)


def produce(key: str, many: bool, note: object) -> int:
    """One call; answers how many events it wrote."""
    assert callable(note)
    if many:
        names = [f"{key}-{n}" for n in range(BATCH)]
        emit_batch([event(name) for name in names])
        note("".join(f"{name} 0\n" for name in names))
        return BATCH
    result = emit(event(key))
    note(f"{key} {result.event.seq}\n")
    return 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
