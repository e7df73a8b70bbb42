"""What is in the log already: events behind a start, up to the head as of now. Reads the log itself, daemon or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waitbus.client.feed import new_doubts, refuse
from waitbus.client.session import Gap, Note
from waitbus.client.start import position
from waitbus.document import Document
from waitbus.events import log_id, make_event_id
from waitbus.store import PAGE_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from waitbus.client.start import Start
    from waitbus.events import Row
    from waitbus.predicate import Wanted
    from waitbus.store import Log


class Place(NamedTuple):
    """A place in the log, and the event id that names it."""

    seq: int
    cursor: str


def locate(log: Log, start: Start, bookmark: str | None = None) -> Place:
    """The place that `start` means; errors name the bookmark it came from.

    Raises:
      OtherLog, UnknownEvent: it names an event that this log does not know.
    """
    facts = log.facts()
    seq, reason = position(log, start, facts)
    if reason is not None:
        gap = Gap(reason, 0, facts.last, log_id(facts.tag), initial=True)
        refuse(gap, strict=False, bookmark=bookmark, cursor=start.event_id)
    row = log.row(seq)
    if row is None and start.event_id is not None:
        return Place(seq, start.event_id)  # pruned; the id is known to be of this log
    return Place(seq, make_event_id(row.at_ms if row else 0, facts.tag, seq))


class History:
    """The events behind `start` (None: all that are kept) that match `wanted` (None: all), of the moment it is made.

    `bookmark` names where `start` came from, for errors. `told` gets the gaps, where events behind `start` were pruned: the one
    right behind it at once, others when `forwards` comes to them; and each doubt, once. Rows written later are not in it, pruned
    ones fall out of it.

    Raises:
      OtherLog, UnknownEvent: `start` names an event that this log does not know.
      CursorGap: with `strict`, events behind `start` were pruned.
    """

    def __init__(
        self,
        log: Log,
        start: Start | None = None,
        wanted: Wanted | None = None,
        *,
        strict: bool = False,
        bookmark: str | None = None,
        told: Callable[[Note | Gap], None] = lambda notice: None,
    ) -> None:
        facts = log.facts()
        self.log = log
        self.wanted = wanted
        self.tag = facts.tag
        self.after = 0 if start is None else locate(log, start, bookmark).seq
        """The seq it begins behind."""
        self.head = facts.last
        self.cursor = make_event_id(facts.last_at_ms, facts.tag, facts.last)
        """Where it ends: the cursor to go on from."""
        self.passed = 0
        """How many events were looked at and did not match."""
        self.gap: Gap | None = None
        """The last one that was told."""
        self._told = told
        self._doubted: set[str] = set()
        self._tells_gaps = start is not None
        self._strict = strict
        self._first = facts.first
        self.after = self._over_hole(self.after)

    def forwards(self) -> Iterator[Row]:
        """The matching rows, oldest first."""
        after = self.after
        while after < self.head:
            rows, _ = self.log.page(after, PAGE_ROWS)
            if not rows:
                return
            if rows[0].seq > after + 1:
                self._over_hole(after)
            for row in rows:
                if row.seq <= self.head and self._matches(row):
                    yield row
            after = rows[-1].seq

    def backwards(self) -> Iterator[Row]:
        """The matching rows, newest first."""
        top, floor = self.head, max(self.after, self._first - 1)
        while top > floor:
            bottom = max(top - PAGE_ROWS, floor)
            rows = self._between(bottom, top)
            for row in reversed(rows):
                if self._matches(row):
                    yield row
            # A hole may be as wide as millions.
            top = bottom if rows else self.log.newest(bottom)

    def _over_hole(self, after: int) -> int:
        """Tell of what was pruned right behind `after`, if anybody asked for that; where it goes on."""
        missing = self.log.hole(after, self.log.facts()) if self._tells_gaps else None
        if missing is None:
            return after
        self.gap = Gap("pruned", *missing, log_id(self.tag), initial=after == self.after)
        refuse(self.gap, self._strict)
        self._told(self.gap)
        return missing[1]

    def _between(self, after: int, last: int) -> list[Row]:
        found: list[Row] = []
        while after < last:
            rows, _ = self.log.page(after, last - after)
            if not rows:
                break
            found += [row for row in rows if row.seq <= last]
            after = rows[-1].seq
        return found

    def _matches(self, row: Row) -> bool:
        if self.wanted is None:
            return True
        document = self._document(row)
        found = self.wanted.matches(document)
        for note in new_doubts(document, self._doubted) if document.doubts else ():
            self._told(note)
        self.passed += not found
        return found

    def _document(self, row: Row) -> Document:
        columns = row._asdict()
        columns["event_id"] = make_event_id(row.at_ms, self.tag, row.seq)
        columns["kind"] = "event"
        return Document(columns, row.fields, lambda: self.log.payload(row.seq))
