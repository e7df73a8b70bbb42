"""The fs source: files that appear, change, move or go, under one or several roots."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from waitbus.config import Seconds
from waitbus.errors import ConfigError, InvalidValue, ServiceMissing, WaitbusError
from waitbus.event_checks import shown
from waitbus.paths import absolute
from waitbus.sources.contract import SourceSettings
from waitbus.sources.fs_globs import Globs
from waitbus.sources.fs_watch import RootWatch, Turn

if TYPE_CHECKING:
    from waitbus.sources.contract import Emitter

log = logging.getLogger("waitbus.sources")

ROOTS_MAX = 64
"""Each has a queue of the kernel's, of which a user has 128."""

CLOSE = 0.1
"""s that an end waits for the kernel to take the queue back."""


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts, as a configuration has it. One text alone would be taken for a list of letters."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidValue(f"{shown(value)} is not a list", hint='write one, as in ["src", "docs"]')
    texts = tuple(value)
    for text in texts:
        if not isinstance(text, str) or not text or "\0" in text:
            raise InvalidValue(f"{shown(text)} is not a text", hint='write texts, as in ["src", "docs"]')
    return texts


def _not_negative(_: object, __: object, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise InvalidValue(f"{value:g} is not a time to wait", hint="write 0 or more seconds")


def _roots(_: object, __: object, value: tuple[str, ...]) -> None:
    if len(value) > ROOTS_MAX:
        raise InvalidValue(f"{len(value)} roots", hint=f"{ROOTS_MAX} at most; watch a folder around them")


def _about(sentence: str) -> dict[str, str]:
    return {"about": sentence}


@attrs.frozen(kw_only=True)
class FsSettings(SourceSettings):
    """`[sources.fs]`, and what `--root` and `--glob` say."""

    roots: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, validator=_roots, metadata=_about("The folders to watch; `~` is your home.")
    )
    include: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, metadata=_about("Globs of the files to tell of, as in a .gitignore; none: all.")
    )
    exclude: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, metadata=_about("Globs of files and folders not to tell of.")
    )
    recursive: bool = attrs.field(default=True, metadata=_about("Whether folders in folders are watched."))
    gitignore: bool = attrs.field(default=True, metadata=_about("Whether what git ignores is left out."))
    debounce: Seconds = attrs.field(
        default=Seconds(0.0),
        validator=_not_negative,
        metadata=_about("A change is told when its path was left alone for so long; by default at once."),
    )

    def __attrs_post_init__(self) -> None:
        self.globs()

    def for_wait(self, roots: Sequence[str] = (), globs: Sequence[str] = ()) -> FsSettings:
        """What `wait --source fs --root DIR --glob GLOB` means where the table says this; without any root the current directory.

        Raises:
          InvalidValue: a glob is none, or there are too many.
          PathError: a root is relative, and the current directory was removed.
        """
        there = tuple(roots) or self.roots or (os.curdir,)
        for root in there:
            absolute(os.path.expanduser(root), what="--root")
        return attrs.evolve(self, roots=there, include=tuple(globs) or self.include)

    def globs(self) -> Globs:
        """What is included and excluded."""
        return Globs.parse(self.include, self.exclude)

    def places(self) -> list[str]:
        """The roots as absolute paths without links, each once, so that watchers who name one folder differently agree."""
        return list(dict.fromkeys(os.path.realpath(os.path.expanduser(root)) for root in self.roots))


class FsSource:
    """A `contract.Source`: a watch for each root. It is down while none of them is there."""

    def __init__(self, settings: FsSettings) -> None:
        self.settings = settings
        self._since_ns: int | None = None

    def take_over(self, since_ns: int) -> None:
        # What was held back for so long is what the daemon had not told.
        self._since_ns = since_ns - round(self.settings.debounce * 1e9)

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        places = await trio.to_thread.run_sync(self.settings.places)
        if not places:
            raise _no_roots()
        roots = _Roots(bus, places)
        try:
            async with trio.open_nursery() as nursery:
                for place in places:
                    await nursery.start(partial(self._watch, place, bus, roots))
                task_status.started()
        except BaseExceptionGroup as group:
            raise _only(group) from None

    async def probe(self) -> str:
        """Whether the roots are there. Without any it is no source for a daemon, and good for waits, which name theirs.

        Raises:
          ConfigError: it is switched on without any.
          ServiceMissing: one of them is not there.
        """
        places = await trio.to_thread.run_sync(self.settings.places)
        if not places and self.settings.enabled:
            raise _no_roots()
        for place in places:
            if not await trio.to_thread.run_sync(os.path.isdir, place):
                raise ServiceMissing(
                    f"{place} is no folder", hint="make it, or take it out of roots; a daemon waits for it to come"
                )
        return f"{', '.join(places)}: there" if places else "no roots are set; a wait watches the folder that it names"

    async def _watch(
        self, place: str, bus: Emitter, roots: _Roots, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        settings = self.settings
        watch = RootWatch(
            place, settings.globs(), settings.recursive, settings.gitignore, settings.debounce, self._since_ns
        )
        try:
            begun = False
            while True:
                turn = await trio.to_thread.run_sync(watch.turn)
                if turn.events:
                    await bus.emit(*turn.events)
                roots.tell(place, turn.here)
                if not turn.more:
                    if not begun:
                        begun = True
                        task_status.started()
                    await _next(watch, turn)
        finally:
            # To give thousands of watches back takes the kernel a while, which nobody has to wait for.
            with trio.move_on_after(CLOSE, shield=True):
                await trio.to_thread.run_sync(watch.close, abandon_on_cancel=True)


def _no_roots() -> ConfigError:
    return ConfigError("the fs source has no roots", hint='write roots = ["/home/me/src"] below [sources.fs]')


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure, where all that failed is ours: the supervisor says its sentence."""
    ours, others = group.split(WaitbusError)
    while isinstance(ours, BaseExceptionGroup) and others is None:
        if not isinstance(ours.exceptions[0], BaseExceptionGroup):
            return ours.exceptions[0]
        ours = ours.exceptions[0]
    return group


class _Roots:
    """Which roots are there, told where that changes."""

    def __init__(self, bus: Emitter, places: Iterable[str]) -> None:
        self._bus = bus
        self._gone: set[str] = set()
        self._places = frozenset(places)

    def tell(self, place: str, here: bool) -> None:
        if here == (place not in self._gone):
            return
        if here:
            self._gone.discard(place)
            self._bus.up()
        else:
            self._gone.add(place)
            reason = f"{place} is {'no folder' if os.path.lexists(place) else 'not there'}; it is watched for"
            if self._gone == self._places:
                self._bus.down(reason)
            else:
                log.warning("source fs: %s", reason)


async def _next(watch: RootWatch, turn: Turn) -> None:
    """Until there is something to do. Nothing ticks: without a note and without a change that is held this takes for ever."""
    with trio.move_on_after(max(0.0, turn.due - time.monotonic())):
        if watch.queue is not None and turn.listens:
            await trio.lowlevel.wait_readable(watch.queue.fd)
        else:
            await trio.sleep_forever()
