"""Checkpoints, off the producers' path: the daemon moves pages from the WAL into the file, in a thread."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from waitbus.store import schema
from waitbus.store.failures import translated

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 1500
"""Rows after which it is worth it: about 6 MiB of WAL."""

RESTART_BYTES = schema.WAL_LIMIT
"""Where writers never pause, a PASSIVE checkpoint is never complete and the WAL never begins anew. Beyond this, the write lock
is taken for the little that came during the second one: 2 ms. Whoever writes first into a WAL that begins anew waits for an
fsync besides, 30 ms now and then: so it is long, and keeps its length."""

LONG_WAL = RESTART_BYTES + 2 * 1024 * 1024
"""Bytes after which it is worth it however few the rows were: they had large payloads."""


def is_due(path: Path, rows: int) -> bool:
    """Whether a checkpoint is worth it, `rows` after the last one. The file shrinks below `LONG_WAL` when it begins anew."""
    if rows >= ROWS:
        return True
    try:
        return os.stat(f"{path}-wal").st_size > LONG_WAL
    except OSError:
        return False


def checkpoint(path: Path) -> int:
    """Move what can be moved, without making anybody wait for a reader; returns the WAL's length in bytes.

    Raises:
      LogError: the log cannot be used.
    """
    with translated(path), contextlib.closing(schema.connect(path)) as db:
        _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0]
        size = int(pages) * int(db.execute("PRAGMA page_size").fetchall()[0][0])
        if size > RESTART_BYTES:
            _restart(db)
        return size


def _restart(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    # Without a busy time-out: with the write lock in hand, waiting for a reader would be waiting for everybody.
    db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
