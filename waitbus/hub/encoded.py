"""Pages of the log, encoded once for everybody who gets them, and the ring of the most recent ones."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from waitbus.document import Columns, Document
from waitbus.events import Row
from waitbus.hub.frames import event_id, event_lean, event_v1
from waitbus.store import PAGE_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waitbus.document import Path

RECENT_BYTES = 16 * 1024 * 1024
"""What the ring of recent pages may hold, rows as Python objects and their frames taken together."""

ROW_COST = 900
"""Bytes of a row in memory besides its `fields` and summary: the strings and numbers of the columns."""

PAGE_COST = 1000
"""Bytes of a page besides its rows: events that come one by one are pages of one."""

_seq = attrgetter("seq")
_PLACES = {name: place for place, name in enumerate(Row._fields)}


class _RowColumns(Columns):
    __slots__ = ("_row", "_tag")

    def __init__(self, row: Row, tag: int) -> None:
        self._row = row
        self._tag = tag

    def get(self, key: str, default: Any = None) -> Any:
        place = _PLACES.get(key)
        if place is not None:
            return self._row[place]
        if key == "event_id":
            return event_id(self._row, self._tag)
        return "event" if key == "kind" else default


class _Prefiltered(Document):
    """A row as the daemon's prefilter sees it: nobody here can be told of a doubt, so it is left to the client."""

    __slots__ = ("_row",)

    tells = False

    def __init__(self, row: Row, tag: int) -> None:
        super().__init__(_RowColumns(row, tag), row.fields)
        self._row = row

    def get(self, path: Path) -> Any:
        # What predicates ask for most, without a call for the columns and one for the column.
        place = _PLACES.get(path[1]) if path[0] == "column" else None
        return super().get(path) if place is None else self._row[place]


class EncodedPage:
    """Rows in the order of seq, never changed; frames, blobs and documents are made when first asked for, and then shared."""

    __slots__ = ("_blobs", "_documents", "_frames", "first", "last", "rows", "tag")

    def __init__(self, rows: list[Row], tag: int) -> None:
        self.rows = rows
        self.tag = tag
        self.first = rows[0].seq
        self.last = rows[-1].seq
        self._blobs: dict[bool, bytes] = {}
        self._frames: dict[tuple[int, bool], bytes] = {}
        self._documents: dict[int, Document] = {}

    def size(self) -> int:
        """Bytes in memory, with what was encoded up to now."""
        rows = sum([ROW_COST + len(row.fields) + len(row.summary) for row in self.rows])
        return PAGE_COST + rows + sum(map(len, self._blobs.values())) + sum(map(len, self._frames.values()))

    def blob(self, lean: bool, floor: int) -> bytes:
        """All frames with a seq above `floor`, joined."""
        if floor >= self.first:
            return self.join(range(self.begin(floor), len(self.rows)), lean)
        blob = self._blobs.get(lean)
        if blob is None:
            encode, tag = (event_lean if lean else event_v1), self.tag
            blob = self._blobs[lean] = b"".join([encode(row, tag) for row in self.rows])
        return blob

    def begin(self, floor: int) -> int:
        """The index of the first row with a seq above `floor`."""
        return 0 if floor < self.first else bisect_right(self.rows, floor, key=_seq)

    def join(self, indices: Sequence[int], lean: bool) -> bytes:
        """The frames of the rows at `indices`, joined."""
        if len(indices) == len(self.rows):
            return self.blob(lean, 0)
        return b"".join([self._frame(index, lean) for index in indices])

    def _frame(self, index: int, lean: bool) -> bytes:
        frame = self._frames.get((index, lean))
        if frame is None:
            frame = self._frames[index, lean] = (event_lean if lean else event_v1)(self.rows[index], self.tag)
        return frame

    def document(self, index: int) -> Document:
        """What predicates see of a row; its payload stays with the client."""
        document = self._documents.get(index)
        if document is None:
            document = self._documents[index] = _Prefiltered(self.rows[index], self.tag)
        return document


class Recent:
    """The last pages that were fanned out, without a hole between them: laggards read them instead of the log."""

    def __init__(self, head: int) -> None:
        self.clear(head)

    def clear(self, head: int) -> None:
        """Forget all, and begin behind `head`."""
        self._pages: deque[EncodedPage] = deque()
        self._lasts: deque[int] = deque()
        self._sizes: deque[int] = deque()
        self._start = head
        self._total = 0

    def append(self, page: EncodedPage) -> None:
        """Take a page that was fanned out: what its readers needed is encoded by now, and counted."""
        size = page.size()
        self._total += size
        self._pages.append(page)
        self._sizes.append(size)
        self._lasts.append(page.last)
        while self._total > RECENT_BYTES and len(self._pages) > 1:
            self._pages.popleft()
            self._total -= self._sizes.popleft()
            self._start = self._lasts.popleft()

    def after(self, floor: int) -> list[EncodedPage]:
        """Consecutive pages from the row behind `floor` on, at most a page of the log in all; none where only the log has it."""
        if floor < self._start:
            return []
        found: list[EncodedPage] = []
        rows = 0
        for page in islice(self._pages, bisect_right(self._lasts, floor), None):
            rows += len(page.rows)
            if found and rows > PAGE_ROWS:
                break
            found.append(page)
        return found
