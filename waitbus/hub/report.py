"""What the bus says of itself, as one control frame: who subscribes, to what, and how far each has been served."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from waitbus import __version__
from waitbus.events import log_id
from waitbus.wire import MAX_FRAME, _compact

if TYPE_CHECKING:
    from waitbus.hub.hub import Hub
    from waitbus.hub.subscriber import Subscriber


def report(hub: Hub, asking: Subscriber) -> dict[str, Any]:
    """The message behind the ack of a subscription with `ext.status`; the asking one is not counted. It fits a frame."""
    rows = [_row(hub, sub) for sub in hub.subscribers if sub is not asking]
    rows.sort(key=lambda row: row["since"])
    message = {
        "pid": os.getpid(),
        "version": __version__,
        "uptime_sec": int(time.monotonic() - hub.started),
        "how": hub.how,
        "log": {"path": os.fspath(hub.path), "log_id": log_id(hub.tag), "seq": hub.head},
        "subscriber_count": len(rows),
        "lagging_count": sum(row["lag"] > 0 for row in rows),
        "subscribers": rows,
        "kind": "daemon_status",
    }
    while len(_compact(message).encode()) > MAX_FRAME - 1024:
        del rows[len(rows) // 2 :]
    return message


def _row(hub: Hub, sub: Subscriber) -> dict[str, Any]:
    """`lag` is in events; `since` in ns since the epoch."""
    seq = max(hub.head, sub.floor) if sub.live else sub.floor
    asked = [", ".join(terms) for terms in sub.asked.match] if sub.asked.match is not None else list(sub.asked.filters)
    return {
        "pid": sub.pid,
        "predicate": " | ".join(asked)[:200],
        "seq": seq,
        "lag": max(0, hub.head - seq),
        "since": sub.since_ns,
    }
