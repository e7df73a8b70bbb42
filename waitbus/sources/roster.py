"""The sources that a daemon runs: those that its configuration switches on, each under supervision, each for itself.

What fails here, a table that is wrong among it, is a source that is down with its reason in `status`, never the daemon's end.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import trio

from waitbus.errors import ConfigError, LogError, PathError, SourceUnavailable, WaitbusError
from waitbus.sources.loading import Configured, configured, is_enabled
from waitbus.sources.supervision import Health, Supervised
from waitbus.store import seen, shared

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from waitbus.sources.contract import Emitter, Source

    Tables = Mapping[str, Mapping[str, Any]]

log = logging.getLogger("waitbus.sources")

GRACE = 2.0
"""s that what a source has heard may take into the log once it is stopped, and as long for saying that it was."""

SWITCHED_OFF = "it is switched off in the configuration"


@attrs.define(eq=False)
class Member:
    """One source while it is run. `gone` is set when nothing of it runs any more."""

    table: Mapping[str, Any]
    supervised: Supervised
    is_usable: bool
    hears: list[str]
    """What it listens to, as `status` shows it."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    gone: trio.Event = attrs.field(factory=trio.Event)
    farewell: str = ""
    """What the log is told when it is stopped; empty where it is begun anew."""

    @property
    def can_run(self) -> bool:
        return self.is_usable and not self.supervised.is_refused


@attrs.define(eq=False)
class Roster:
    """`set` says what is to run, `run` runs it, `stop` ends it; `report` tells how each is."""

    _tables: Tables = attrs.field(factory=dict)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _members: dict[str, Member] = attrs.field(factory=dict, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _index: object = attrs.field(default=None, init=False)
    """The index of what is installed, by which the last ones were made."""

    def set(self, tables: Tables) -> None:
        """From now on these run: new ones begin, others end, those whose table changed begin anew. One whose table could not be
        used is tried again."""
        self._tables = tables
        self._changed.set()

    def again(self) -> None:
        """Try those anew that could not be used: somebody has decided about plugins."""
        self._changed.set()

    async def look(self) -> None:
        """Try them anew if something was installed, changed or decided since; nothing is looked at where all are used.

        Asked with each heartbeat, for which the daemon is awake anyway: a refusal needs no clock of its own.
        """
        if all(member.can_run for member in self._members.values()):
            return
        from waitbus.sources import index

        try:
            if await trio.to_thread.run_sync(index.index) is not self._index:
                self.again()
        except Exception:  # the boundary: what is installed may be in any state, and the daemon goes on
            log.exception("what is installed cannot be looked at")

    async def run(self) -> None:
        """Run what is set until cancelled. Sleeps while nothing changes."""
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                if not self._stopped:
                    await self._try(self._tables, nursery)
                await self._changed.wait()

    async def stop(self, reason: str) -> None:
        """End them all; returns when what they heard is committed."""
        self._stopped = True
        await self._end(list(self._members), reason)

    def report(self) -> list[dict[str, Any]]:
        """A row for each, for `status`: times in ns since the epoch, `scope` what it listens to."""
        return [_row(member) for member in self._members.values()]

    # -- from what is set to what runs ---------------------------------------------------------------------------------

    async def _try(self, tables: Tables, nursery: trio.Nursery) -> None:
        try:
            await self._apply(tables, nursery)
        except Exception:  # the boundary: whatever is wrong with sources, the bus goes on
            log.exception("the sources could not be begun; the next SIGHUP tries again")

    async def _apply(self, tables: Tables, nursery: trio.Nursery) -> None:
        wanted = {name: table for name, table in tables.items() if is_enabled(table)}
        refused = await trio.to_thread.run_sync(_refused) if self._members else set()
        kept = {name for name, one in self._members.items() if one.can_run and wanted.get(name) == one.table} - refused
        fresh = {name: table for name, table in wanted.items() if name not in kept}
        # In a thread: it imports the sources' code, and reads the log.
        if fresh:
            self._index, made = await trio.to_thread.run_sync(_prepared, fresh)
        else:
            made = []
        begun = [one for one in made if not self._goes_on(one, refused)]
        kept |= {one.name for one in made} - {one.name for one in begun}
        await self._end([name for name in self._members if name not in wanted], SWITCHED_OFF)
        await self._end([name for name in self._members if name not in kept], "")
        for one in begun:
            self._begin(one, fresh[one.name], nursery)

    def _goes_on(self, one: Prepared, refused: Set[str]) -> bool:
        """Whether its new table is wrong, and it runs by the old one: as with all of the configuration, that stays in force.

        Not so a plugin that is refused now. One that is as unusable as it was goes on being that, and nobody is told once more.
        """
        before = self._members.get(one.name)
        if before is None or not isinstance(one.source, Unusable):
            return False
        if not before.is_usable:
            return before.supervised.source == one.source
        if one.name in refused or before.supervised.is_refused:
            return False
        log.error("%s; source %s goes on with what was in force", one.source.reason, one.name)
        return True

    def _begin(self, one: Prepared, table: Mapping[str, Any], nursery: trio.Nursery) -> None:
        if self._stopped:
            return
        supervised = Supervised(one.name, one.source, changed=_tell, was_down=one.was_down, grace=GRACE)
        is_usable = not isinstance(one.source, Unusable)
        member = self._members[one.name] = Member(table, supervised, is_usable, one.hears)
        nursery.start_soon(self._run, member)

    async def _run(self, member: Member) -> None:
        try:
            with member.scope:
                await member.supervised.run()
            if member.farewell:
                await member.supervised.farewell(member.farewell)
        except Exception:  # the boundary: not even a fault of the supervisor itself is to end the daemon
            log.exception("source %s: its supervisor failed; it is not run any more", member.supervised.name)
        finally:
            member.gone.set()

    async def _end(self, names: list[str], farewell: str) -> None:
        members = [self._members[name] for name in names]
        for member in members:
            member.farewell = farewell
            member.scope.cancel()
        for member in members:
            await member.gone.wait()
        for name in names:
            self._members.pop(name, None)


@attrs.frozen
class Unusable:
    """In the place of a source that cannot be made: down until something else is configured, installed or decided."""

    reason: str

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        bus.down(self.reason)
        task_status.started()
        await trio.sleep_forever()


class Prepared(NamedTuple):
    """A source that is made, whether the log says that it is down, and what it listens to."""

    name: str
    source: Source
    was_down: bool
    hears: list[str]


def _refused() -> set[str]:
    """The plugins that may not be used now, whatever they were when they began."""
    from waitbus.sources import index

    return {row["name"] for row in index.index()["refused"] if row["distribution"] != "config"}


def _prepared(tables: Tables) -> tuple[object, list[Prepared]]:
    from waitbus.sources import index

    installed = index.index()  # first: what changes while they are made is looked at once more
    down: Mapping[str, str] = {}
    with contextlib.suppress(LogError, PathError):
        down = seen.sources_down(shared())
    made = [(one.name, _source(one)) for one in configured(tables)]
    return installed, [Prepared(name, source, name in down, scope_of(source)) for name, source in made]


def _source(one: Configured) -> Source:
    try:
        return one.make()
    except (ConfigError, SourceUnavailable) as error:
        return Unusable(_reason(error))


def _reason(error: WaitbusError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _tell(health: Health) -> None:
    if health.state == "down":
        log.warning("source %s is down: %s", health.name, health.reason)
    else:
        log.info("source %s is up%s", health.name, f": {health.reason}" if health.reason else "")


def _row(member: Member) -> dict[str, Any]:
    health = member.supervised.health
    return {
        "name": health.name,
        "state": health.state,
        "reason": health.reason,
        "since": _ns(health.since),
        "retry_at": None if health.retry_at is None else _ns(health.retry_at),
        "events": health.events,
        "heard": None if health.heard is None else _ns(health.heard),
        "scope": member.hears,
    }


def scope_of(source: object) -> list[str]:
    """What a source listens to, by its `scope`, or by the places that its settings name."""
    scope = getattr(source, "scope", None)
    if scope is None:
        places = getattr(getattr(source, "settings", None), "places", None)
        scope = places() if callable(places) else ()
    return [str(one) for one in (scope if isinstance(scope, list | tuple) else (scope,))]


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
