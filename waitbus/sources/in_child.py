"""A source whose code is somebody else's: it runs in a child process, so that its crash, hang, flood or leak stays its own."""

from __future__ import annotations

import json
import logging
import math
import signal
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import attrs
import trio

from waitbus.errors import ChildFailed, SourceGaveUp
from waitbus.sources.child_lines import BATCH_MAX, Lines, Rate, Said
from waitbus.sources.crashes import CRASHES, WITHIN, Crashes
from waitbus.sources.process_group import ProcessGroup

if TYPE_CHECKING:
    from waitbus.events import EventInsert
    from waitbus.sources.contract import Emitter
    from waitbus.store.rows import Keys

log = logging.getLogger("waitbus.sources")

SILENCE = 60.0
"""s without a line after which a plugin hangs: its host says that it is alive three times as often."""
START = 30.0
"""s for a plugin to begin."""
DRAIN = 1.0
"""s for what a child said before it ended; what it started may hold its output open for ever."""
CHUNK = 1 << 16
GROUP = 200
"""Lines that are read, counted and committed at once."""
BATCH_BYTES = 8 << 20
STDERR_LINES = 200
"""Lines of its standard error in our log, for one run."""
STDERR_PER_S = 1 << 20
"""Bytes of it that are read in a second: a flood of errors costs the child its time, not us ours."""


@attrs.frozen(kw_only=True)
class Program:
    """How a child is started and understood. `hello` is the first line on its standard input; one without has none."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    read: Callable[[bytes], Said | None]
    hello: bytes = b""
    announces: bool = False
    """Whether it says itself when it has begun; else that is when it was started."""
    silence: float | None = None
    start: float = START
    rate: Callable[[], Rate] = Rate


@attrs.define(eq=False)
class InChild:
    """A `contract.Source` that runs a child. `program` is asked before each run, in a thread: it may read files and refuse.

    `run` raises:
      ChildFailed: the child crashed, hung, flooded or said garbage; it and all of its group are gone.
      SourceGaveUp: for the fifth time within 10 minutes.
    """

    name: str
    program: Callable[[], Program]
    _crashes: Crashes = attrs.field(factory=Crashes, init=False)

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        program = await trio.to_thread.run_sync(self.program)
        try:
            await self._once(program, bus, task_status)
        except ChildFailed as error:
            if self._crashes.one_more(trio.current_time()):
                raise SourceGaveUp(
                    f"it failed {CRASHES} times within {WITHIN / 60:g} min and stays down; the last time {error.message}",
                    hint=f"`waitbus source run {self.name}` shows what it does; the next start of the daemon tries it again",
                ) from error
            raise

    async def _once(self, program: Program, bus: Emitter, task_status: trio.TaskStatus[None]) -> None:
        child = await ProcessGroup.start(program.command, program.environment, hears=bool(program.hello))
        life = _Life(self.name, program, child, bus, task_status)
        try:
            await life.lived()
        finally:
            code = await child.end()
        life.judge(code)


@attrs.define(eq=False)
class _Life:
    """One run of a child."""

    name: str
    program: Program
    child: ProcessGroup
    bus: Emitter
    task_status: trio.TaskStatus[None]
    gone: trio.Event = attrs.field(factory=trio.Event, init=False)
    failure: ChildFailed | None = attrs.field(default=None, init=False)
    begun: bool = attrs.field(default=False, init=False)
    reason: str = attrs.field(default="", init=False)
    """What it said of its own failure."""
    _stderr: bytes = attrs.field(default=b"", init=False)
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _drained_at: float = attrs.field(default=math.inf, init=False)
    _begins_by: float = attrs.field(default=math.inf, init=False)
    _rate: Rate = attrs.field(init=False)
    _batch: list[EventInsert] = attrs.field(factory=list, init=False)
    _batch_bytes: int = attrs.field(default=0, init=False)
    _unless: dict[str, Keys] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._rate = self.program.rate()

    async def lived(self) -> None:
        """Until it has ended, or has said its last, or has done what it must not."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._keep_stderr)
            try:
                await self._begin()
                await self._hear()
            except ChildFailed as error:  # not out of the nursery, which would wrap it
                self.failure = error
            else:
                with trio.move_on_after(DRAIN):
                    await self.gone.wait()
            nursery.cancel_scope.cancel()

    def judge(self, code: int | None) -> None:
        """Raise what is wrong with how it ended; `code` as `subprocess` gives it."""
        if self.failure is not None:
            raise self.failure
        if not self.gone.is_set():
            raise ChildFailed("it closed its output and went on", hint="what closes its output has nothing more to say")
        if code != 0:
            said = self.reason or self._last_words()
            raise ChildFailed(": ".join(part for part in (_how(code), said) if part), hint="run it by hand to see more")

    # -- its streams -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        await self.child.exited()
        self.gone.set()
        self._drained_at = trio.current_time() + DRAIN
        self._reading.deadline = min(self._reading.deadline, self._drained_at)

    async def _keep_stderr(self) -> None:
        left = STDERR_LINES
        try:
            async for chunk in self.child.stderr:
                data = bytes(chunk)
                self._stderr = (self._stderr + data)[-2000:]
                for line in islice(data.splitlines(), left):
                    left -= 1
                    log.info("source %s says: %s", self.name, line[:400].decode("utf-8", "replace"))
                await trio.sleep(len(data) / STDERR_PER_S)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def _last_words(self) -> str:
        lines = self._stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    async def _begin(self) -> None:
        if self.program.announces:
            self._begins_by = trio.current_time() + self.program.start
        else:
            self._has_begun()
        if self.program.hello:
            await self._tell(self.program.hello)

    async def _hear(self) -> None:
        lines = Lines()
        while data := await self._data():
            if len(data) < CHUNK // 2:  # its pipe was not full: pages that are written by small lines may be half empty
                self._rate.paused()
            await self._take(lines.fed(data))
        await self._take(lines.last())

    async def _data(self) -> bytes:
        """What it says next; nothing at its end."""
        now = trio.current_time()
        silence = math.inf if self.program.silence is None else now + self.program.silence
        with trio.CancelScope(deadline=min(silence, self._drained_at, self._begins_by)) as self._reading:
            return bytes(await self.child.stdout.receive_some(CHUNK))
        if self.gone.is_set():
            return b""
        if trio.current_time() >= self._begins_by:
            raise ChildFailed(f"it did not begin within {self.program.start:g} s", hint="it was ended")
        raise ChildFailed(f"it hangs: no line for {self.program.silence:g} s", hint="it was ended")

    async def _tell(self, line: bytes) -> None:
        assert self.child.stdin is not None
        try:
            with trio.move_on_after(SILENCE) as waiting:
                await self.child.stdin.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it has ended, or is about to: whoever reads its output hears of that
        if waiting.cancelled_caught:
            raise ChildFailed("it does not read what it is answered", hint="it was ended")

    # -- what it says ----------------------------------------------------------------------------------------------------

    async def _take(self, lines: Iterable[bytes]) -> None:
        each = iter(lines)
        while group := list(islice(each, GROUP)):
            await trio.sleep(self._rate.taken(len(group), trio.current_time()))
            plain: list[EventInsert] = []
            for line in group:
                said = self.program.read(line)
                if said is None:
                    continue
                if said.event is not None and said.number is None:
                    plain.append(said.event)
                else:
                    await self._answer(said, len(line))
            if plain:
                await self.bus.emit(*plain)

    async def _answer(self, said: Said, size: int) -> None:
        if said.event is not None:
            await self._add(said, size)
        elif said.kind == "started":
            self._has_begun()
        elif said.kind == "up":
            self.bus.up(said.text)
        elif said.kind == "down":
            self.bus.down(said.text, said.seconds)
        elif said.kind == "failed":
            self.reason = said.text

    async def _add(self, said: Said, size: int) -> None:
        assert said.event is not None
        self._batch.append(said.event)
        if said.unless is not None:
            self._unless[said.event.delivery_id] = said.unless
        self._batch_bytes += size
        if len(self._batch) > BATCH_MAX or self._batch_bytes > BATCH_BYTES:
            raise ChildFailed(
                f"it said more than {BATCH_MAX:,} events, or {BATCH_BYTES >> 20} MiB, at once", hint="let it emit fewer"
            )
        if said.last:
            batch, unless = self._batch, self._unless
            self._batch, self._unless, self._batch_bytes = [], {}, 0
            new = await self.bus.emit(*batch, unless=unless)
            await self._tell(json.dumps({"number": said.number, "new": new}).encode() + b"\n")

    def _has_begun(self) -> None:
        if not self.begun:
            self.begun = True
            self._begins_by = math.inf
            self.task_status.started()


def _how(code: int | None) -> str:
    if code is None:
        return "it cannot be killed"
    if code < 0:
        try:
            return f"it was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"it was ended by signal {-code}"
    return f"it ended with exit code {code}"
