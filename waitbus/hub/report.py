"""What the bus says of itself, as one control frame: who subscribes, to what, and how far each has been served."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from waitbus import __version__, wire
from waitbus.events import log_id

if TYPE_CHECKING:
    from waitbus.hub.hub import Hub
    from waitbus.hub.subscriber import Subscriber

ROOM = wire.MAX_FRAME - 2048
"""Bytes for the rows of subscribers."""

PREDICATE_MAX = 200


def report(hub: Hub) -> bytes:
    """The frame behind the ack of a subscription with `ext.status`. Those who ask for it wait for nothing, and are not counted:
    neither the one who asks, nor one whose hang-up is still to be noticed.

    It always fits: where there are too many subscribers for one frame it has the laggards and the oldest, and the count of all.
    """
    rows = [_row(hub, sub) for sub in hub.subscribers if not sub.asked.status]
    rows.sort(key=lambda row: (not row["lag"], row["since"]))
    message = {
        "pid": os.getpid(),
        "version": __version__,
        "uptime_sec": int(time.monotonic() - hub.started),
        "how": hub.how,
        "log": {"path": os.fspath(hub.path), "log_id": log_id(hub.tag), "seq": hub.head},
        "subscriber_count": len(rows),
        "lagging_count": sum(row["lag"] > 0 for row in rows),
        "subscribers": _fitting(rows),
        "kind": "daemon_status",
    }
    return wire.pack(message)


def _fitting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size = 0
    for number, row in enumerate(rows):
        size += len(wire.pack(row))
        if size > ROOM:
            return rows[:number]
    return rows


def _row(hub: Hub, sub: Subscriber) -> dict[str, Any]:
    """`lag` is in events; `since` in ns since the epoch."""
    asked = [", ".join(terms) for terms in sub.asked.match] if sub.asked.match is not None else list(sub.asked.filters)
    seq = hub.position(sub)
    return {
        "pid": sub.pid,
        "predicate": " | ".join(asked)[:PREDICATE_MAX],
        "seq": seq,
        "lag": max(0, hub.head - seq),
        "since": sub.since_ns,
    }
