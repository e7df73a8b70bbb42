"""Who waits for files: ours with the source inside of it, as `wait --source fs` has it; of 0.2 a subscriber, beside its watcher.

Says the name of each file called `hello...`, keeps when it heard of each other one, and at `bye` saves them.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.workers.link import exact_timer, say


def main(root: str, out: str, old: bool) -> None:
    exact_timer()
    times: dict[str, int] = {}

    def take(frame: Any) -> bool:
        now, name = time.monotonic_ns(), frame.fields["workflow_name"]
        if name.startswith("hello"):
            say(hello=name)
        elif name != "bye":
            times.setdefault(name, now)
        return bool(name == "bye")

    say(ready=True)
    if old:
        for frame in importlib.import_module("waitbus").subscribe(source="fs"):
            if take(frame):
                break
    else:
        ours(root, take)
    with open(out, "w") as file:
        json.dump(times, file)
    say(done=len(times))
    sys.stdin.readline()


def ours(root: str, take: Callable[[Any], bool]) -> None:
    import trio

    import waitbus
    from waitbus.sources.fs import FsSettings, FsSource
    from waitbus.sources.supervision import Supervised

    async def wait() -> None:
        async with trio.open_nursery() as nursery, waitbus.asubscribe(source="fs") as frames:
            await nursery.start(Supervised("fs", FsSource(FsSettings(roots=(root,))), tells=False).run)
            async for frame in frames:
                if take(frame):
                    break
            nursery.cancel_scope.cancel()

    trio.run(wait)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "old")
