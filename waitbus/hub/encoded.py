"""Pages of the log, encoded once for everybody who gets them, and the ring of the most recent ones."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from waitbus import wire
from waitbus.document import Document
from waitbus.events import Row, make_event_id
from waitbus.store.log import PAGE_BYTES, PAGE_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable

RECENT_BYTES = 16 * 1024 * 1024
"""What the ring of recent pages may hold, in bytes of rows as they were read."""


class EncodedPage:
    """Rows in the order of seq; frames, blobs and documents are made when first asked for, and then shared."""

    def __init__(self, rows: list[Row], tag: int) -> None:
        self.rows = rows
        self.tag = tag
        self.last = rows[-1].seq
        self.size = sum(len(row.fields) + 400 for row in rows)
        self._frames: dict[bool, list[bytes | None]] = {}
        self._blobs: dict[bool, bytes] = {}
        self._documents: list[Document | None] = [None] * len(rows)

    def frame(self, index: int, lean: bool) -> bytes:
        frames = self._frames.setdefault(lean, [None] * len(self.rows))
        frame = frames[index]
        if frame is None:
            frame = frames[index] = (wire.event_lean if lean else wire.event_v1)(self.rows[index], self.tag)
        return frame

    def blob(self, lean: bool, floor: int) -> bytes:
        """All frames with a seq above `floor`, joined."""
        if floor >= self.rows[0].seq:
            return self.join((i for i, row in enumerate(self.rows) if row.seq > floor), lean)
        blob = self._blobs.get(lean)
        if blob is None:
            blob = self._blobs[lean] = self.join(range(len(self.rows)), lean)
        return blob

    def join(self, indices: Iterable[int], lean: bool) -> bytes:
        return b"".join([self.frame(index, lean) for index in indices])

    def absorb(self, other: EncodedPage) -> None:
        """Take over the rows that follow ours, with what was made of them."""
        for lean in self._frames.keys() | other._frames.keys():
            ours = self._frames.get(lean) or [None] * len(self.rows)
            self._frames[lean] = ours + (other._frames.get(lean) or [None] * len(other.rows))
        self._blobs.clear()
        self._documents += other._documents
        self.rows += other.rows
        self.last = other.last
        self.size += other.size

    def document(self, index: int) -> Document:
        """What predicates see of a row; its payload stays with the client."""
        document = self._documents[index]
        if document is None:
            row = self.rows[index]
            columns = row._asdict()
            columns["event_id"] = make_event_id(row.at_ms, self.tag, row.seq)
            columns["kind"] = "event"
            document = self._documents[index] = Document(columns, row.fields)
        return document


class Recent:
    """The last pages that were fanned out, without a hole between them: laggards read them instead of the log."""

    def __init__(self, head: int) -> None:
        self._pages: deque[EncodedPage] = deque()
        self._lasts: deque[int] = deque()
        self._start = head
        self._size = 0

    def append(self, page: EncodedPage) -> None:
        self._size += page.size
        # Events that came one by one are read as pages by those who come late.
        if self._pages and len(self._pages[-1].rows) + len(page.rows) <= PAGE_ROWS and self._pages[-1].size < PAGE_BYTES:
            self._pages[-1].absorb(page)
            self._lasts[-1] = page.last
        else:
            self._pages.append(page)
            self._lasts.append(page.last)
        while self._size > RECENT_BYTES and len(self._pages) > 1:
            gone = self._pages.popleft()
            self._start = self._lasts.popleft()
            self._size -= gone.size

    def after(self, floor: int) -> EncodedPage | None:
        """The page that has the row behind `floor`; None where only the log has it."""
        if floor < self._start:
            return None
        index = bisect_right(self._lasts, floor)
        return self._pages[index] if index < len(self._pages) else None
