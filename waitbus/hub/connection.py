"""One subscriber's connection: same user only, a handshake under a deadline, then a writer, and a reader that notices its end."""

from __future__ import annotations

import array
import fcntl
import logging
import os
import select
import socket
import termios
from functools import partial
from typing import TYPE_CHECKING

import trio

from waitbus import wire
from waitbus.errors import ProtocolError, VersionRefused
from waitbus.hub.patience import UNREADABLE, Patience
from waitbus.hub.report import report
from waitbus.peer import peer_of

if TYPE_CHECKING:
    from waitbus.hub.hub import Hub
    from waitbus.hub.subscriber import Subscriber

log = logging.getLogger("waitbus.hub")

HANDSHAKE = 10.0
"""s for the whole subscribe frame, and for a log that is busy."""

FAREWELL = 2.0
"""s for a refused peer to take the refusal and hang up."""

SEND_BUFFER = 1024 * 1024
REFUSED_MAX = 1024 * 1024
"""Bytes of a refused peer that are read before the close, so that it sees EOF and no reset."""

CHATTER_MAX = 64 * 1024
"""Bytes a subscriber may send after its subscribe frame, where none are expected, before it is cut."""


class Stalled(Exception):
    """A subscriber took no byte for the stall time-out."""


async def converse(hub: Hub, connection: socket.socket) -> None:
    """Serve one subscriber until either side ends it. `connection` is non-blocking, and closed by the caller."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    pid, uid = peer_of(connection)
    if uid != os.geteuid():
        return
    try:
        with trio.fail_after(HANDSHAKE):
            asked = wire.parse_subscribe(await _first_frame(connection))
            registered = await _registered(hub, asked, pid)
    except ProtocolError as error:
        log.debug("a subscriber was refused: %s", error.message)
        await _refuse(connection, wire.version_rejected() if isinstance(error, VersionRefused) else b"")
        return
    if registered is None:
        connection.send(hub.ack_of_status(asked) + report(hub))  # into an empty buffer
        return
    sub, first = registered
    try:
        with sub.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, sub, connection)
                await _write(hub, sub, connection, first)
                nursery.cancel_scope.cancel()
    finally:
        hub.unregister(sub)


async def _first_frame(connection: socket.socket) -> dict[str, object]:
    decoder = wire.Decoder()
    while data := await receive(connection, wire.MAX_FRAME + 4):
        for message in decoder.feed(data):
            return message
    raise ProtocolError("EOF before a subscribe frame", hint="send one frame first")


async def _registered(hub: Hub, asked: wire.Subscribe, pid: int | None) -> tuple[Subscriber, bytes] | None:
    """The subscriber and its greeting, as soon as the log can be read; None for who asks for no more than the report."""
    patience = Patience(hub.unreadable)
    while True:
        try:
            return hub.register(asked, pid)
        except UNREADABLE as error:
            if asked.status:
                return None
            await patience.wait(error)


async def _write(hub: Hub, sub: Subscriber, connection: socket.socket, first: bytes) -> None:
    async def send(blob: bytes) -> None:
        # Most sends fit into the kernel's buffer; asking the event loop first would cost more than sending.
        sent = _send_some(connection, blob)
        while sent < len(blob):
            await _room(hub, sub, connection)
            sent += _send_some(connection, memoryview(blob)[sent:])

    if sub.asked.status:
        await send(first + report(hub))
    else:
        sub.send_now = partial(_send_now, connection)
        await hub.write(sub, first, send)


def _send_some(connection: socket.socket, blob: bytes | memoryview) -> int:
    try:
        return connection.send(blob)
    except BlockingIOError:
        return 0


def _send_now(connection: socket.socket, blob: bytes) -> int:
    # Called from the sweep, which a subscriber that is gone must not end: its own writer or reader notices.
    try:
        return connection.send(blob)
    except OSError:
        return 0


async def _room(hub: Hub, sub: Subscriber, connection: socket.socket) -> None:
    """Wait until the kernel takes more. A peer that reads slowly but steadily may take as long as it likes.

    Raises:
      Stalled: it read nothing for the stall time-out.
    """
    while True:
        before = _unread(connection)
        with trio.move_on_after(hub.stall_timeout) as sub.stall:
            await trio.lowlevel.wait_writable(connection)
            return
        if _unread(connection) >= before:
            raise Stalled(f"pid {sub.pid} read nothing for {hub.stall_timeout:g} s")


def _unread(connection: socket.socket) -> int:
    """Bytes that the peer has not read. The kernel calls a socket writable only when three quarters of its buffer are free."""
    unread = array.array("i", [0])
    try:
        fcntl.ioctl(connection, termios.TIOCOUTQ, unread)
    except OSError:  # macOS does not tell for unix sockets
        return 0
    return unread[0]


async def _watch(sub: Subscriber, connection: socket.socket) -> None:
    """Notice at once when the client hangs up, or talks where protocol 1 has it silent."""
    heard = 0
    while data := await receive(connection, 4096):
        heard += len(data)
        if heard > CHATTER_MAX:
            log.debug("a subscriber sent %d bytes behind its subscribe frame", heard)
            sub.scope.cancel()
            return
    if _hung_up(connection):
        sub.scope.cancel()
    # Else it only closed its own half (`printf ... | nc -U`): it goes on listening, and so do we go on sending.


def _hung_up(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


async def _refuse(connection: socket.socket, farewell: bytes) -> None:
    """Say why, if there is a frame for it, and let the peer see EOF rather than a reset: what it sent is read first."""
    with trio.move_on_after(FAREWELL):
        if farewell:
            connection.send(farewell)  # into an empty buffer
        connection.shutdown(socket.SHUT_WR)
        heard = 0
        while heard < REFUSED_MAX and (data := await receive(connection, 65536)):
            heard += len(data)


async def receive(connection: socket.socket, most: int) -> bytes:
    """Up to `most` bytes, b"" at EOF."""
    while True:
        try:
            return connection.recv(most)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(connection)
