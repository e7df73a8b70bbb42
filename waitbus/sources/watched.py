"""A source that a wait runs for itself: `--source fs --root src`, `waitbus.watch_files("src")`.

Where the daemon runs it already, it stands by: nothing of it is imported or watched until the session leaves that daemon. Then it
takes over, to the end of the wait, whoever comes back: of what two watchers see there is one row.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import trio

from waitbus import config
from waitbus.client.steps import Note
from waitbus.errors import ConfigError, SourceUnavailable, WaitbusError
from waitbus.paths import config_path
from waitbus.sources.embedding import Embedded
from waitbus.sources.loading import make, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waitbus.client.beside import Beside, Tell
    from waitbus.client.session import Session
    from waitbus.client.waits import Meet, Source
    from waitbus.predicate import Predicate, Wanted
    from waitbus.sources import contract
    from waitbus.sources.contract import SourceSettings
    from waitbus.sources.spec import SourceSpec
    from waitbus.sources.supervision import Health

OVERLAP_NS = 5_000_000_000
"""How long before the daemon was heard last it may have had something that it did not tell: it ends its sources first, and has up
to 5 s for that."""


class Watched:
    """A source by its declaration and settings (`client.beside.Beside`). `says` is told when it begins.

    `settings` makes them, when it begins. `asked_ns`: then (ns since the epoch) the daemon was asked, and ran the source.
    """

    clauses = ()

    def __init__(
        self,
        spec: SourceSpec,
        settings: Callable[[], SourceSettings],
        *,
        predicate: Predicate | None = None,
        says: str = "",
        asked_ns: int | None = None,
    ) -> None:
        self.spec = spec
        self.predicate = predicate
        self.runs = asked_ns is None
        """Whether it is run here; else it stands by."""
        self._settings = settings
        self._says = says
        self._asked_ns = asked_ns or 0

    def source(self, wanted: Wanted, tell: Tell, session: Session | None = None) -> Source:
        if session is None or self.runs:
            return self._run(self._made(), wanted, tell)

        async def stand_by(meet: Meet, /, *, task_status: Any) -> None:
            if session.left_ns is None:
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
            since_ns = max(await _left(session) - OVERLAP_NS, self._asked_ns)
            try:
                source = await trio.to_thread.run_sync(self._made, since_ns)
            except WaitbusError as error:
                tell(Note("down", f"{self.spec.name} cannot be watched here: {error.message}; waiting on"))
                task_status.started()
            else:
                self.runs = True
                await self._run(source, wanted, tell)(meet, task_status=task_status)

        return stand_by

    def _made(self, since_ns: int | None = None) -> contract.Source:
        source = make(self.spec, self._settings())
        take_over = getattr(source, "take_over", None)
        if since_ns is not None and take_over is not None:
            take_over(since_ns)
        return source

    def _run(self, source: contract.Source, wanted: Wanted, tell: Tell) -> Source:
        embedded = Embedded(self.spec.name, source, wanted, _Told(tell))

        async def watch(meet: Meet, /, *, task_status: Any) -> None:
            if self._says:
                tell(Note("embedded", self._says))
            await embedded(meet, task_status=task_status)

        return watch


async def _left(session: Session) -> int:
    """Until the session leaves the daemon; when that was heard last, ns since the epoch."""
    left = trio.Event()
    session.when_it_leaves(left.set)
    if session.left_ns is None:
        await left.wait()
    assert session.left_ns is not None
    return min(session.left_ns, time.time_ns())


# -- settings ----------------------------------------------------------------------------------------------------------


def settings_for_wait(spec: SourceSpec, roots: Sequence[str] = (), globs: Sequence[str] = ()) -> SourceSettings:
    """The settings for a wait: what its table says, switched on or not, and over that these folders and patterns of names.

    Raises:
      ConfigError: its table is wrong.
      SourceUnavailable: its settings cannot be loaded, or it has no folders and some were given.
      WaitbusError: what the source itself says of them.
    """
    settings: Any = settings_of(spec, table_for(spec.name)).beginning_now()
    for_wait = getattr(settings, "for_wait", None)
    if for_wait is not None:
        return cast("SourceSettings", for_wait(roots, globs))
    if roots or globs:
        raise SourceUnavailable(
            f"source {spec.name} has no folders to watch", hint="leave --root and --glob out, or use --source fs"
        )
    return cast("SourceSettings", settings)


def table_for(name: str) -> Mapping[str, Any]:
    """What the configuration says of a source, as it stands there; the rest of the file is none of a wait's business.

    Raises:
      ConfigError: the file cannot be read, or that is no table.
    """
    tables = config.read(config_path()).get("sources", {})
    table = tables.get(name, {}) if isinstance(tables, dict) else tables
    if not isinstance(table, dict):
        raise ConfigError(f"sources.{name}: {table!r} is not a table", hint=f"write [sources.{name}] above its keys")
    return table


class _Told:
    """Tells of a source that goes down, once however often it tries, and of its return."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._is_down = False

    def __call__(self, health: Health) -> None:
        if health.state == "down" and not self._is_down:
            self._is_down = True
            self._tell(Note("down", f"{health.name} is down: {health.reason}; waiting on"))
        elif health.state == "up" and self._is_down:
            self._is_down = False
            self._tell(Note("up", f"{health.name} is up again"))


if TYPE_CHECKING:
    _: type[Beside] = Watched
