"""A reader of the past, through the SDK: `subscribe(since=...)`, until `count` events came or none for `patience` s."""

from __future__ import annotations

import importlib
import signal
import sys
import time
from typing import Any

from bench.workers.link import heard, say


class Enough(Exception):
    """Nothing more came."""


def main(since: str, count: int, patience: int) -> None:
    subscribe: Any = importlib.import_module("waitbus").subscribe
    say(ready=True)
    heard()

    def stop(*_: Any) -> None:
        raise Enough

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(patience)
    seen = 0
    ordered = True
    start = last = time.monotonic_ns()
    try:
        for frame in subscribe(source="github", since=since):
            if seen % 256 == 0:
                signal.alarm(patience)
                last = time.monotonic_ns()
            ordered = ordered and frame.delivery_id == f"old-{seen}"
            seen += 1
            if seen == count:
                last = time.monotonic_ns()
                break
    except Enough:
        pass
    signal.alarm(0)
    say(seen=seen, ordered=ordered, start=start, last=last)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
