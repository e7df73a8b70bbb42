"""Waiting, for the asynchronous faces: on a socket, or on a bell that many sessions of one loop share.

One of those who wait for a bell watches its descriptor; the others wait for that one to hear it. When it leaves without a
ring (cancelled, or its time is up), exactly one other takes its place.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

from waitbus.client.loops import running

if TYPE_CHECKING:
    from waitbus.client.session import Session
    from waitbus.client.shared_bell import SharedBell
    from waitbus.client.steps import Wait


class _Watch:
    """Who waits for one bell: at most one at its descriptor, in `scope`, the others at an event each."""

    def __init__(self, bell: SharedBell) -> None:
        self.scope: anyio.CancelScope | None = None
        self.others: deque[anyio.Event] = deque()
        bell.on_ring = self.wake

    def wake(self) -> None:
        if self.scope is not None:
            self.scope.cancel()
        while self.others:
            self.others.popleft().set()

    def hand_over(self) -> None:
        if self.others and self.scope is None:
            self.others.popleft().set()


_watches: WeakKeyDictionary[SharedBell, _Watch] = WeakKeyDictionary()


def loop_key() -> object:
    """What tells the running event loop from others; to be asked inside of it."""
    return running() or threading.get_ident()


async def wait(session: Session, pending: Wait) -> None:
    """Return when `pending` says that a step is worth it."""
    if not pending.deadline:
        await anyio.lowlevel.checkpoint()
        return
    with anyio.move_on_after(max(0.0, pending.deadline - time.monotonic())):
        if pending.bell is not None:
            await _wait_for_bell(session, pending, pending.bell)
        elif pending.fd is not None:
            await anyio.wait_readable(pending.fd)
        else:
            await anyio.sleep_forever()


async def _wait_for_bell(session: Session, pending: Wait, bell: SharedBell) -> None:
    watch = _watches.get(bell)
    if watch is None:
        watch = _watches[bell] = _Watch(bell)
    while not session.heard(pending):
        if watch.scope is None:
            await _watch_descriptor(watch, bell)
        else:
            await _wait_for_turn(watch)


async def _watch_descriptor(watch: _Watch, bell: SharedBell) -> None:
    try:
        with anyio.CancelScope() as watch.scope:
            await anyio.wait_readable(bell.fileno())
    finally:
        watch.scope = None
        # Nobody else is told of a ring here but by `listen`; and if it was none, somebody has to take this place.
        bell.listen()
        watch.hand_over()


async def _wait_for_turn(watch: _Watch) -> None:
    turn = anyio.Event()
    watch.others.append(turn)
    try:
        await turn.wait()
    except BaseException:
        if turn in watch.others:
            watch.others.remove(turn)
        else:
            watch.hand_over()
        raise
