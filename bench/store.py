"""What the log and the bells cost, each by itself: `python -m bench.store [ROUNDS]` prints one JSON object.

The parts are measured in turn, round by round, so that a machine that drifts drifts for all of them; of each the median of the
rounds' medians is told, in µs. `ring_200_dead` and `ring_nobody` are the 1,000 rings of 1,000 emits with 200 bells of killed
processes in the folder, and with none; their budget is a p99 under 1 ms.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

BATCH = 300


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory(prefix="wbs-") as folder:
        os.environ.update(
            WAITBUS_STATE_DIR=f"{folder}/s", WAITBUS_RUNTIME_DIR=f"{folder}/r", WAITBUS_CONFIG_DIR=f"{folder}/c"
        )
        found = measure(rounds)
        found["ring"] = {"nobody": rings(Path(folder, "b0"), 0), "200_dead": rings(Path(folder, "b200"), 200)}
        print(json.dumps({"unit": "us", **found, "load": os.getloadavg()[0]}, indent=2))


def measure(rounds: int) -> dict[str, Any]:
    """Each part's 10th percentile and median."""
    parts = _parts()
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, work in parts.items():
            took = sorted(_timed(work) for _ in range(BATCH))
            samples[name].append((took[BATCH // 10], took[BATCH // 2]))
    return {
        name: {"p10": round(median(low for low, _ in of), 2), "p50": round(median(mid for _, mid in of), 2)}
        for name, of in samples.items()
    }


def _parts() -> dict[str, Callable[[], object]]:
    from waitbus.events import EventInsert, make_event_id
    from waitbus.paths import log_path
    from waitbus.producer import emit
    from waitbus.store import shared

    def small() -> EventInsert:
        return EventInsert(
            source="agent", event_type="deploy_finished", fields={"a": 1, "name": "build"}, summary="hello"
        )

    ready: list[EventInsert] = []

    def made() -> EventInsert:
        return ready.pop()

    def stocked(work: Callable[[EventInsert], object]) -> Callable[[], object]:
        # An event made beside the clock, so that its making is not counted.
        def run() -> object:
            event = made()
            began = time.perf_counter_ns()
            work(event)
            return time.perf_counter_ns() - began

        def timed() -> object:
            ready.append(small())
            return run()

        timed.answers_ns = True  # type: ignore[attr-defined]
        return timed

    log = shared(log_path())
    log.append(small())
    return {
        "EventInsert": small,
        "EventInsert_without_summary": lambda: EventInsert(source="agent", event_type="x", fields={"a": 1}),
        "event_id": lambda: make_event_id(1_795_214_738_582, 123_456, 77_777),
        "append": stocked(log.append),
        "emit": stocked(emit),
        "page_of_256": lambda: log.page(0),
    }


def _timed(work: Callable[[], Any]) -> float:
    if getattr(work, "answers_ns", False):
        return float(work()) / 1000
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / 1000


def rings(folder: Path, dead: int) -> dict[str, float]:
    """1,000 rings in a folder where `dead` bells hang and nobody listens."""
    from waitbus.bell import ring

    folder.mkdir(mode=0o700)
    for _ in range(dead):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as owner:
            owner.bind(os.fspath(folder / os.urandom(8).hex()))
    took = sorted(_timed(lambda: ring(folder)) for _ in range(1000))
    return {"p50": took[500], "p99": took[990], "max": took[-1]}


if __name__ == "__main__":
    main()
