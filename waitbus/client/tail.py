"""The log's end, read when a bell rings: what a session does where there is no daemon."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from waitbus.client.shared_bell import SharedBell
from waitbus.client.start import Start, position
from waitbus.client.steps import Gap
from waitbus.events import log_id
from waitbus.quantities import HEARTBEAT_MIN
from waitbus.store import shared
from waitbus.wire import Position

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from waitbus.store import Facts, Log, Page

HEARTBEAT = 60.0
"""s between two looks at the log without a ring, for events whose producer died between commit and ring."""


class Tail:
    """Bell and position in the log at `path`. `key` answers what the sessions of one event loop share a bell by."""

    def __init__(self, path: Path, key: Callable[[], object]) -> None:
        self.path = path
        self._key = key
        self._bell: SharedBell | None = None
        self._rings = self._hellos = 0
        self._tag = -1

    @property
    def log(self) -> Log:
        # A connection of its own: the one that producers use may be held for 5 s by a thread that waits for the write lock.
        return shared(self.path, reading=True)

    @property
    def bell(self) -> SharedBell | None:
        """The bell, while there is one: then nothing that is committed goes unheard."""
        return self._bell

    def listen(self) -> None:
        """Have a bell.

        Raises:
          LogError, PathError: the folder of bells cannot be made or written.
        """
        self._bell = bell = SharedBell.of(self._key(), self.path.parent / "bells")
        self._rings, self._hellos = bell.rings, bell.hellos

    def stop(self) -> None:
        """Give the bell back."""
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.release()

    def listen_anew(self) -> None:
        """Where somebody removed the bell's name, nobody can ring it: have another."""
        if self._bell is not None and not self._bell.is_reachable():
            self.stop()
            self.listen()

    def heard(self, bell: SharedBell) -> bool:
        """Whether somebody who shares the bell drained it since our last look at the log."""
        return bell.rings != self._rings

    def hello(self) -> bool:
        """Drain the bell, and say whether a daemon has begun to listen since the last call.

        Drain first and read then: whoever rings after the drain has committed what this read may have missed.
        """
        assert self._bell is not None
        self._bell.listen()
        self._rings = self._bell.rings
        said, self._hellos = self._bell.hellos != self._hellos, self._bell.hellos
        return said

    def find(self, place: Position | Start) -> tuple[Position, list[Gap]]:
        """Where `place` is in the log as it is now, and what cannot be given."""
        facts = self.log.facts()
        self._tag = facts.tag
        name = log_id(facts.tag)
        initial = isinstance(place, Start)
        seq, gaps = _first(self.log, place, facts, name) if isinstance(place, Start) else _resumed(place, facts, name)
        missing = self.log.hole(seq, facts)
        if missing is not None:
            gaps.append(Gap("pruned", *missing, name, initial))
            seq = missing[1]
        return Position(name, seq), gaps

    def page(self, seq: int) -> Page | None:
        """The rows behind `seq` up to a hole; None if the log is another one now, or was pruned there: then `find` again."""
        page = self.log.page(seq)
        if self.log.tag != self._tag:
            return None
        if page.rows and page.rows[0].seq > seq + 1 and seq < self.log.facts().pruned_to:
            return None
        return page

    @property
    def tag(self) -> int:
        """The tag of the log that the pages came from."""
        return self._tag


def _first(log: Log, start: Start, facts: Facts, name: str) -> tuple[int, list[Gap]]:
    seq, reason = position(log, start, facts)
    return seq, [] if reason is None else [Gap(reason, 0, facts.last, name, initial=True)]


def _resumed(place: Position, facts: Facts, name: str) -> tuple[int, list[Gap]]:
    if place.log_id != name:
        return 0, [Gap("other_log", 0, facts.last, name, initial=False)]
    if place.seq > facts.last:
        return facts.last, [Gap("unknown", facts.last + 1, place.seq, name, initial=False)]
    return place.seq, []


def heartbeat() -> float:
    """`WAITBUS_HEARTBEAT_SEC`, else 60 s. The file has it too, for the daemon; to read it would cost every wait more."""
    try:
        seconds = float(os.environ.get("WAITBUS_HEARTBEAT_SEC") or HEARTBEAT)
    except ValueError:
        return HEARTBEAT
    # What the daemon would refuse is no reason not to wait; taken as it is, it would have us look at the log all the time.
    return min(max(seconds, HEARTBEAT_MIN), 86400.0) if math.isfinite(seconds) and seconds > 0 else HEARTBEAT
