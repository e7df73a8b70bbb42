"""A subscriber of the SDK: `for frame in subscribe(source="github")`, and when each event came.

It says `hello` for each event named `hello...` (so that the bench knows that it is armed: 0.2 has no other sign of it), keeps the
times of all others, and at `bye` saves them with their numbers, in the order they came.
"""

from __future__ import annotations

import importlib
import sys
import time
from array import array

from bench.workers.link import exact_timer, say


def main(out: str, since: str | None) -> None:
    exact_timer()
    clock = time.monotonic_ns
    numbers, times = array("q"), array("q")
    say(ready=True)
    for frame in importlib.import_module("waitbus").subscribe(source="github", since=since):
        now = clock()
        name = frame.delivery_id
        if name.startswith("hello"):
            say(hello=name)
        elif name == "bye":
            break
        else:
            numbers.append(int(name.rpartition("-")[2]))
            times.append(now)
    for suffix, values in ((".numbers", numbers), (".times", times)):
        with open(out + suffix, "wb") as file:
            values.tofile(file)
    say(done=len(times))
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
