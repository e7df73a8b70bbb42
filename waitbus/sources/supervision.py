"""Running a source for as long as its owner runs: again after each end, later each time, with its health for whoever asks."""

from __future__ import annotations

import logging
import os
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs
import trio

from waitbus.errors import LogBusy, LogError, PathError, PinsDamaged, PluginRefused, SourceGaveUp, WaitbusError
from waitbus.events import EventInsert
from waitbus.producer import emit_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.sources.contract import Source
    from waitbus.store.rows import Unless

log = logging.getLogger("waitbus.sources")

RETRY, RETRY_MAX = 0.5, 60.0
"""s before the second run and, doubling, before every later one; each with jitter, so that many do not come back at once."""

STEADY = 30.0
"""s of hearing after which a source has recovered: its next failure is a first one again."""

PAUSE, PAUSE_MAX = 0.01, 5.0
"""s between two attempts to write into a log that cannot be written."""

REASON_MAX = 400
"""Characters of a reason: one line for a person, whatever a source has to say."""

CHANGES_MAX = 16
"""Changes of health that wait for a log that cannot be written. Beyond, the oldest leave, a going down with its coming back."""

State = Literal["starting", "up", "down"]


@attrs.define
class Health:
    """How a source is. `since`, `retry_at` and `heard` are in s of `time.time`: when `state` began, when it tries again, when its
    last event came."""

    name: str
    state: State = "starting"
    reason: str = ""
    since: float = attrs.field(factory=time.time)
    retry_at: float | None = None
    events: int = 0
    heard: float | None = None


@attrs.define(eq=False)
class Supervised:
    """A source under supervision, and its `Emitter`.

    `wants` says which events go into the log: a wait that embeds a source writes only what it waits for. `tells`: whether changes
    of its health become events (`source_down`, `source_up`) besides; `changed` hears of them in any case. `was_down`: the log
    says so, from before. `grace`: s that what was heard may still take into the log once the source is cancelled.
    """

    name: str
    source: Source
    wants: Callable[[EventInsert], bool] = lambda _: True
    tells: bool = True
    changed: Callable[[Health], None] = lambda _: None
    was_down: bool = False
    grace: float = 0.0
    health: Health = attrs.field(init=False)
    is_refused: bool = attrs.field(default=False, init=False)
    """Whether it may not be used: it stays down until somebody decides otherwise, and whoever owns it begins it anew."""
    _alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """Held while something is written: what happened first is written first."""
    _changes: list[EventInsert] = attrs.field(factory=list, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _hears_from: float = attrs.field(default=float("inf"), init=False)
    _said_down: bool = attrs.field(default=False, init=False)
    _stays_down: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.health = Health(self.name)

    # -- what the source says ------------------------------------------------------------------------------------------

    async def emit(self, *events: EventInsert, unless: Unless | None = None) -> int:
        self.up()
        wanted = [event for event in events if self.wants(event)]
        if not wanted:
            return 0
        try:
            inserted = await self._commit(wanted, unless)
        except trio.Cancelled:
            # It may be committed already: then its delivery ids are known, and a second time writes nothing.
            with trio.move_on_after(self.grace) as last:
                last.shield = True
                await self._commit(wanted, unless)
            raise
        if inserted:
            self.health.events += inserted
            self.health.heard = time.time()
        return inserted

    def up(self, detail: str = "") -> None:
        self._said_down = False
        before = self.health.state
        if before == "up":
            return
        self._hears_from = trio.current_time()
        self._change("up", detail, None)
        if before == "down" or self.was_down:
            self.was_down = False
            self._note("source_up", detail)

    def down(self, reason: str, retry_s: float | None = None) -> None:
        self._said_down = True
        self._fail(reason, retry_s)

    def _fail(self, reason: str, retry_s: float | None) -> None:
        before = self.health.state
        self._hears_from = float("inf")
        self._change("down", reason, None if retry_s is None else time.time() + retry_s)
        if before != "down" or self._stays_down:
            self._note("source_down", reason)

    def _change(self, state: State, reason: str, retry_at: float | None) -> None:
        health, reason = self.health, _one_line(reason)
        if state != health.state:
            health.since = time.time()
        is_news = (state, reason) != (health.state, health.reason)
        health.state, health.reason, health.retry_at = state, reason, retry_at
        if is_news:
            self.changed(health)

    def _note(self, event_type: str, reason: str) -> None:
        if self.tells:
            fields = {"name": self.name, "reason": _one_line(reason) or None, "pid": os.getpid()}
            self._changes.append(EventInsert(source="waitbus", event_type=event_type, fields=fields))
            if len(self._changes) > CHANGES_MAX:
                del self._changes[:2]
            self._changed.set()

    # -- into the log --------------------------------------------------------------------------------------------------

    async def _commit(self, events: list[EventInsert], unless: Unless | None = None) -> int:
        """Commit what is to be said of its health, then the events; how many of those were new."""
        async with self._alone:
            changes = list(self._changes)
            inserted = await self._write([*changes, *events], len(events), unless)
            self._changes = [one for one in self._changes if one not in changes]
        return inserted

    async def _write(self, events: list[EventInsert], count: int, unless: Unless | None) -> int:
        """Commit and ring, however long the log takes; how many of the last `count` were new."""
        pause, said = PAUSE, False
        write = partial(emit_all, events, unless=unless)
        while True:
            try:
                results = await trio.to_thread.run_sync(write)
            except (LogError, PathError) as error:
                if not said and not isinstance(error, LogBusy):
                    log.warning("source %s: %s; trying again", self.name, error.message)
                    said = True
                await trio.sleep(pause)
                pause = min(pause * 2, PAUSE_MAX)
            else:
                return sum(result.inserted for result in results[len(results) - count :])

    async def _write_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            await self._say_changes()

    async def _say_changes(self) -> None:
        try:
            if self._changes:
                await self._commit([])
        except Exception as error:  # the boundary: what is told of a source is never a reason to end its owner
            log.error("source %s: %s; its change of health is not in the log", self.name, error)
            self._changes.clear()

    async def farewell(self, reason: str) -> None:
        """Its owner has ended `run`, and nobody else runs it: say so in the log, within `grace` s."""
        if self.health.state == "up":
            self._change("down", reason, None)
            self._note("source_down", reason)
        with trio.move_on_after(self.grace) as last:
            last.shield = True
            await self._say_changes()

    # -- the supervisor ------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the source until cancelled; one that raises `SourceGaveUp`, or may not be used, stays down.

        `started()` comes when its first run has begun or failed: others go on without it.
        """
        begun = _Begun(self, task_status)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_changes)
            pause = RETRY
            while True:
                self._said_down = False
                reason = await self._once(begun)
                if trio.current_time() - self._hears_from >= STEADY:
                    pause = RETRY
                wait = pause * (1 + random.random()) / 2
                self._fail(reason, None if self._stays_down else wait)
                begun.go_on()
                if self._stays_down:
                    await trio.sleep_forever()
                await trio.sleep(wait)
                pause = min(pause * 2, RETRY_MAX)

    async def _once(self, begun: _Begun) -> str:
        """One run to its end; why it ended."""
        try:
            await self.source.run(self, task_status=begun)
        except SourceGaveUp as error:
            self._stays_down = True
            return error.message
        except (PluginRefused, PinsDamaged) as error:
            self._stays_down = self.is_refused = True
            return f"{error.message} ({error.hint})"
        except WaitbusError as error:
            return error.message
        except (
            Exception,
            SystemExit,
        ) as error:  # the boundary: whatever a source does ends that source alone, for a while
            log.debug("source %s", self.name, exc_info=error)
            return _said(error)
        return "it ended by itself"

    def begun(self) -> None:
        """A run has begun. That is to hear, unless the source has said that it does not yet."""
        if not self._said_down:
            self.up()


class _Begun:
    """The task status of every run: the owner is told of the first."""

    def __init__(self, supervised: Supervised, owner: trio.TaskStatus[None]) -> None:
        self._supervised = supervised
        self._owner: trio.TaskStatus[None] | None = owner

    def started(self, value: None = None) -> None:
        self._supervised.begun()
        self.go_on()

    def go_on(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.started()


def _said(error: BaseException) -> str:
    """What a failure says; of a nursery's group the first one in it, since the group itself says nothing."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, WaitbusError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _one_line(reason: str) -> str:
    return " ".join(reason[: 4 * REASON_MAX].split())[:REASON_MAX]
