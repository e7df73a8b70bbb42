"""500,000 expired rows are pruned while four producers write 500 events/s each: `python -m bench.retention [ROWS]`.

One JSON object: what the slowest emit and the slowest wake took, how long the WAL grew, and what a reader is told whose place
was pruned. Budgets (docs/BENCHMARKS.md): no emit over 50 ms, no wake over 100 ms, the WAL under 64 MiB.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PRODUCERS, RATE = 4, 500
AGE = 40 * 86400
LEAST = 10
"""s of writing. With 0 rows this is what the machine does by itself: compare with it."""

PRODUCER = """
import json, sys, time
from waitbus.events import EventInsert
from waitbus.producer import emit
me, rate = sys.argv[1], float(sys.argv[2])
took, number, start = [], 0, time.monotonic()
print("ready", flush=True)
import os
stop = sys.argv[3]
while number % 100 or not os.path.exists(stop):
    due = start + number / rate
    while (left := due - time.monotonic()) > 0: time.sleep(left)
    event = EventInsert(source="bench", event_type="tick", fields={"t": time.monotonic_ns()}, summary="tick")
    began = time.perf_counter_ns()
    emit(event)
    took.append(time.perf_counter_ns() - began)
    number += 1
took.sort()
late = [one for one in took if one > 50e6]
print(json.dumps({"count": len(took), "p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100],
                  "p999": took[len(took) * 999 // 1000], "max": took[-1], "over": len(late)}))
"""

SUBSCRIBER = """
import json, sys, time, waitbus
took, stop = [], sys.argv[1]
import os
with waitbus.subscribe(source="bench") as events:
    print("ready", flush=True)
    for frame in events:
        took.append(time.monotonic_ns() - frame.fields["t"])
        if len(took) % 50 == 0 and os.path.exists(stop): break
took.sort()
print(json.dumps({"count": len(took), "p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "max": took[-1],
                  "over": sum(one > 100e6 for one in took)}))
"""


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    with tempfile.TemporaryDirectory(prefix="wbr-") as folder:
        os.environ.update(
            WAITBUS_STATE_DIR=f"{folder}/s", WAITBUS_RUNTIME_DIR=f"{folder}/r", WAITBUS_CONFIG_DIR=f"{folder}/c"
        )
        print(json.dumps(measure(Path(folder), rows), indent=2))


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """One run; times in ms, sizes in MiB."""
    from waitbus.paths import log_path
    from waitbus.store import Log

    fill(rows)
    with Log() as log:
        before = log.facts()
        stop, enough = folder / "stop", folder / "enough"
        producers = [start(PRODUCER, number, RATE, stop) for number in range(PRODUCERS)]
        daemon = subprocess.Popen([sys.executable, "-m", "waitbus", "serve"], stderr=subprocess.PIPE, text=True)
        until(lambda: os.path.exists(f"{folder}/r/broadcast.sock"))
        subscriber = start(SUBSCRIBER, enough)
        began, wal, pruned = time.monotonic(), 0, 0.0
        while log.facts().pruned_to < rows or time.monotonic() < began + LEAST:
            wal = max(wal, os.stat(f"{log_path()}-wal").st_size)
            time.sleep(0.02)
            if not pruned and log.facts().pruned_to >= rows:
                pruned = time.monotonic() - began
        enough.touch()
        woke = answer(subscriber)
        stop.touch()
        emitted = [answer(one) for one in producers]
        gap = told_of_a_gap(log.event_id(100, before.last_at_ms))
        daemon.send_signal(signal.SIGTERM)
        code = daemon.wait(30)
        after = log.facts()
    return {
        "rows": rows,
        "pruned_in_s": round(pruned, 1),
        "emit_ms": {name: round(max(one[name] for one in emitted) / 1e6, 2) for name in ("p50", "p99", "p999", "max")},
        "emits": sum(one["count"] for one in emitted),
        "emits_over_50_ms": sum(one["over"] for one in emitted),
        "wake_ms": {name: round(woke[name] / 1e6, 2) for name in ("p50", "p99", "max")},
        "wakes": woke["count"],
        "wakes_over_100_ms": woke["over"],
        "wal_mib": round(wal / 2**20, 1),
        "gap": gap,
        "first_and_last": [after.first, after.last],
        "daemon_exit": code,
        "load": os.getloadavg()[0],
    }


def fill(rows: int) -> None:
    """`rows` that expired ten days ago, in WAL-sized bites."""
    from waitbus.events import EventInsert
    from waitbus.store import Log

    at_ms = int((time.time() - AGE) * 1000)
    with Log() as log:
        for _ in range(0, rows, 10_000):
            batch = [
                EventInsert(source="bench", event_type="old", fields={"n": 1, "name": "build"}) for _ in range(10_000)
            ]
            log.write_events([(event, at_ms, None) for event in batch])


def start(code: str, *argv: object) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, argv)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = child.communicate(timeout=60)
    found: dict[str, Any] = json.loads(out)
    return found


def told_of_a_gap(cursor: str) -> str:
    """What somebody hears who comes with a place that was pruned."""
    argv = [
        sys.executable,
        "-m",
        "waitbus",
        "wait",
        "--source",
        "bench",
        "--since",
        cursor,
        "--timeout",
        "10s",
        "--json",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return next((line for line in done.stderr.splitlines() if "prune" in line or "gap" in line), done.stderr[-300:])


def until(probe: Any) -> None:
    deadline = time.monotonic() + 20
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


if __name__ == "__main__":
    main()
