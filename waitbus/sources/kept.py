"""Rows of somebody who may not be held up: what a locked log does not take at once is kept, and written with what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waitbus.errors import LogBusy
from waitbus.producer import emit_all
from waitbus.store import shared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waitbus.events import EventInsert

HASTE = 0.1
"""s of patience where something else waits for us: most writers hold the lock for less than a millisecond."""
AGAIN = 1.0
"""s between two attempts while nothing else happens."""
ROWS_MAX = 50_000
"""Of a log that is locked for long, the newest rows are kept."""


class Kept:
    """The rows that are still to be written, in their order."""

    def __init__(self) -> None:
        self._rows: list[EventInsert] = []

    def __len__(self) -> int:
        return len(self._rows)

    def write(self, rows: Iterable[EventInsert] = (), *, patience: float = HASTE) -> None:
        """Write them, behind those that are kept, all or none. What a locked log does not take within `patience` s stays kept.

        Raises:
          LogBusy: it is locked; the rows are kept.
          LogError, PathError: it cannot be written; the rows are lost.
        """
        self._rows += rows
        if not self._rows:
            return
        del self._rows[:-ROWS_MAX]
        shared().busy_timeout = patience
        try:
            emit_all(self._rows)
        except LogBusy:
            raise
        except BaseException:
            self._rows.clear()
            raise
        self._rows.clear()
