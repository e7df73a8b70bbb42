"""Subscriptions: the asynchronous one (trio, and asyncio through anyio) and the synchronous one, over the same `Feed`.

Neither has a task, a nursery or a scope of its own: all work happens inside of `__anext__`, so that a bare `async for` that is
left by `break` leaves nothing behind.
"""

from __future__ import annotations

import math
import os
import select
import time
import warnings
from typing import TYPE_CHECKING

from waitbus.client.feed import Feed
from waitbus.client.loops import running
from waitbus.document import Document
from waitbus.errors import InvalidWait, RunningLoopError
from waitbus.event_checks import shown
from waitbus.events import EventFrame
from waitbus.paths import as_path
from waitbus.predicate import Predicate, Wanted, parse_clauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    import anyio

    from waitbus.client.session import Session
    from waitbus.client.start import Start
    from waitbus.client.steps import Gap, Note, Wait

Texts = str | list[str] | tuple[str, ...] | None
Match = Texts | Predicate
"""Terms, or a predicate: `Predicate.parse(conditions="failed")` names a condition, `evaluators=` an evaluator."""

POLL_MAX = 86400.0
"""s; poll() takes no more than 24 days in one call."""


def wanted_of(match: Match, source: Texts, to: str | None, first_of: Iterable[str] | None) -> Wanted | None:
    """What the keywords of `subscribe` ask for; None for everything.

    Raises:
      InvalidPredicate: a term or a clause is not of the grammar.
      InvalidWait: clauses beside terms.
    """
    if first_of is not None:
        if match is not None or source is not None or to is not None:
            raise InvalidWait(
                "first_of stands beside match, source or to", hint="put all of it into the clauses: source:term,term"
            )
        return Wanted.of(parse_clauses(first_of, what="first_of"))
    if match is None and source is None and to is None:
        return None
    return Wanted.of([Predicate.parse(match, source=source, to=to)])


class _Base:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._pid = os.getpid()
        self._closed = False

    @property
    def session(self) -> Session:
        """Transport and position, for those who want to say where they stand."""
        return self._feed.session

    @property
    def armed(self) -> bool:
        """Whether nothing emitted from now on can be missed."""
        return self._feed.session.armed

    def document(self, frame: EventFrame) -> Document:
        """What predicates see of the frame, payload included."""
        return self._feed.document(frame)

    def tell(self, note: Note) -> None:
        """Say it to whoever is told of notes and gaps."""
        self._feed.told(note)

    def ack(self, frame: EventFrame) -> None:
        """The frame was handled: move the bookmark to it now, not when the next one is asked for."""
        self._feed.ack(frame)

    def close(self) -> None:
        """Close the socket and the bell. Idempotent, synchronous."""
        self._closed = True
        self._feed.close()

    def _end(self, failed: bool) -> None:
        if not failed and not self._closed:
            self._feed.settle()
        self.close()

    def __del__(self) -> None:
        # A forked child has a copy of what its parent still uses; it says nothing about it.
        if not getattr(self, "_closed", True) and not self._feed.session.closed and self._pid == os.getpid():
            warnings.warn(f"{type(self).__name__} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()


class AsyncSubscription(_Base):
    """`async with asubscribe(...) as sub: async for frame in sub`, or a bare `async for`. Entering returns when it is armed.

    For one task at a time. `close` may be called by another one: it ends the iteration.
    """

    _scope: anyio.CancelScope | None = None

    async def __aenter__(self) -> AsyncSubscription:
        try:
            await self.arm()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._end(failed=kind is not None)

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> EventFrame:
        """The next event.

        Raises:
          OtherLog, UnknownEvent, CursorGap, LogError, PathError: as `asubscribe`.
          anyio.BusyResourceError: another task is waiting for it.
        """
        while not self._closed:
            step = self._feed.advance()
            if isinstance(step, EventFrame):
                return step
            if isinstance(step, Document):
                await self._read_payload(step)
            else:
                await self._wait(step)
        raise StopAsyncIteration

    async def _read_payload(self, document: Document) -> None:
        import anyio.to_thread

        await anyio.to_thread.run_sync(getattr, document, "payload")

    async def arm(self) -> None:
        """Return when nothing emitted from now on can be missed."""
        while not self._closed and (pending := self._feed.arm()) is not None:
            await self._wait(pending)

    async def _wait(self, pending: Wait) -> None:
        import anyio

        from waitbus.client.drive import wait

        if self._scope is not None:
            raise anyio.BusyResourceError("reading from")
        try:
            with anyio.CancelScope() as self._scope:
                await wait(self.session, pending)
        finally:
            self._scope = None
            if self._closed:
                self._feed.close()

    def close(self) -> None:
        """Close the socket and the bell; a task that waits for an event sees the end of the iteration."""
        self._closed = True
        if self._scope is not None:
            # Its descriptors are being waited for: it closes them itself, when it no longer does.
            self._scope.cancel()
        else:
            self._feed.close()

    async def aclose(self) -> None:
        """`close`, for those who expect it to be asynchronous."""
        self.close()


class Subscription(_Base):
    """`with subscribe(...) as sub: for frame in sub`, or a bare `for`. For one thread at a time."""

    deadline: float = math.inf
    """When (`time.monotonic`) the iteration ends, and arming gives up."""

    def __enter__(self) -> Subscription:
        try:
            self.arm()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._end(failed=kind is not None)

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> EventFrame:
        """The next event.

        Raises:
          OtherLog, UnknownEvent, CursorGap, LogError, PathError: as `subscribe`.
        """
        while not self._closed:
            step = self._feed.advance()
            if isinstance(step, EventFrame):
                return step
            if isinstance(step, Document):
                _ = step.payload
                continue
            if time.monotonic() >= self.deadline:
                break
            poll(step, self.deadline)
        raise StopIteration

    def arm(self) -> None:
        """Return when nothing emitted from now on can be missed, or at the deadline."""
        while (pending := self._feed.arm()) is not None and time.monotonic() < self.deadline:
            poll(pending, self.deadline)


def poll(wait: Wait, deadline: float = math.inf) -> None:
    """Wait as `wait` says, in this thread. Not `select`: it takes no descriptor above 1,023."""
    seconds = max(0.0, min(wait.deadline, deadline) - time.monotonic())
    poller = select.poll()
    fd = wait.bell.fileno() if wait.bell is not None else wait.fd
    if fd is not None:
        poller.register(fd, select.POLLIN)
    poller.poll(math.ceil(min(seconds, POLL_MAX) * 1000))


def asubscribe(
    match: Match = None,
    *,
    source: Texts = None,
    to: str | None = None,
    first_of: Iterable[str] | None = None,
    since: str | Start | None = None,
    socket_path: Path | str | None = None,
    bookmark: str | None = None,
    strict: bool = False,
    told: Callable[[Note | Gap], None] | None = None,
) -> AsyncSubscription:
    """Events as they come, for trio and asyncio: an async context manager and an async iterable.

    `match` is one term or several (`"conclusion=failure"`), or a `Predicate`, `source` a source, `to` a recipient of messages,
    `first_of` clauses (`"pytest:conclusion=failure"`); without any of them every event comes. `since` is an event id, a duration
    (`"5m"`), a time or `"now"`. A restart of the daemon is invisible; without one the log is read directly. A bookmark that
    exists wins over `since`; it moves when the next frame is asked for, when the block ends without an exception, or by `ack`:
    at least once, never at most once.

    Raises:
      InvalidPredicate, InvalidCursor, InvalidWait: what was asked for is not of its form.
      OtherLog, UnknownEvent: `since` names an event that this log does not know.
      CursorGap: with `strict`, events were pruned.
      LogError: there is no daemon, and the log cannot be read.
    """
    from waitbus.client.drive import loop_key

    wanted, path = wanted_of(match, source, to, first_of), path_of(socket_path)
    return AsyncSubscription(Feed(wanted, since, bookmark=bookmark, strict=strict, path=path, key=loop_key, told=told))


def subscribe(
    match: Match = None,
    *,
    source: Texts = None,
    to: str | None = None,
    first_of: Iterable[str] | None = None,
    since: str | Start | None = None,
    socket_path: Path | str | None = None,
    bookmark: str | None = None,
    strict: bool = False,
    told: Callable[[Note | Gap], None] | None = None,
) -> Subscription:
    """`asubscribe`, synchronous: a context manager and an iterable.

    Raises:
      RunningLoopError: an event loop runs in this thread; `asubscribe` is what to call there.
    """
    refuse_in_loop("subscribe", "asubscribe")
    wanted, path = wanted_of(match, source, to, first_of), path_of(socket_path)
    return Subscription(Feed(wanted, since, bookmark=bookmark, strict=strict, path=path, told=told))


def path_of(path: Path | str | None) -> Path | None:
    """A socket's path as callers may write it.

    Raises:
      PathError: it is none.
    """
    return None if path is None else as_path(path, what="socket_path")


def seconds_of(timeout: object) -> float | None:
    """A time-out as callers may write it: any number, below 0 as good as 0; None waits for ever.

    Raises:
      InvalidWait: it is none, or one that no clock ever reaches or passes (`nan`).
    """
    if timeout is None:
        return None
    try:
        # float() would read texts too, and "nan" among them.
        seconds = math.nan if isinstance(timeout, str | bytes | bool) else float(timeout)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if math.isnan(seconds):
        raise InvalidWait(
            f"timeout {shown(timeout)} is not a number of seconds",
            hint="give seconds, as in 30 or 0.5, or None: for ever",
        )
    return seconds


def refuse_in_loop(called: str, instead: str) -> None:
    """A blocking call would stop the event loop that runs in this thread."""
    if running() is not None:
        raise RunningLoopError(
            f"{called}() would block the event loop of this thread", hint=f"use waitbus.{instead}(...) there"
        )
