"""What laggards read behind the recent pages: once for all who come by, and never two reads at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from waitbus.events import EventInsert
from waitbus.hub import past
from waitbus.hub.past import Past
from waitbus.hub.patience import Episode
from waitbus.store import Log

ROWS, PAGE = 100, 16


@pytest.fixture
def path(home: Path) -> Iterator[Path]:
    path = home / "s" / "events.db"
    with Log(path) as log:
        log.append_many(EventInsert(source="t", event_type="tick") for _ in range(ROWS))
        yield path


class Reads:
    """The real read, counted."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.lock = threading.Lock()
        self.now = self.most = self.count = 0

    def __call__(self, floor: int, limit: int) -> Any:
        with self.lock:
            self.now, self.count = self.now + 1, self.count + 1
            self.most = max(self.most, self.now)
        try:
            return self.real(floor, limit)
        finally:
            with self.lock:
                self.now -= 1


async def read_all(behind: Past, floor: int) -> list[int]:
    seqs: list[int] = []
    while True:
        page, _, _ = await behind.after(floor)
        if page is None:
            return seqs
        seqs += [row.seq for row in page.rows]
        floor = page.last


async def test_a_page_is_read_once_for_all_who_come_by(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty laggards, from three places: the whole log each, with about the reads of one; one read at a time."""
    behind = Past(path, Episode(), PAGE)
    reads = Reads(behind._fetch)
    monkeypatch.setattr(behind, "_fetch", reads)
    got: dict[int, list[int]] = {}

    async def lag(number: int) -> None:
        got[number] = await read_all(behind, number % 3)

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(lag, number)
    assert got == {number: list(range(number % 3 + 1, ROWS + 1)) for number in range(30)}
    assert reads.most == 1
    pages = -(-ROWS // PAGE)
    # The last page is not kept (it will grow), so each reads that one, and the end of the log behind it.
    assert reads.count <= pages + 2 + 2 * 30
    behind.close()


async def test_few_pages_are_kept(path: Path) -> None:
    """Memory is bounded however far a laggard reads."""
    behind = Past(path, Episode(), 2)
    assert await read_all(behind, 0) == list(range(1, ROWS + 1))
    assert len(behind._kept) == past.KEPT
    behind.close()
