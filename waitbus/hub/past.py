"""The log behind the recent pages, for laggards: read in threads, one page at a time, each page once for all who come by."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import trio

from waitbus.hub.encoded import EncodedPage
from waitbus.hub.patience import UNREADABLE, Episode, Patience
from waitbus.store import PAGE_ROWS, Log

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.events import Row
    from waitbus.store import Facts

KEPT = 8
"""Pages that are kept for the next who comes from the same place: 1,000 waiters after a restart read them once."""


class Behind(NamedTuple):
    """What stood behind a floor in the file `identity`: a page (None: the log ended there), and up to which seq it was pruned."""

    page: EncodedPage | None
    pruned_to: int
    identity: tuple[int, int]


class Past:
    """Pages of the log at `path`. `page_rows` bounds them; tests make it small."""

    def __init__(self, path: Path, unreadable: Episode, page_rows: int = PAGE_ROWS) -> None:
        self._log = Log(path)
        self._unreadable = unreadable
        self._page_rows = page_rows
        self._kept: OrderedDict[int, Behind] = OrderedDict()
        # Readers that page without a pause between them would keep the WAL from being reset.
        self._alone = trio.CapacityLimiter(1)

    async def after(self, floor: int) -> Behind:
        """What stands behind `floor`; waits for as long as the log cannot be read."""
        patience = Patience(self._unreadable)
        while True:
            try:
                async with self._alone:
                    return self._kept.get(floor) or await self._read(floor)
            except UNREADABLE as error:
                await patience.wait(error)

    def clear(self) -> None:
        """Forget what was kept."""
        self._kept.clear()

    def close(self) -> None:
        self._log.close()

    async def _read(self, floor: int) -> Behind:
        # Ends at a multiple of the page's length, so that those who come from different places meet.
        limit = self._page_rows - floor % self._page_rows
        rows, more, facts, identity = await trio.to_thread.run_sync(self._fetch, floor, limit)
        behind = Behind(EncodedPage(rows, facts.tag) if rows else None, facts.pruned_to, identity)
        if more:
            self._kept[floor] = behind
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return behind

    def _fetch(self, floor: int, limit: int) -> tuple[list[Row], bool, Facts, tuple[int, int]]:
        while True:
            rows, more = self._log.page(floor, limit)
            identity = self._log.identity
            # The facts last: rows that were pruned before these were read are then known to be.
            facts = self._log.facts()
            if identity == self._log.identity:
                return rows, more, facts, identity
