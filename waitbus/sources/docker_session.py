"""One stream of an engine: what it tells becomes rows, its silence is questioned, what it does not tell is made up for."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import attrs
import trio

from waitbus.errors import InvalidValue, ServiceMissing, WaitbusError
from waitbus.events import EventInsert
from waitbus.sources import docker_rows
from waitbus.sources.contract import Emitter
from waitbus.sources.docker_events import TIME_MAX, Message, exit_row, other_row, read_message
from waitbus.sources.docker_inspect import Facts, began_ns, end_of, missed_end, read_ended, read_facts, wants_facts
from waitbus.sources.docker_memory import Memory
from waitbus.sources.docker_stream import LINE_MAX, Engine, Lines

log = logging.getLogger("waitbus.sources")

SILENCE = 90.0
"""s without a byte after which the engine is asked whether it is still there."""

SETTLE = 1.0
"""s that a new stream has to tell of what has ended, before the containers themselves are asked; and s after which a stream that
did not end at once, as the one before it did, is believed."""

OVERLAP_NS = 5 * 10**9
"""How far before the last event that was heard the next stream begins: events of one moment come in any order."""

FACTS_S = 2.0
"""s that a row waits for what the engine knows of its container."""

ASKED_MAX = 1000
"""How many ended containers are asked about when a stream begins."""


@attrs.define
class Place:
    """How far was heard, in ns by the engine's clock: up to `seen_ns`, and never to be asked for before `floor_ns`."""

    floor_ns: int = 0
    seen_ns: int = 0

    @property
    def since_ns(self) -> int:
        return max(self.floor_ns, self.seen_ns - OVERLAP_NS)


@attrs.define(eq=False)
class Session:
    """One stream of an engine, from its beginning to its end."""

    bus: Emitter
    engine: Engine
    pieces: AsyncIterator[bytes]
    place: Place
    memory: Memory
    _heard: float = attrs.field(factory=trio.current_time, init=False)
    _alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """Held from the look into the log until what it lacked is written: an end can be heard of, and found."""
    _lines: Lines = attrs.field(factory=Lines, init=False)
    _doubted: bool = attrs.field(default=False, init=False)
    _failure: WaitbusError | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope = attrs.field(init=False)

    async def run(self, task_status: trio.TaskStatus[None], missed_since_ns: int | None, failure: str) -> None:
        """Write what the stream tells, until it ends; raises why. `missed_since_ns`: ends from then on may not be told by it.

        After a failure this stream has to last a moment before we call ourselves up again.
        """
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._guarded, self._watch)
            if missed_since_ns is not None:
                nursery.start_soon(self._guarded, self._make_up, missed_since_ns)
            if failure:
                self.bus.down(failure)
                nursery.start_soon(self._come_up)
            task_status.started()
            await self._guarded(self._read)
        raise self._failure or ServiceMissing(
            f"the container engine at {self.engine.endpoint} ended its stream of events", hint="is it being restarted?"
        )

    async def _guarded(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        # The first failure is raised as it is, outside of the nursery: no group of one.
        try:
            await work(*args)
        except WaitbusError as error:
            self._failure = self._failure or error
            self._scope.cancel()

    async def _come_up(self) -> None:
        await trio.sleep(SETTLE)
        self.bus.up()

    async def _watch(self) -> None:
        """End a stream that is silent on an engine that is silent too."""
        while True:
            await trio.sleep_until(self._heard + SILENCE)
            if trio.current_time() < self._heard + SILENCE:
                continue
            asked = self._heard
            if not await self.engine.answers() and self._heard == asked:
                raise ServiceMissing(
                    f"the container engine at {self.engine.endpoint} said nothing for {SILENCE:g} s and does not answer",
                    hint="is it stopped, or overloaded?",
                )
            self._heard = trio.current_time()

    # -- what the stream tells -----------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while (piece := await self._next()) is not None:
            self._heard = trio.current_time()
            dropped = self._lines.dropped
            lines = self._lines.feed(piece)
            if self._lines.dropped > dropped:
                self._doubt(f"the engine sent a line of more than {LINE_MAX} bytes, which is dropped")
            async with self._alone:
                await self._take(lines)
        self._scope.cancel()

    async def _next(self) -> bytes | None:
        with self.engine.reading():
            return await anext(self.pieces, None)

    async def _take(self, lines: list[bytes]) -> None:
        messages = list(self._read_all(lines))
        rows: list[EventInsert] = []
        for message in messages:
            try:
                rows += await self._rows(message)
            except InvalidValue as error:  # or the same event would end every stream to come
                self._doubt(error.message)
        if rows:
            await self.bus.emit(*rows)
        now_ns = (
            time.time_ns()
        )  # a time that is still to come would make the next stream begin behind what happens until then
        for message in messages:
            self.memory.told(message)
            self.place.seen_ns = max(self.place.seen_ns, min(message.time_ns, now_ns))

    def _read_all(self, lines: list[bytes]) -> Iterator[Message]:
        for line in lines:
            try:
                message = read_message(line)
            except InvalidValue as error:
                self._doubt(error.message)
                continue
            if message is not None and not self.memory.is_told(message):
                yield message

    async def _rows(self, message: Message) -> list[EventInsert]:
        if message.action == "die":
            return await self._end_rows(message)
        self.memory.note(message)
        skipped = self.memory.admit(message)
        return [] if skipped is None else [other_row(message, skipped)]

    async def _end_rows(self, message: Message) -> list[EventInsert]:
        run = self.memory.ended(message.id)
        facts = await self._facts(message.id) if wants_facts(message, run) else None
        began = began_ns(run, facts, message.time_ns)
        if began is not None and await _has_end(message.id, began, message.time_ns):
            return []
        return [exit_row(end_of(message, run, facts))]

    async def _facts(self, container: str) -> Facts | None:
        """What the engine knows of a container; None where it is removed, or the answer takes too long."""
        with trio.move_on_after(FACTS_S):
            try:
                return read_facts(await self.engine.inspect(container))
            except (ServiceMissing, InvalidValue) as error:
                log.debug("docker: %s", error.message)
        return None

    def _doubt(self, what: str) -> None:
        if not self._doubted:
            self._doubted = True
            log.warning("source docker: %s; more of the kind will not be told", what)

    # -- what it did not tell ------------------------------------------------------------------------------------------

    async def _make_up(self, since_ns: int) -> None:
        """Write the ends since then that the engine does not remember as events, but its containers do."""
        await trio.sleep(SETTLE)
        try:
            containers, more = read_ended(await self.engine.containers(), ASKED_MAX)
        except (ServiceMissing, InvalidValue) as error:
            log.warning("source docker: %s; containers that ended meanwhile may go untold", error.message)
            return
        if more:
            log.warning("source docker: of the containers that have ended, %d are not asked when", more)
        for container in containers:
            facts = await self._facts(container)
            end = None if facts is None else missed_end(container, facts, since_ns)
            if end is None:
                continue
            async with self._alone:
                if not await _has_end(container, end.at_ns):
                    await self.bus.emit(exit_row(end))


async def _has_end(container: str, from_ns: int, to_ns: int = TIME_MAX) -> bool:
    return await trio.to_thread.run_sync(docker_rows.has_end, container, from_ns, to_ns)
