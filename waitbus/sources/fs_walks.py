"""The walks of one root that are still to be made, one after the other, in bites."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

import attrs

from waitbus.sources.fs_scan import EVERYTHING_IS_OLD, Walk

REST = 10
"""Where nothing but walks tells of changes, this many times what one took lies between two of them."""
COARSE_NS = 20_000_000
"""A file system's clock may be that far behind."""


@attrs.define(eq=False)
class Walks:
    """Walks below a root. Times are s of `time.monotonic`, or ns since the epoch.

    `heard_ns`: of all that happened before, the kernel's notifications were taken.
    """

    heard_ns: int = EVERYTHING_IS_OLD
    _began: float = 0.0
    """When everything was last asked for, and when no walk was left behind that."""
    _ended: float = 0.0
    _seen_ns: int = 0
    _waiting: deque[Walk] = attrs.field(factory=deque)
    _walking: Iterator[None] | None = None

    def __bool__(self) -> bool:
        return self._walking is not None or bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return len(self._waiting)

    def old(self, changed_ns: int) -> int:
        """Before when a file that was hidden is no news, if rules changed then: what is still in the kernel's queue is some."""
        return min(changed_ns, self.heard_ns - COARSE_NS)

    def add(self, walk: Walk) -> None:
        """Walk a folder, behind all that is to be walked already."""
        self._waiting.append(walk)

    def add_all(self, old_before_ns: int = 0, *, recalls: bool = False) -> None:
        """Walk everything, unless that is about to be done."""
        self._began = time.monotonic()
        if any(not walk.path and walk.old_before_ns <= old_before_ns for walk in self._waiting):
            return
        self.add(Walk("", old_before_ns=old_before_ns, seen_ns=self._seen_ns, recalls=recalls))
        self._seen_ns = time.time_ns() - COARSE_NS

    def next_all(self, every: float) -> float:
        """When everything is to be walked again, if nothing else tells of changes; infinity while walks are left."""
        return float("inf") if self else self._ended + max(every, REST * (self._ended - self._began))

    def clear(self) -> None:
        """Leave off."""
        self._walking = None
        self._waiting.clear()
        self._ended = time.monotonic()

    def go_on(self, walk: Callable[[Walk], Iterator[None]]) -> None:
        """One step."""
        if self._walking is None:
            self._walking = walk(self._waiting.popleft())
        if next(self._walking, self) is self:
            self._walking = None
            self._ended = time.monotonic()
