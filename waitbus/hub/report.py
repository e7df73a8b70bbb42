"""What the bus says of itself, as one control frame: who subscribes, to what, how far each is served; how its sources are."""

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
"""Bytes for the rows of sources and subscribers."""

ROOM_FOR_SOURCES = ROOM // 4
"""Bytes of them that the sources may take."""

PREDICATE_MAX = 200
REASON_MAX = 200
SCOPE_MAX, SCOPES = 200, 8
"""Characters of one thing that a source listens to; how many of them."""


def report(hub: Hub) -> bytes:
    """The frame behind the ack of a subscription with `ext.status`. Those who ask for it wait for nothing, and are not counted:
    neither the one who asks, nor one whose hang-up is still to be noticed.

    It always fits: where there are too many subscribers for one frame it has the laggards and the oldest, and the count of all.
    """
    rows = [_row(hub, sub) for sub in hub.subscribers if not sub.asked.status]
    rows.sort(key=lambda row: (not row["lag"], row["since"]))
    sources = _fitting([_source(row) for row in hub.sources()], ROOM_FOR_SOURCES)
    message = {
        "pid": os.getpid(),
        "version": __version__,
        "uptime_sec": int(time.monotonic() - hub.started),
        "how": hub.how,
        "log": {"path": os.fspath(hub.path), "log_id": log_id(hub.tag), "seq": hub.head},
        "subscriber_count": len(rows),
        "lagging_count": sum(row["lag"] > 0 for row in rows),
        "sources": sources,
        "subscribers": _fitting(rows, ROOM - sum(len(wire.pack(row)) for row in sources)),
        "kind": "daemon_status",
    }
    return wire.pack(message)


def _fitting(rows: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    size = 0
    for number, row in enumerate(rows):
        size += len(wire.pack(row))
        if size > room:
            return rows[:number]
    return rows


def _source(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `hub.sources`, no longer than it needs to be."""
    scope = [one[:SCOPE_MAX] for one in row["scope"][:SCOPES]]
    return {**row, "reason": row["reason"][:REASON_MAX], "scope": scope}


def _row(hub: Hub, sub: Subscriber) -> dict[str, Any]:
    """`lag` is in events; `since` in ns since the epoch."""
    seq = hub.position(sub)
    return {
        "pid": sub.pid,
        "predicate": " | ".join(_asked(sub))[:PREDICATE_MAX],
        "seq": seq,
        "lag": max(0, hub.head - seq),
        "since": sub.since_ns,
    }


def _asked(sub: Subscriber) -> list[str]:
    """The alternatives; but for that by which a wait hears of its sources' health, which nobody asked for."""
    if sub.asked.match is None:
        return list(sub.asked.filters)
    asked = [terms for terms in sub.asked.match if not _is_aside(terms)]
    return [", ".join(terms) for terms in asked or sub.asked.match]


def _is_aside(terms: list[str] | tuple[str, ...]) -> bool:
    return wire.ASIDE.issubset(terms)
