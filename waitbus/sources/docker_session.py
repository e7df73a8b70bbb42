"""One stream of an engine: what it tells becomes rows, its silence is questioned, what it does not tell is asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import attrs
import trio

from waitbus.errors import InvalidValue, ServiceMissing, WaitbusError
from waitbus.events import EventInsert
from waitbus.sources.contract import Emitter
from waitbus.sources.docker_events import Message, exit_keys, exit_row, other_row, read_message
from waitbus.sources.docker_inspect import Facts, began_ns, end_of, missed_end, read_facts, read_list, wants_facts
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

RUNNING_MAX = 200
ASKED_MAX = 1000
"""How many containers that run, and that have ended, are asked about when a stream begins."""


@attrs.define
class Place:
    """How far was heard, in ns by the engine's clock: up to `seen_ns`, and never to be asked for before `floor_ns`."""

    floor_ns: int = 0
    seen_ns: int = 0

    @property
    def since_ns(self) -> int:
        return max(self.floor_ns, self.seen_ns - OVERLAP_NS)


@attrs.define
class Batch:
    """Messages whose rows go into the log together; `unless` as `Emitter.emit` has it."""

    messages: list[Message] = attrs.field(factory=list)
    rows: list[EventInsert] = attrs.field(factory=list)
    unless: dict[str, tuple[str, str]] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Session:
    """One stream of an engine, from its beginning to its end."""

    bus: Emitter
    engine: Engine
    pieces: AsyncIterator[bytes]
    place: Place
    memory: Memory
    _heard: float = attrs.field(factory=trio.current_time, init=False)
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
            nursery.start_soon(self._guarded, self._learn)
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
            await self._take(lines)
        self._scope.cancel()

    async def _next(self) -> bytes | None:
        with self.engine.reading():
            return await anext(self.pieces, None)

    async def _take(self, lines: list[bytes]) -> None:
        batch = Batch()
        for message in self._read_all(lines):
            if message.action == "die" and wants_facts(message, self.memory.run_of(message.id)):
                await self._write(batch)  # none of them has to wait for what the engine answers about this one
                batch = Batch()
            try:
                await self._add(message, batch)
            except InvalidValue as error:  # or the same event would end every stream to come
                self._doubt(error.message)
        await self._write(batch)

    async def _write(self, batch: Batch) -> None:
        if batch.rows:
            await self.bus.emit(*batch.rows, unless=batch.unless)
        # A time that is still to come would make the next stream begin behind what happens until then.
        now_ns = time.time_ns()
        for message in batch.messages:
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

    async def _add(self, message: Message, batch: Batch) -> None:
        batch.messages.append(message)
        if message.action == "die":
            await self._add_end(message, batch)
            return
        self.memory.note(message)
        skipped = self.memory.admit(message)
        if skipped is not None:
            batch.rows.append(other_row(message, skipped))

    async def _add_end(self, message: Message, batch: Batch) -> None:
        run = self.memory.run_of(message.id)
        facts = await self._facts(message.id) if wants_facts(message, run) else None
        self.memory.ended(message.id)
        row = exit_row(end_of(message, run, facts))
        began = began_ns(run, facts, message.time_ns)
        if began is not None:
            batch.unless[row.delivery_id] = exit_keys(message.id, began, message.time_ns)
        batch.rows.append(row)

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

    # -- what it does not tell -----------------------------------------------------------------------------------------

    async def _learn(self) -> None:
        """Ask since when the containers run that do: at their ends, when engines are slow to answer, nobody has to."""
        try:
            running = read_list(await self.engine.containers(ended=False)).running
        except (ServiceMissing, InvalidValue) as error:
            log.debug("docker: %s", error.message)
            return
        for container in running[:RUNNING_MAX]:
            if self.memory.run_of(container).started_ns is None:
                facts = await self._facts(container)
                if facts is not None and facts.running and facts.started_ns is not None:
                    self.memory.learn(container, facts.started_ns)

    async def _make_up(self, since_ns: int) -> None:
        """Write the ends since then that the engine does not remember as events, but its containers do."""
        await trio.sleep(SETTLE)
        try:
            ended = read_list(await self.engine.containers()).ended
        except (ServiceMissing, InvalidValue) as error:
            log.warning("source docker: %s; containers that ended meanwhile may go untold", error.message)
            return
        if len(ended) > ASKED_MAX:
            log.warning(
                "source docker: of the containers that have ended, %d are not asked when", len(ended) - ASKED_MAX
            )
        for container in ended[:ASKED_MAX]:
            facts = await self._facts(container)
            end = None if facts is None else missed_end(container, facts, since_ns)
            if end is not None:
                row = exit_row(end)
                await self.bus.emit(row, unless={row.delivery_id: exit_keys(container, end.at_ns)})
