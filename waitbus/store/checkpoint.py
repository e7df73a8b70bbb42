"""Checkpoints, off the producers' path: the daemon moves pages from the WAL into the file, in a thread."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from waitbus.errors import LogBusy
from waitbus.store.log import Log

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 250
"""Rows after which it is worth it: about 500 pages."""

RESTART_PAGES = 4000
"""Where writers never pause, a PASSIVE checkpoint is never complete and the WAL never begins anew. Above this many pages the
write lock is taken for the little that is left."""


def checkpoint(path: Path) -> int:
    """Move what can be moved; returns the WAL's length in pages."""
    log = Log(path, busy_timeout=0.05)
    try:
        _, pages, done = log.use(lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())[0]
        if pages > RESTART_PAGES or 0 < pages == done > RESTART_PAGES // 4:
            with contextlib.suppress(LogBusy):
                log.use(lambda db: db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall())
        return int(pages)
    finally:
        log.close()
