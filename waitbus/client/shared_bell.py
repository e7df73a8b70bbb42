"""One doorbell for all the sessions of an event loop: a ring costs a producer per bell, not per waiter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from waitbus.bell import HELLO, Bell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_bells: dict[tuple[object, str, int], SharedBell] = {}


class SharedBell:
    """A bell and how often it was heard. Whoever drains it counts for everybody: `rings` and `hellos` only grow."""

    def __init__(self, key: tuple[object, str, int], folder: Path) -> None:
        self._key = key
        self._bell = Bell(folder)
        self._users = 0
        self.rings = 0
        self.hellos = 0
        self.on_ring: Callable[[], None] | None = None
        """Called by whoever drains a ring: the one who watches the descriptor would never see it."""

    @classmethod
    def of(cls, key: object, folder: Path) -> SharedBell:
        """The bell of `key` (an event loop, or one session) in `folder`, made for its first user. Release it.

        Raises:
          LogError, PathError: the folder cannot be made or written.
        """
        full = (key, os.fspath(folder), os.getpid())
        bell = _bells.get(full)
        if bell is None or not bell.is_reachable():
            bell = _bells[full] = cls(full, folder)
        bell._users += 1
        return bell

    def is_reachable(self) -> bool:
        """Whether its name still stands in the folder, for producers to find."""
        return self._bell.is_hanging()

    def listen(self) -> None:
        """Drain the bell and count."""
        heard = self._bell.drain()
        if heard:
            self.rings += 1
            self.hellos += HELLO in heard
            if self.on_ring is not None:
                self.on_ring()

    def fileno(self) -> int:
        return self._bell.fileno()

    def release(self) -> None:
        """One user less; the last one closes it."""
        self._users -= 1
        if not self._users:
            if _bells.get(self._key) is self:
                del _bells[self._key]
            self._bell.close()
