"""Replay of 200,000 rows to one reader: complete, and how fast.

Three times: to the SDK's `subscribe(since=...)`, which makes an object of each event and evaluates its predicate; to a raw socket
that asks as the SDK does, which is what the daemon gives; and to one with plain protocol 1, as clients of 0.2 ask. The log is
filled before the daemon starts. 0.2 ends a replay after 500 rows without a word; what it delivered is said.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Budget, Sample, Wanted
from bench.rows import Row, Scale
from bench.sides import Home, Side

CHUNK = 10_000
PLAIN: dict[str, Any] = {"proto": 1}
LEAN: dict[str, Any] = {"proto": 1, "ext": {"lean": True}}
PATIENCE = 3


def measure(side: Side, scale: Scale) -> Sample:
    with side.home() as home:
        producer = home.worker("producer")
        since = producer.ask(do="hello", name="first")["event_id"]
        spent = 0
        for first in range(0, scale.rows, CHUNK):
            done = producer.ask(do="batch", tag="old", count=min(CHUNK, scale.rows - first), first=first)
            spent += done["end"] - done["start"]
        home.daemon()
        sample = {
            "batch_rate": scale.rows / spent * 1e9,
            **_sdk(home, scale, since),
            **_raw(home, scale, since, PLAIN, "raw"),
        }
        return sample if side.old else {**sample, **_raw(home, scale, since, LEAN, "lean")}


def _sdk(home: Home, scale: Scale, since: str) -> Sample:
    reader = home.worker("replay", since, str(scale.rows), str(PATIENCE))
    got = reader.ask(go=True)
    sample = {"sdk_seen": got["seen"], "sdk_lost": scale.rows - got["seen"], "sdk_disorder": int(not got["ordered"])}
    if got["seen"] == scale.rows:
        sample["sdk_rate"] = got["seen"] / (got["last"] - got["start"]) * 1e9
    return sample


def _raw(home: Home, scale: Scale, since: str, frame: dict[str, Any], key: str) -> Sample:
    sink = home.worker("sinks", os.fspath(home.socket), json.dumps({**frame, "since": since}), "1")
    start = time.monotonic_ns()
    got = sink.ask(events=scale.rows, patience=PATIENCE, first="old")
    sample = {f"{key}_seen": got["delivered"], f"{key}_lost": scale.rows - got["delivered"]}
    if got["complete"]:
        sample[f"{key}_rate"] = got["delivered"] / (got["last"] - start) * 1e9
    return sample


def notes(rounds: Sequence[Mapping[str, Sample]]) -> list[str]:
    theirs = rounds[0].get("0.2.0", {})
    if theirs.get("sdk_lost") or theirs.get("raw_lost"):
        return [
            f"0.2 did not finish: {theirs['sdk_seen']:.0f} rows by its SDK, {theirs['raw_seen']:.0f} by a raw socket."
        ]
    return []


REPLAY = Row(
    "replay",
    "replay of 200,000 rows",
    measure,
    (
        Wanted("sdk_seen", "rows that came, SDK reader", "rows"),
        Wanted("sdk_rate", "replay of 200,000 rows to one SDK reader", "rows/s", Budget(least=50_000, absolute=True)),
        Wanted(
            "lean_rate",
            "the same to one raw socket that asks as the SDK does",
            "rows/s",
            Budget(least=50_000, absolute=True),
        ),
        Wanted("raw_rate", "the same to one raw socket, plain protocol 1", "rows/s"),
        Wanted("batch_rate", "emit_batch of 10,000", "rows/s"),
    ),
    losses=("sdk_lost", "sdk_disorder", "raw_lost", "lean_lost"),
    rounds=3,
    notes=notes,
)
