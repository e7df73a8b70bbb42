"""What a running source is: a coroutine that hears of things, and the way it has into the log.

A declaration (`SourceSpec`) says what a source is about and is known everywhere; its `implementation` is imported by whoever runs
it: the daemon, a wait that embeds it, or `waitbus source run`. All three give it an `Emitter` and supervise it alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
import trio

if TYPE_CHECKING:
    from typing import Self

    from waitbus.events import EventInsert
    from waitbus.store.rows import Unless


class Emitter(Protocol):
    """What a source says, and to whom it says how it is."""

    async def emit(self, *events: EventInsert, unless: Unless | None = None) -> int:
        """Commit the events in one transaction and ring; returns how many were new, once they are durable. `unless`: for the
        delivery id of an event, a range of others under which another watcher may have written it.

        While the log is busy, full or gone it waits and tries again: nothing is lost, and the source is held up, which bounds
        what is in memory. Cancelled, it has committed all of them or none.
        """

    def up(self, detail: str = "") -> None:
        """It hears. Said when it has begun, and when it hears again after `down`; once more changes nothing."""

    def down(self, reason: str, retry_s: float | None = None) -> None:
        """It hears nothing for now and goes on trying by itself, next in `retry_s` s: an engine that is gone, a root that
        vanished. `reason` is a sentence for a person."""


class Source(Protocol):
    """A source that can be run, made from its settings. It may have besides

    `scope`: a series of texts for a person, what it listens to (folders, a socket), as it is shown in `status`;
    `async def probe(self) -> str | None`: look whether it could run here, leaving nothing behind; a sentence about what it found,
    a `WaitbusError` where it could not;
    `def take_over(self, since_ns: int) -> None`: called before it is run by a wait because the daemon that ran it is gone: what
    happened from then on is told if it can be known, though the daemon may have told it.
    """

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear until cancelled. `started()` comes once nothing that happens from then on is missed; for a source whose other side
        is not there yet, when it has begun to try, behind `bus.down(...)`.

        Returning is an end that nobody expects, an exception a failure: both are followed by another run, later each time.
        """


@attrs.frozen(kw_only=True)
class SourceSettings:
    """What stands in `[sources.NAME]` for every source; a source adds its own."""

    enabled: bool = attrs.field(default=False, metadata={"about": "Whether the daemon runs it."})

    def beginning_now(self) -> Self:
        """The same for a wait that begins now: what was over before is no answer to it."""
        return self
