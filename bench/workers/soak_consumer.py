"""A consumer of the soak: everything behind `since`, until the event named `end`; what came, in the order it came, is its ledger.

`face` is `sync`, `trio`, `asyncio`, or `bookmark` (which leaves after every few hundred events and comes back by its bookmark);
`transport` is `socket`, or `log`, which is given the path of a daemon that is not there.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, TextIO

import trio

import waitbus
from bench.workers.link import say

told: Counter[str] = Counter()
STAY = 300
"""Events after which the consumer with a bookmark leaves and comes back."""


def main(face: str, transport: str, since: str, ledger: str) -> None:
    asked: dict[str, Any] = {
        "source": "github",
        "since": since,
        "socket_path": None
        if transport == "socket"
        else os.path.join(os.environ["WAITBUS_RUNTIME_DIR"], "nobody.sock"),
        "told": lambda note: told.update([getattr(note, "kind", None) or f"gap:{note.reason}"]),
    }
    say(ready=True)
    with open(ledger, "w", encoding="ascii") as file:
        if face == "trio":
            trio.run(read, asked, file)
        elif face == "asyncio":
            asyncio.run(read(asked, file))
        else:
            for frame in bookmarked(asked) if face == "bookmark" else waitbus.subscribe(**asked):
                if keep(frame, file):
                    break
    say(done=True, told=dict(told))
    sys.stdin.readline()


def keep(frame: waitbus.EventFrame, file: TextIO) -> bool:
    """Write it down; whether it was the last."""
    file.write(f"{frame.delivery_id} {frame.seq}\n")
    return frame.delivery_id == "end"


async def read(asked: dict[str, Any], file: TextIO) -> None:
    async with waitbus.asubscribe(**asked) as events:
        async for frame in events:
            if keep(frame, file):
                return


def bookmarked(asked: dict[str, Any]) -> Iterator[waitbus.EventFrame]:
    begin = asked.pop("since")
    for turn in itertools.count():
        place = {"since": begin} if not turn else {}
        with waitbus.subscribe(**asked, **place, bookmark=f"soak-{os.getpid()}") as events:
            yield from itertools.islice(events, STAY)


if __name__ == "__main__":
    main(*sys.argv[1:5])
