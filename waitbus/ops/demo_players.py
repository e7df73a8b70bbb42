"""The two who exchange messages in `waitbus demo`, each a process: `python -m waitbus.ops.demo_players receive|send ...`.

Both stamp by CLOCK_MONOTONIC, which is one clock for all processes of a machine: the sender just before `emit`, the receiver
as soon as it has the event in its hands.
"""

from __future__ import annotations

import json
import sys
import time

RECEIVER = "bob"
GAP = 0.004
"""s between two messages: each finds the receiver asleep, so each wakes it."""


def main(argv: list[str]) -> None:
    part, count = argv[0], int(argv[1])
    if part == "send":
        send(count, int(argv[2]))
    else:
        receive(count)


def send(count: int, first: int) -> None:
    """Send messages numbered from `first`, one every 4 ms by the clock, whatever emitting takes."""
    from waitbus import EventInsert, emit
    from waitbus.store import shared

    shared().head()  # opened before the first message, as in any program that has told something before
    begun = time.monotonic()
    for turn in range(count):
        time.sleep(max(0.0, begun + turn * GAP - time.monotonic()))
        fields = {"number": first + turn, "sent_ns": time.monotonic_ns()}
        message = EventInsert(
            source="agent",
            event_type="agent_message",
            msg_to=RECEIVER,
            msg_from="alice",
            msg_body="hello",
            fields=fields,
        )
        emit(message)


def receive(count: int) -> None:
    """Say `armed` and over what; then, when `count` messages have come, what came and how long each took (ns)."""
    from waitbus import subscribe

    numbers, took = [], []
    with subscribe(to=RECEIVER) as subscription:
        print("armed", subscription.session.transport, flush=True)
        for frame in subscription:
            took.append(time.monotonic_ns() - int(frame.fields["sent_ns"]))
            numbers.append(frame.fields["number"])
            if len(numbers) == count:
                break
    print(json.dumps({"numbers": numbers, "took_ns": took}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
