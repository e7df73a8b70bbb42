"""What the daemon does for the log besides serving it: retention and checkpoints, in threads, in small bites."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import trio

from waitbus.hub.patience import UNREADABLE
from waitbus.store import Log
from waitbus.store.checkpoint import checkpoint, is_due
from waitbus.store.retention import Pruner, Retention

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from waitbus.config import RetentionTable

log = logging.getLogger("waitbus.daemon")

RETENTION_EVERY = 600.0
RETENTION_ROWS = 20_000
"""s and rows between two looks for what has expired; by size it is the rows that matter."""

CHUNK_PAUSE = 0.02
PRUNING_SHARE = 0.1
"""Between two chunks of retention so many s, and so long that it takes at most this share of the time: nobody waits for it, and
producers and the sweep come first. Unless they write faster than that: then it may not rest."""

CHECKPOINT_PAUSE = 0.1
"""s between two checkpoints: under load each is worth more if it is rarer."""


@attrs.define
class Upkeep:
    """`rows` is how many rows were fanned out or deleted since the last checkpoint; `enough` wakes the next one. `came` is how
    many came since the last look for what has expired; `many` wakes the next one."""

    path: Path
    retention: Callable[[], RetentionTable]
    """What the configuration in force says."""
    rows: int = 0
    enough: trio.Event = attrs.field(factory=trio.Event)
    came: int = 0
    many: trio.Event = attrs.field(factory=trio.Event)

    def swept(self, rows: int) -> None:
        """So many rows came by."""
        self._wrote(rows)
        self.came += rows
        if self.came >= RETENTION_ROWS:
            self.many.set()

    def _wrote(self, rows: int) -> None:
        self.rows += rows
        if not self.enough.is_set() and is_due(self.path, self.rows):
            self.enough.set()

    async def run(self) -> None:
        """Both, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._checkpoints)
            nursery.start_soon(self._retention)

    async def _checkpoints(self) -> None:
        while True:
            await self.enough.wait()
            self.enough, self.rows = trio.Event(), 0
            try:
                await trio.to_thread.run_sync(checkpoint, self.path)
            except UNREADABLE as error:
                log.debug("no checkpoint: %s", error.message)
            await trio.sleep(CHECKPOINT_PAUSE)

    async def _retention(self) -> None:
        while True:
            try:
                await self.prune()
            except UNREADABLE as error:
                log.warning("retention has to wait: %s", error.message)
            with trio.move_on_after(RETENTION_EVERY):
                await self.many.wait()
            self.many, self.came = trio.Event(), 0

    async def prune(self) -> None:
        """Let go of what the configuration does not keep, chunk by chunk."""
        past = Log(self.path)
        try:
            keep = await trio.to_thread.run_sync(lambda: Retention.in_force(self.retention(), past))
            pruner = Pruner(past, keep)
            began = trio.current_time()
            while count := await trio.to_thread.run_sync(pruner.step):
                self._wrote(count)
                if not pruner.is_behind:
                    await trio.sleep(max(CHUNK_PAUSE, (trio.current_time() - began) / PRUNING_SHARE))
                began = trio.current_time()
        finally:
            past.close()
