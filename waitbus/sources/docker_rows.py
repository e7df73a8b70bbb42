"""What the log knows of containers already: up to where they were heard of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from waitbus.sources.docker_events import TIME_MAX
from waitbus.store import shared
from waitbus.store.rows import seq_before

if TYPE_CHECKING:
    import sqlite3

ROWS_MAX = 500_000
"""How many of the log's newest rows are looked at for one of ours."""


def last_heard(look_back_s: float) -> int | None:
    """The engine time, ns, of the newest row of a container, if there is one of the last `look_back_s` s.

    Raises:
      LogError, PathError: the log cannot be read.
    """
    oldest_ns = time.time_ns() - round(look_back_s * 10**9)

    def find(db: sqlite3.Connection) -> list[tuple[str]]:
        return db.execute(
            "SELECT delivery_id FROM events WHERE source = 'docker' AND seq > max(?, (SELECT max(seq) FROM events) - ?) "
            "ORDER BY seq DESC LIMIT 1",
            (seq_before(db, oldest_ns // 10**6), ROWS_MAX),
        ).fetchall()

    found = shared(reading=True).read(find)
    told = found[0][0].rpartition(":")[2] if found else ""
    at_ns = int(told) if told.isascii() and told.isdigit() and len(told) == 19 else 0
    return at_ns if oldest_ns <= at_ns <= TIME_MAX else None
