"""Accepting subscribers: a bounded number, and nobody's failure is another's."""

from __future__ import annotations

import errno
import logging
import resource
from typing import TYPE_CHECKING

import trio

from waitbus.errors import ProtocolError
from waitbus.hub.connection import Stalled, converse
from waitbus.hub.patience import UNREADABLE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from waitbus.hub.hub import Hub

log = logging.getLogger("waitbus.hub")

SPARE_FDS = 64
"""Descriptors that subscribers do not get: the log's, the bell's, those of sources."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
EXHAUSTED_PAUSE = 0.1
SAY_AGAIN = 60.0
"""s between two lines in the log about one and the same shortage."""

LEFT = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ProtocolError)
"""Ways in which a subscriber leaves that are its own affair."""


async def accept(hub: Hub, listening: Callable[[], socket.socket], nursery: trio.Nursery) -> None:
    """Accept for ever, each subscriber in `nursery`. At the limit of descriptors accepting pauses, and nothing else.

    `listening` answers the socket to accept on; it may change, once trio was told that the one before is closing.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    places = trio.Semaphore(max(1, limit - min(SPARE_FDS, limit // 2)))
    shortage = Shortage()
    while True:
        await places.acquire()
        connection = await _accepted(listening, shortage)
        nursery.start_soon(_serve, hub, connection, places)


async def _accepted(listening: Callable[[], socket.socket], shortage: Shortage) -> socket.socket:
    while True:
        listener = listening()
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            await _readable(listener)
        except ConnectionAbortedError:
            await trio.lowlevel.checkpoint()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            shortage.say(error)
            await trio.sleep(EXHAUSTED_PAUSE)
        else:
            connection.setblocking(False)
            return connection


async def _readable(listener: socket.socket) -> None:
    try:
        await trio.lowlevel.wait_readable(listener)
    except trio.ClosedResourceError:
        pass  # it was bound anew


class Shortage:
    """Says that descriptors are short, once in a while however often it happens."""

    def __init__(self) -> None:
        self._silent_until = -1.0

    def say(self, error: OSError) -> None:
        now = trio.current_time()
        if now >= self._silent_until:
            log.warning("cannot accept subscribers: %s; going on when that is over", error.strerror)
            self._silent_until = now + SAY_AGAIN


async def _serve(hub: Hub, connection: socket.socket, places: trio.Semaphore) -> None:
    try:
        await converse(hub, connection)
    except* LEFT as group:
        log.debug("a subscriber left: %s", group.exceptions[0])
    except* (Stalled, *UNREADABLE) as group:
        log.info("a subscriber was closed: %s", group.exceptions[0])
    except* Exception as group:
        # The boundary of supervision: one subscriber's failure, whatever it is, ends that one.
        log.error("a subscriber failed: %r", group.exceptions[0])
        log.debug("", exc_info=group)
    finally:
        trio.lowlevel.notify_closing(connection)
        connection.close()
        places.release()
