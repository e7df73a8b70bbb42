"""The walks of one root that are still to be made, one after the other, in bites."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

import attrs

from waitbus.sources import gitignore_files
from waitbus.sources.fs_scan import Walk


@attrs.define(eq=False)
class Walks:
    """Walks below an absolute root. `walked_at`: when all of it was last asked for, in s of `time.monotonic`."""

    root: str
    gitignore: bool
    walked_at: float = 0.0
    _waiting: deque[Walk] = attrs.field(factory=deque)
    _walking: Iterator[None] | None = None

    def __bool__(self) -> bool:
        return self._walking is not None or bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return len(self._waiting)

    def add(self, walk: Walk) -> None:
        """Walk a folder, behind all that is to be walked already."""
        self._waiting.append(walk)

    def add_all(self, old_before_ns: int = 0, *, recalls: bool = False) -> None:
        """Walk everything, unless that is about to be done."""
        self.walked_at = time.monotonic()
        if any(not walk.path and walk.old_before_ns <= old_before_ns for walk in self._waiting):
            return
        scope = gitignore_files.scope_around(self.root) if self.gitignore else None
        self.add(Walk("", scope, old_before_ns=old_before_ns, recalls=recalls))

    def clear(self) -> None:
        """Leave off."""
        self._walking = None
        self._waiting.clear()

    def go_on(self, walk: Callable[[Walk], Iterator[None]]) -> None:
        """One step."""
        if self._walking is None:
            self._walking = walk(self._waiting.popleft())
        if next(self._walking, self) is self:
            self._walking = None
