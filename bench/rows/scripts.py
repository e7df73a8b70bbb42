"""Two measurements that are programs of their own, of ours alone: `bench.waiters` and `bench.retention`. Their docstrings say
what they do; here they run in a home as everything else does, and stand in the same table."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from bench.figures import Budget, Sample, Wanted
from bench.rows import Row, Scale
from bench.sides import Broken, Side

PATIENCE = 600.0


def _run(side: Side, name: str, *args: str) -> dict[str, Any]:
    with side.home() as home:
        done = subprocess.run(
            [side.python, "-m", f"bench.{name}", *args],
            env=home.env | {"PYTHONPATH": os.fspath(home.place / "path"), "TMPDIR": os.fspath(home.place)},
            cwd=home.place, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Broken(f"bench.{name} gave {done.returncode}: {done.stderr.strip()[-400:]}") from None
    return found


def waiters(side: Side, scale: Scale) -> Sample:
    if side.old:
        return {}
    found = _run(side, "waiters", "--subscriptions", str(scale.waiters), "--events", str(min(500, scale.waiters)))
    return {
        "memory": found["memory_bytes"] / 1e6,
        "superfluous": abs(found["frames"] - found["events"]),
        "wake_p50": found["wake_p50_ms"],
        "wake_p99": found["wake_p99_ms"],
    }


def retention(side: Side, scale: Scale) -> Sample:
    if side.old:
        return {}
    found = _run(side, "retention", str(scale.expired))
    return {
        "emit_max": found["emit_ms"]["max"],
        "emit_p99": found["emit_ms"]["p99"],
        "wake_max": found["wake_ms"]["max"],
        "wal": found["wal_mib"],
    }


WAITERS = Row(
    "waiters",
    "10,000 SDK subscriptions with distinct terms",
    waiters,
    (
        Wanted("memory", "daemon with 10,000 SDK subscriptions: RSS", "MB", Budget(most=400, absolute=True)),
        Wanted("superfluous", "frames more or less than the one that is wanted", "", Budget(most=0, absolute=True)),
        Wanted("wake_p50", "wake of the one who waits, p50", "ms"),
        Wanted("wake_p99", "the same, p99", "ms", Budget(most=5, absolute=True)),
    ),
    losses=("superfluous",),
    rounds=3,
)

RETENTION = Row(
    "retention",
    "500,000 expired rows pruned while 4 producers write 500/s each",
    retention,
    (
        Wanted("emit_max", "slowest emit while 500,000 rows are pruned", "ms", Budget(most=50, absolute=True)),
        Wanted("emit_p99", "emit, p99", "ms"),
        Wanted("wake_max", "slowest wake", "ms", Budget(most=100, absolute=True)),
        Wanted("wal", "longest WAL", "MiB", Budget(most=64, absolute=True)),
    ),
    rounds=1,
)
