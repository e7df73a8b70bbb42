"""Waiting, for the asynchronous faces: on a socket, or on a bell that many sessions of one loop share.

One of those who wait for a bell watches its descriptor; the others wait for that one to hear it. When it leaves without a
ring (cancelled, or its time is up), exactly one other takes its place.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from waitbus.client.session import Session, Wait
    from waitbus.client.shared_bell import SharedBell


class _Watch:
    """Who waits for one bell."""

    def __init__(self) -> None:
        self.watched = False
        self.others: deque[anyio.Event] = deque()


_watches: WeakKeyDictionary[SharedBell, _Watch] = WeakKeyDictionary()


def loop_key() -> object:
    """What tells the running event loop from others."""
    import threading

    return threading.get_ident()


async def wait(session: Session, pending: Wait) -> None:
    """Return when `pending` says that a step is worth it."""
    seconds = max(0.0, pending.deadline - time.monotonic())
    if not seconds and pending.fd is None and pending.bell is None:
        await anyio.lowlevel.checkpoint()
        return
    with anyio.move_on_after(None if math.isinf(seconds) else seconds):
        if pending.bell is not None:
            await _wait_for_bell(session, pending, pending.bell)
        elif pending.fd is not None:
            await anyio.wait_readable(pending.fd)
        else:
            await anyio.sleep_forever()


async def _wait_for_bell(session: Session, pending: Wait, bell: SharedBell) -> None:
    watch = _watches.setdefault(bell, _Watch())
    while not session.heard(pending):
        if watch.watched:
            turn = anyio.Event()
            watch.others.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    _hand_over(watch)
                else:
                    watch.others.remove(turn)
                raise
            continue
        watch.watched = True
        try:
            await anyio.wait_readable(bell.fileno())
            bell.listen()
        finally:
            watch.watched = False
            if session.heard(pending):
                while watch.others:
                    watch.others.popleft().set()
            else:
                _hand_over(watch)


def _hand_over(watch: _Watch) -> None:
    if watch.others and not watch.watched:
        watch.others.popleft().set()
