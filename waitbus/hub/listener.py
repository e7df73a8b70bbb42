"""Accepting subscribers: a bounded number, same user only, a handshake under a deadline, and nobody's failure is another's."""

from __future__ import annotations

import errno
import logging
import os
import resource
import select
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

import trio

from waitbus import wire
from waitbus.errors import LogError, ProtocolError
from waitbus.hub.report import report

if TYPE_CHECKING:
    from waitbus.hub.hub import Hub
    from waitbus.hub.subscriber import Subscriber

log = logging.getLogger("waitbus.hub")

HANDSHAKE = 10.0
"""s for the whole subscribe frame, and for a log that is busy."""

FAREWELL = 2.0
"""s for the frame that refuses a version."""

SEND_BUFFER = 1024 * 1024
DRAIN_MAX = 32 * 1024
"""Bytes of a refused peer that are read before the close, so that it sees EOF and no reset."""

CHATTER_MAX = 64 * 1024
"""Bytes a subscriber may send after its subscribe frame, where none are expected, before it is cut."""

SPARE_FDS = 64
ACCEPT_PAUSE = 0.1


async def accept(hub: Hub, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
    """Accept for ever, each subscriber in `nursery`. At the limit of file descriptors accepting pauses, and nothing else."""
    limiter = trio.CapacityLimiter(max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FDS))
    exhausted = False
    while True:
        borrower = object()
        await limiter.acquire_on_behalf_of(borrower)
        try:
            connection, _ = await listener.accept()
        except OSError as error:
            limiter.release_on_behalf_of(borrower)
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED):
                raise
            if not exhausted:
                log.warning("cannot accept: %s; going on when descriptors are free", error.strerror)
            exhausted = True
            await trio.sleep(ACCEPT_PAUSE)
            continue
        exhausted = False
        nursery.start_soon(_serve, hub, connection, limiter, borrower)


async def _serve(hub: Hub, connection: trio.socket.SocketType, limiter: trio.CapacityLimiter, borrower: object) -> None:
    try:
        await _subscription(hub, connection)
    except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ProtocolError) as group:
        log.debug("a subscriber left: %s", group.exceptions[0])
    except* Exception as group:
        log.exception("a subscriber failed; the others are not touched", exc_info=group)
    finally:
        connection.close()
        limiter.release_on_behalf_of(borrower)


async def _subscription(hub: Hub, connection: trio.socket.SocketType) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    pid, uid = peer(connection)
    if uid != os.geteuid():
        return
    try:
        with trio.fail_after(HANDSHAKE):
            asked = wire.parse_subscribe(await _first_frame(connection))
            sub, first = await _registered(hub, asked, pid)
    except ProtocolError as error:
        log.debug("a subscriber was refused: %s", error.message)
        await _refuse(connection, wire.version_rejected() if isinstance(error, wire.VersionRefused) else b"")
        return
    try:
        with sub.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, sub, connection)
                if asked.status:
                    first += wire.pack(report(hub, sub))
                await _write(hub, sub, connection, first)
                sub.scope.cancel()
    finally:
        hub.unregister(sub)


async def _registered(hub: Hub, asked: wire.Subscribe, pid: int | None) -> tuple[Subscriber, bytes]:
    pause = 0.01
    while True:
        try:
            return hub.register(asked, pid)
        except LogError as error:
            log.debug("a subscriber waits for the log: %s", error.message)
            await trio.sleep(pause)
            pause = min(pause * 2, 1.0)


async def _first_frame(connection: trio.socket.SocketType) -> dict[str, Any]:
    decoder = wire.Decoder()
    while True:
        data = await connection.recv(wire.MAX_FRAME + 4)
        if not data:
            raise ProtocolError("EOF before a subscribe frame", hint="send one frame first")
        for message in decoder.feed(data):
            return message


async def _write(hub: Hub, sub: Subscriber, connection: trio.socket.SocketType, first: bytes) -> None:
    async def send(blob: bytes) -> None:
        rest = memoryview(blob)
        while rest:
            with trio.fail_after(hub.stall_timeout) as sub.stall:
                rest = rest[await connection.send(rest) :]

    if sub.asked.status:
        await send(first)
        return
    await hub.write(sub, first, send)


async def _watch(sub: Subscriber, connection: trio.socket.SocketType) -> None:
    """Notice at once when the client hangs up, or talks where protocol 1 has it silent."""
    heard = 0
    while data := await connection.recv(4096):
        heard += len(data)
        if heard > CHATTER_MAX:
            log.debug("a subscriber sent %d bytes behind its subscribe frame", heard)
            sub.scope.cancel()
            return
    if _hung_up(connection):
        sub.scope.cancel()
    # Else it only closed its own half (`printf ... | nc -U`): it goes on listening, and so do we go on sending.


def _hung_up(connection: trio.socket.SocketType) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


async def _refuse(connection: trio.socket.SocketType, farewell: bytes) -> None:
    with trio.move_on_after(FAREWELL):
        if farewell:
            await connection.send(farewell)
        connection.shutdown(socket.SHUT_WR)
    read = 0
    connection_fd = connection.fileno()
    while read < DRAIN_MAX and connection_fd >= 0:
        try:
            data = os.read(connection_fd, 4096)
        except OSError:
            return
        if not data:
            return
        read += len(data)


def peer(connection: trio.socket.SocketType | socket.socket) -> tuple[int | None, int]:
    """(pid, uid) of whoever holds the other end; the pid is None where the system does not tell."""
    if sys.platform == "linux":
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid, uid
    # macOS: LOCAL_PEERCRED answers struct xucred {u_int version; uid_t uid; ...}.
    raw = connection.getsockopt(0, 1, 76)
    return None, struct.unpack_from("2I", raw)[1]
