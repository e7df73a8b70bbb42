"""A feed: a session, the whole predicate, a bookmark. Everything of a subscription except the waiting."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from waitbus.client import bookmarks
from waitbus.client.session import Gap, Note, Session, Wait
from waitbus.client.start import NOW, Start, parse_since
from waitbus.document import Document
from waitbus.errors import CursorGap, LogError, OtherLog, PathError, UnknownEvent
from waitbus.events import EventFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from waitbus.predicate import Wanted

logger = logging.getLogger("waitbus.client")

TURN = 256
"""Events that are looked at before others get their turn."""


class Feed:
    """Events behind `start` that match `wanted` (None: all).

    `strict`: a gap is an error and not a warning. `bookmark` is where it begins if `start` is NOW and the bookmark exists; it
    moves to an event when the next one is asked for, or by `ack`. `told` gets the notes and gaps as they come.
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
        key: object = None,
        told: Callable[[Note | Gap], None] | None = None,
    ) -> None:
        begin = start if isinstance(start, Start) else parse_since(start)
        if bookmark is not None and begin is NOW and (kept := bookmarks.read(bookmark)) is not None:
            begin = Start(event_id=kept)
        self.session = Session(wanted, begin, path=path, log=log, key=key)
        self._wanted = wanted
        self._bookmark = bookmark
        self._strict = strict
        self._told = told or _log_it
        self._given: EventFrame | None = None

    def arm(self) -> Wait | None:
        """One step towards being armed; None when it is."""
        if self.session.armed:
            return None
        return self._advance_to_armed()

    def advance(self) -> EventFrame | Wait:
        """The next matching event, or what to wait for. Asking for it says that the one before was handled."""
        self.settle()
        for _ in range(TURN):
            step = self.session.step()
            if isinstance(step, Wait):
                return step
            if isinstance(step, EventFrame):
                if self._matches(step):
                    self._given = step
                    return step
            else:
                self._tell(step)
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
        """What predicates see of a frame; its payload is read from the log when asked for."""
        return Document.of_frame(frame, lambda: self._payload(frame.seq))

    def close(self) -> None:
        self.session.close()

    def _advance_to_armed(self) -> Wait | None:
        while not self.session.armed:
            step = self.session.progress()
            if isinstance(step, Wait):
                return step
        for notice in self.session.notices():
            self._tell(notice)
        return None

    def _matches(self, frame: EventFrame) -> bool:
        return self._wanted is None or self._wanted.matches(self.document(frame))

    def _payload(self, seq: int) -> str | None:
        try:
            return self.session.log.payload(seq)
        except (LogError, PathError) as error:
            logger.warning("payload of event %d: %s", seq, error.message)
            return None

    def _tell(self, notice: Note | Gap) -> None:
        if isinstance(notice, Gap) and (notice.initial or self._strict):
            refuse(notice, self._strict)
        self._told(notice)


def refuse(gap: Gap, strict: bool) -> None:
    """A place that the caller named and that is none is an error; a pruned one only if it is strict."""
    if gap.initial and gap.reason == "other_log":
        raise OtherLog("this cursor belongs to another log", hint="`waitbus cursor` prints one of this log")
    if gap.initial and gap.reason == "unknown":
        raise UnknownEvent("this log never had the event that the cursor names", hint="`waitbus cursor` prints the cursor of now")
    if strict:
        raise CursorGap(
            describe(gap), hint="go on without --strict-since, or keep more: `[retention]` in config.toml", missing=(gap.first, gap.last)
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
    elif notice.kind not in ("no_daemon", "back"):
        logger.info("%s", notice.text)
