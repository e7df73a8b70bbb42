"""`python -m bench.timeline`: where the time of a wake goes, step by step, in three processes, at 100 Hz.

For each step of ours: when it begins behind the planned moment of the event, and how long it takes, both as medians. Steps lie
inside of each other (`emit` holds `append` and `ring`); what is not in any step is the kernel, trio, and Python in between.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench import machine
from bench.sides import Home, sides

PERIOD = 8_000_000
"""ns behind a planned moment that belong to its event; the next one is planned at 10 ms."""

Mark = tuple[str, int, int]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.timeline", description="Where the time of a wake goes.")
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="wt"))
    side = sides(root, None)[0]
    try:
        with side.home() as home:
            text = table(run(home, options.events))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    text = f"Load average {machine.load()[0]}.\n\n{text}"
    print(text, end="")
    if options.out:
        options.out.write_text(text)
    return 0


def run(home: Home, events: int) -> dict[str, list[Mark]]:
    """The marks of each of the three processes."""
    files = {role: home.place / f"{role}.json" for role in ("daemon", "subscriber", "producer")}
    workers = {}
    for role, file in files.items():
        workers[role] = home.worker("timed", role, os.fspath(file), str(events))
        if role == "daemon":
            home.until(home.answers, workers[role].process)
    workers["producer"].ask(go=True)
    workers["subscriber"].hear()
    home.stop(workers["daemon"].pid)
    return {role: json.loads(file.read_text()) for role, file in files.items()}


def table(marks: dict[str, list[Mark]]) -> str:
    """Markdown: the steps in the order in which they begin."""
    steps = [(begin, end, f"{role}: {name}") for role, found in marks.items() for name, begin, end in found]
    steps.sort()
    begins = [begin for begin, _, _ in steps]
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    moments = [begin for name, begin, _ in marks["producer"] if name == "planned"]
    warm = moments[len(moments) // 10 :]
    for moment in warm:
        times: Counter[str] = Counter()
        for begin, end, name in steps[bisect_left(begins, moment) : bisect_left(begins, moment + PERIOD)]:
            times[name] += 1
            if times[name] == 1:  # again is after the event: looking whether there is more
                seen[name].append(((begin - moment) / 1000, (end - begin) / 1000))
    lines = ["| step | begins at, µs | takes, µs |", "|---|--:|--:|"]
    rows = [(median(at for at, _ in found), median(took for _, took in found), name) for name, found in seen.items()]
    lines += [
        f"| {name} | {at:.0f} | {took:.0f} |" for at, took, name in sorted(rows) if len(seen[name]) > len(warm) / 2
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
