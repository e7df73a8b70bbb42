"""A feed: a session, the whole predicate, a bookmark. Everything of a subscription except the waiting."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from waitbus.client import bookmarks
from waitbus.client.session import Session
from waitbus.client.start import Start, parse_since
from waitbus.client.steps import Gap, Note, Wait
from waitbus.document import Document
from waitbus.errors import CursorGap, InvalidWait, LogError, OtherLog, PathError, UnknownEvent
from waitbus.event_checks import shown
from waitbus.events import EventFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from waitbus.predicate import Wanted

logger = logging.getLogger("waitbus.client")

# A program that sets up no logging is not to find our warnings on its stderr.
logging.getLogger("waitbus").addHandler(logging.NullHandler())

TURN = 64
"""Events that are looked at before others get their turn, and a time-out its chance."""


class Feed:
    """Events behind `start` that match `wanted` (None: all).

    A `bookmark` that exists wins over `start`; it moves to an event when the next one is asked for, or by `ack`. `strict`: a gap
    is an error and not a warning. `told` gets the notes and gaps as they come, and each doubt once.
    """

    def __init__(
        self,
        wanted: Wanted | None = None,
        start: Start | str | None = None,
        *,
        bookmark: str | None = None,
        strict: bool = False,
        path: Path | None = None,
        log: Path | None = None,
        key: Callable[[], object] = object,
        told: Callable[[Note | Gap], None] | None = None,
    ) -> None:
        if told is not None and not callable(told):
            raise InvalidWait(
                f"told {shown(told)} is no function", hint="give a function of one argument, or leave it out"
            )
        begin = start if isinstance(start, Start) else parse_since(start)
        kept = bookmarks.read(bookmark) if bookmark is not None else None
        if kept is not None:
            begin = Start(event_id=kept)
        self.session = Session(wanted, begin, path=path, log=log, key=key)
        self._wanted = wanted
        self._bookmark = bookmark
        self._begun_at = bookmark if kept is not None else None
        self._cursor = begin.event_id
        self._strict = strict
        self.told = told or _log_it
        """What gets the notes and gaps."""
        self._given: EventFrame | None = None
        self._turn = 0
        self._light = wanted.prefilter() if wanted is not None and _reads_payloads(wanted) else None
        """What an event must match before its payload is read; None: nobody wants payloads."""
        self._doubted: set[str] = set()
        self._unread: EventFrame | None = None
        self._seen: tuple[EventFrame, Document] | None = None

    def arm(self) -> Wait | None:
        """Go on towards being armed; None when it is so.

        Raises:
          OtherLog, UnknownEvent, CursorGap: the place that was named is none, or with `strict` events behind it were pruned.
          LogError, PathError: there is no daemon, and the log cannot be read.
        """
        pending = self.session.arm()
        if pending is None:
            for notice in self.session.notices():
                self._tell(notice)
        return pending

    def advance(self) -> EventFrame | Wait | Document:
        """The next matching event, or what to wait for. Asking for it says that the one before was handled.

        A document is an event whose payload a predicate wants to see: touch its `payload`, in a thread where there is a loop (it
        may be parsed for 10 ms), and ask again.

        Raises:
          OtherLog, UnknownEvent, CursorGap, LogError, PathError: as `arm`.
        """
        if self._given is not None:
            self.ack(self._given)
        if self._seen is not None and self._seen[1].doubts:
            self._tell_doubts()  # those of whoever looked at the last event: a plan has clauses
        while self._turn < TURN:
            step = self._unread or self.session.step()
            if isinstance(step, Wait):
                self._turn = 0
                return step
            self._turn += 1
            if not isinstance(step, EventFrame):
                self._tell(step)
            elif self._light is not None and self._unread is None and self._light.matches(self.document(step)):
                self._unread = step
                return self.document(step)
            else:
                self._unread = None
                if self._matches(step):
                    self._given = step
                    return step
        self._turn = 0
        return Wait(deadline=0.0)

    def settle(self) -> None:
        """The event given last was handled: the bookmark moves to it."""
        if self._given is not None:
            self.ack(self._given)

    def ack(self, frame: EventFrame) -> None:
        """Move the bookmark to this event now."""
        self._given = None
        if self._bookmark is not None:
            bookmarks.write(self._bookmark, frame.event_id)

    def document(self, frame: EventFrame) -> Document:
        """What predicates see of a frame; its payload is read from the log when asked for, once."""
        if self._seen is None or self._seen[0] is not frame:
            self._seen = (frame, Document.of_frame(frame, lambda: self._payload(frame.seq)))
        return self._seen[1]

    def close(self) -> None:
        self.session.close()

    def _matches(self, frame: EventFrame) -> bool:
        if self._wanted is None:
            return True
        document = self.document(frame)
        found = self._wanted.matches(document)
        if document.doubts:
            self._tell_doubts()
        return found

    def _tell_doubts(self) -> None:
        assert self._seen is not None
        for note in new_doubts(self._seen[1], self._doubted):
            self.told(note)

    def _payload(self, seq: int) -> str | None:
        try:
            return self.session.log.payload(seq)
        except (LogError, PathError) as error:
            logger.warning("payload of event %d: %s", seq, error.message)
            return None

    def _tell(self, notice: Note | Gap) -> None:
        if isinstance(notice, Gap) and (notice.initial or self._strict):
            refuse(notice, self._strict, self._begun_at, self._cursor)
        self.told(notice)


def new_doubts(document: Document, doubted: set[str]) -> Iterator[Note]:
    """What is to be told of the evaluation of an event, each thing once: those in `doubted` were told."""
    for about, sentence in document.doubts.items():
        if about not in doubted:
            doubted.add(about)
            yield Note("doubt", sentence)


def _reads_payloads(wanted: Wanted) -> bool:
    terms = (term for predicate in wanted.alternatives for term in predicate.terms)
    return any(term.path.root == "payload" or term.key == "@eval" for term in terms)


def refuse(gap: Gap, strict: bool, bookmark: str | None = None, cursor: str | None = None) -> None:
    """A place that the caller named and that is none is an error; a pruned one only if it is strict."""
    who, hint = f"the cursor {cursor}", "`waitbus cursor` prints one of this log"
    if bookmark is not None:
        who, hint = f"the bookmark {bookmark!r}", f"`waitbus bookmark set {bookmark}` moves it to the end of this log"
    if gap.initial and gap.reason == "other_log":
        raise OtherLog(f"{who} belongs to another log", hint=hint)
    if gap.initial and gap.reason == "unknown":
        raise UnknownEvent(f"{who} names an event that this log never had", hint=hint)
    if strict:
        raise CursorGap(
            describe(gap),
            hint="go on without --strict-since, or keep more: `[retention]` in config.toml",
            missing=(gap.first, gap.last),
        )


def describe(gap: Gap) -> str:
    """The gap as a sentence."""
    if gap.reason == "pruned":
        return f"events {gap.first} to {gap.last} were pruned; going on with event {gap.last + 1}"
    if gap.reason == "other_log":
        return "the log was replaced by another one; going on at its beginning"
    return f"the log ends before event {gap.last}; it was set back; going on from there"


def _log_it(notice: Note | Gap) -> None:
    if isinstance(notice, Gap):
        logger.warning("%s", describe(notice))
    elif notice.kind in ("foreign", "stranger", "other_log", "garbled", "stranded", "past", "doubt", "down", "odd"):
        logger.warning("%s", notice.text)
    else:
        logger.info("%s", notice.text)
