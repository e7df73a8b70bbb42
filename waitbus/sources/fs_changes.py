"""From notifications to changes: what is noted of a path, when it is due, and what to say of it then. No I/O.

A notification only says that a path is worth a look; what is told is the difference between what was known of it and what is
found when it is due. So whatever order things come in, and whatever was lost, the last thing told of a path is how it is.

A name that went may come back: editors rename the file and write a new one, or write a new one and rename it over the file.
What may be the first half of that is held for `HOLD`; everything else is due at once, or `debounce` after the last note of it.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from typing import Literal

import attrs

from waitbus.sources.fs_tree import Seen

HOLD = 0.05
"""s that what may be half of a save is held."""
AGAIN = 0.05
"""s between two changes told of one path: a file that is written in a loop is not told of each time."""
PATIENCE = 10
"""A path that never comes to rest is told after so many times `debounce` or `HOLD`."""

Note = Literal["created", "closed", "touched", "arrived", "gone", "found"]
"""A name appeared; what was written was closed; attributes changed; renamed to here; removed or renamed away; seen in a scan."""

Action = Literal["created", "modified", "deleted", "moved"]

NEVER = float("inf")

_TEMPORARY = re.compile(
    r"""[.\#~]          # hidden, or an Emacs lock
    | .*(?:~|\.(?:te?mp|sw[a-z]|part|partial|crdownload|download|lock|new|bak|orig|old)|\#)\Z
    | .*\.(?:te?mp[-._0-9]|sb-)[-.\w]*\Z
    | (?:sed|tmp)\w{6,8}\Z
    | .*___jb_\w+___\Z
    | [0-9]+\Z""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def looks_temporary(name: str) -> bool:
    """Whether editors and downloads give such names to a file that they are going to rename."""
    return _TEMPORARY.match(name) is not None


@attrs.define(eq=False)
class Pending:
    """What is noted of a path. `closed`: its content is whole; `origin`: the path it was renamed from."""

    first: float
    due: float = NEVER
    closed: bool = False
    origin: str | None = None
    since_ns: int = 0
    """When the folder with which it came was moved here."""
    tries: int = 0
    entry: int = 0
    """The number of its place in the queue; older places count no more."""


@attrs.frozen
class Change:
    """What is told of a path."""

    action: Action
    path: str
    seen: Seen
    old_path: str | None = None


@attrs.define(eq=False)
class Changes:
    """What is noted and not yet told. Times are s of one clock that only goes forward."""

    debounce: float = 0.0
    pending: dict[str, Pending] = attrs.field(factory=dict)
    open: dict[str, Pending] = attrs.field(factory=dict)
    """Files that somebody writes: nothing is due until they are noted again."""
    _heap: list[tuple[float, int, str]] = attrs.field(factory=list)
    _count: int = 0
    _told: dict[str, float] = attrs.field(factory=dict)

    def note(
        self, path: str, what: Note, now: float, *, known: bool, origin: str | None = None, since_ns: int = 0
    ) -> None:
        """Note something of a path; `known`: there was a file before; `origin`: the known file that was renamed to here."""
        pending = self.pending.get(path) or self.open.pop(path, None) or Pending(now)
        self.pending[path] = pending
        if what in ("closed", "arrived"):
            pending.closed = True
        elif what in ("created", "gone"):
            pending.closed = False
        if what in ("arrived", "created", "found"):
            pending.since_ns = since_ns
        if what in ("arrived", "gone") or origin is not None:
            pending.origin = origin
        if what == "touched" and pending.due != NEVER:
            return
        self._put(path, pending, self._due(path, pending, now + _hold(path, what, known, pending.origin)), now)
        if pending.origin is not None and (gone := self.pending.get(pending.origin)) is not None:
            # That it is gone would be told first otherwise, and it was moved.
            self._put(pending.origin, gone, max(pending.due, gone.due), now)

    def origin_of(self, path: str, *, known: bool) -> str:
        """Where a file that is renamed from `path` comes from: a name that it had for a moment only is not told."""
        pending = self.pending.get(path)
        return pending.origin if pending is not None and pending.origin is not None and not known else path

    def due(self, now: float) -> Iterator[tuple[str, Pending]]:
        """Take what is due, the earliest first."""
        while self._heap and self._heap[0][0] <= now:
            _, entry, path = heapq.heappop(self._heap)
            pending = self.pending.get(path)
            if pending is not None and pending.entry == entry:
                del self.pending[path]
                yield path, pending

    def next_due(self) -> float:
        """When something will be due; infinity if nothing will."""
        while self._heap:
            due, entry, path = self._heap[0]
            if path in self.pending and self.pending[path].entry == entry:
                return due
            heapq.heappop(self._heap)
        return NEVER

    def put_back(self, path: str, pending: Pending, due: float) -> None:
        """Look at a path later."""
        self.pending[path] = pending
        pending.due = due
        self._push(path, pending)

    def leave_open(self, path: str, pending: Pending) -> None:
        """Look at a path when it is noted again."""
        self.open[path] = pending
        pending.due = NEVER

    def told(self, path: str, now: float) -> None:
        """A change of the path was told; the next one has to wait."""
        self._told.pop(path, None)
        self._told[path] = now
        while self._told:
            oldest = next(iter(self._told))
            if now - self._told[oldest] < AGAIN:
                break
            del self._told[oldest]

    def _due(self, path: str, pending: Pending, due: float) -> float:
        told = self._told.get(path)
        return due if told is None else max(due, told + AGAIN)

    def _put(self, path: str, pending: Pending, due: float, now: float) -> None:
        latest = pending.first + PATIENCE * max(self.debounce, HOLD)
        pending.due = min(max(due, now + self.debounce), latest)
        self._push(path, pending)

    def _push(self, path: str, pending: Pending) -> None:
        self._count = pending.entry = self._count + 1
        heapq.heappush(self._heap, (pending.due, pending.entry, path))


def _hold(path: str, what: Note, known: bool, origin: str | None) -> float:
    if what in ("created", "gone", "touched") or origin is not None:
        return HOLD
    if what == "closed" and not known and looks_temporary(path.rpartition("/")[2]):
        return HOLD
    return 0.0


def judge(before: Seen | None, now: Seen | None, origin: Seen | None = None) -> Action | None:
    """What happened to a path: `before` was known of it, `now` it is found so, `origin` is known of the path it was renamed from.

    It was moved only if that other path is not known to be another file by now.
    """
    if now is None:
        return "deleted" if before is not None else None
    if origin is not None and origin.inode == now.inode:
        return "moved"
    if before is None:
        return "created"
    return None if before.is_as(now) else "modified"
