"""What is in the log already: events behind a start, up to the head as of now. Reads the log itself, daemon or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waitbus.client.feed import refuse
from waitbus.client.session import Gap
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

    `bookmark` names where `start` came from, for errors. `told` gets the gap, if events behind `start` were pruned.
    Rows written later are not in it, pruned ones fall out of it.

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
        told: Callable[[Gap], None] = lambda gap: None,
    ) -> None:
        facts = log.facts()
        self.log = log
        self.wanted = wanted
        self.tag = facts.tag
        self.after = facts.pruned_to if start is None else locate(log, start, bookmark).seq
        """The seq it begins behind."""
        self.head = facts.last
        self.cursor = make_event_id(facts.last_at_ms, facts.tag, facts.last)
        """Where it ends: the cursor to go on from."""
        self.passed = 0
        """How many events were looked at and did not match."""
        self.gap: Gap | None = None
        if self.after < facts.pruned_to:
            self.gap = Gap("pruned", self.after + 1, facts.pruned_to, log_id(facts.tag), initial=True)
            refuse(self.gap, strict)
            told(self.gap)
            self.after = facts.pruned_to
        self._first = facts.first

    def forwards(self) -> Iterator[Row]:
        """The matching rows, oldest first."""
        after = self.after
        while after < self.head:
            rows, _ = self.log.page(after, PAGE_ROWS)
            for row in rows:
                if row.seq <= self.head and self._matches(row):
                    yield row
            if not rows:
                return
            after = rows[-1].seq

    def backwards(self) -> Iterator[Row]:
        """The matching rows, newest first."""
        top, floor = self.head, max(self.after, self._first - 1)
        while top > floor:
            bottom = max(top - PAGE_ROWS, floor)
            for row in reversed(self._between(bottom, top)):
                if self._matches(row):
                    yield row
            top = bottom

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
        if self.wanted is None or self.wanted.matches(self._document(row)):
            return True
        self.passed += 1
        return False

    def _document(self, row: Row) -> Document:
        columns = row._asdict()
        columns["event_id"] = make_event_id(row.at_ms, self.tag, row.seq)
        columns["kind"] = "event"
        return Document(columns, row.fields, lambda: self.log.payload(row.seq))
