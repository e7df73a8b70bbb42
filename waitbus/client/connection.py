"""One connection to the daemon: subscribe, judge its ack, read its messages. Nothing that it sends is taken on trust."""

from __future__ import annotations

import errno
import math
import os
import socket
from typing import TYPE_CHECKING, Any

import attrs

from waitbus import wire
from waitbus.errors import ProtocolError
from waitbus.paths import SOCKET_PATH_MAX
from waitbus.peer import peer_of

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.client.start import Start
    from waitbus.predicate import Wanted
    from waitbus.wire import Position

RECEIVE = 64 * 1024
"""Bytes that are read at once. From 128 KiB on a buffer is memory that the kernel gives and takes back at each call, which where
caches are cold doubles what a read costs."""


class Unusable(Exception):
    """The daemon is not to be used, or no longer; `kind` and `text` as in `steps.Note`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@attrs.frozen
class Ack:
    """What a daemon of ours answers: where it begins, and s between its heartbeats."""

    log_id: str
    seq: int
    heartbeat: float


class Connection:
    """A connected socket on which the subscription was sent."""

    def __init__(self, peer: socket.socket, path: Path, pid: int | None) -> None:
        self._peer = peer
        self._path = path
        self._pid = pid
        self._decoder = wire.Decoder()

    @classmethod
    def open(cls, path: Path, request: bytes) -> Connection | None:
        """Connect without waiting; None while the daemon's backlog is full.

        By hand: trio and asyncio take EAGAIN, which is the full backlog, for a connection in progress.

        Raises:
          Unusable: nobody listens there, or another user does.
        """
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            raise _nobody()
        try:
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:  # no file handle is left, as whoever goes on to the log is told
            raise _nobody() from None
        peer.setblocking(False)
        try:
            peer.connect(os.fspath(path))
            pid = _pid_of_our_user(peer, path)
            peer.sendall(request)
        except OSError as error:
            peer.close()
            if error.errno in (errno.EAGAIN, errno.ENOTCONN):
                return None
            raise _nobody() from None
        except Unusable:
            peer.close()
            raise
        return cls(peer, path, pid)

    def fileno(self) -> int:
        return self._peer.fileno()

    def close(self) -> None:
        self._peer.close()

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have come; none if nothing has.

        Raises:
          Unusable: the connection ended, or what came is no protocol of ours.
        """
        try:
            data = self._peer.recv(RECEIVE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            raise Unusable("lost", "the daemon went away; reading the log directly")
        try:
            return list(self._decoder.feed(data))
        except ProtocolError as error:
            raise garbled(error) from None

    def ack(self, message: dict[str, Any], log: Path) -> Ack:
        """The first message, if it is the ack of a daemon of ours that serves `log`.

        Raises:
          Unusable: it is another program's, or serves another log.
        """
        if message.get("kind") != "subscribe_ack" or not isinstance(message.get("ext"), list):
            raise Unusable(
                "foreign",
                f"another program's daemon (pid {self._pid or 'unknown'}) answers on {self._path}; reading the log directly",
            )
        if not _is_our_log(message.get("log"), log):
            raise Unusable("other_log", f"the daemon on {self._path} serves another log; reading {log} directly")
        try:
            name = message.get("log_id")
            if not isinstance(name, str):
                raise ProtocolError("an ack without log_id")
            return Ack(name, wire.integer(message, "seq"), _seconds(message.get("heartbeat")))
        except ProtocolError as error:
            raise garbled(error) from None


def request(prefilter: Wanted | None, position: Position | None, start: Start) -> bytes:
    """The subscribe frame: from `position` if there is one, else from `start`."""
    ext: dict[str, Any] = {"lean": True}
    message: dict[str, Any] = {"proto": 1, "ext": ext}
    if position is not None:
        ext["since"] = {"seq": position.seq, "log_id": position.log_id}
    elif start.at_ns is not None:
        ext["since"] = {"time": start.at_ns, "told": start.told}
    elif start.event_id is not None:
        message["since"] = start.event_id
    plain = wire.pack(message)
    if prefilter is None:
        return plain
    ext["match"] = prefilter.wire()
    filtered = wire.pack(message)
    # What is too long for a frame is left to the client: it looks at every event anyway.
    return filtered if len(filtered) <= wire.MAX_FRAME + 4 else plain


def garbled(error: ProtocolError) -> Unusable:
    return Unusable("garbled", f"the daemon broke the protocol ({error.message}); reading the log directly")


def _nobody() -> Unusable:
    return Unusable("no_daemon", "no daemon running; reading the log directly")


def _pid_of_our_user(peer: socket.socket, path: Path) -> int | None:
    # Before a byte is sent: a folder that others may write, or a path that was named by mistake, has anybody's socket, and who
    # listens there would be told what we wait for, and could tell us that it happened.
    pid, uid = peer_of(peer)
    if uid != os.geteuid():
        raise Unusable("stranger", f"the socket {path} belongs to uid {uid}; reading the log directly")
    return pid


def _seconds(value: Any) -> float:
    good = type(value) in (int, float) and math.isfinite(value) and 0 < value <= 86400
    return float(value) if good else 60.0


def _is_our_log(about: Any, log: Path) -> bool:
    if not isinstance(about, dict):
        return False
    try:
        facts = os.stat(log)
    except OSError:
        # A sandbox that cannot see the state folder: then it can only be the same by name.
        return os.fspath(log) == about.get("path")
    return (facts.st_dev, facts.st_ino) == (about.get("dev"), about.get("ino"))
