"""Checkpoints, off the producers' path: the daemon moves pages from the WAL into the file, in a thread."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from waitbus.store import schema
from waitbus.store.failures import translated

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 250
"""Rows after which it is worth it: about 500 pages."""

RESTART_BYTES = 8 * 1024 * 1024
"""Where writers never pause, a PASSIVE checkpoint is never complete and the WAL never begins anew. Beyond this, the write lock
is taken for the little that is left."""


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
    # Without a busy time-out: with the write lock in hand, waiting for a reader would be waiting for everybody.
    db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
