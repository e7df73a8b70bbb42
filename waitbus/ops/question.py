"""The question `waitbus status` puts to the daemon: one frame out, two frames back, all of it under one deadline.

A plain socket and no event loop: importing one would take longer than the answer.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any, Literal

import attrs

from waitbus import wire
from waitbus.errors import ProtocolError
from waitbus.paths import SOCKET_PATH_MAX
from waitbus.peer import peer_of

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 1.0
"""s for connecting, the ack and the report together."""

State = Literal["running", "absent", "hung", "foreign"]


@attrs.frozen
class Answer:
    """Who is on the socket. `pid` is the kernel's word about who listens; `ack` and `report` are ours alone."""

    state: State
    pid: int | None = None
    ack: dict[str, Any] = attrs.field(factory=dict)
    report: dict[str, Any] = attrs.field(factory=dict)


def ask(path: Path, deadline: float = DEADLINE) -> Answer:
    """Ask whoever listens on `path` for its report; answers within `deadline` s whatever is there."""
    until = time.monotonic() + deadline
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(deadline)
        try:
            if len(os.fsencode(path)) > SOCKET_PATH_MAX:
                return Answer("absent")  # nobody could have bound it
            connection.connect(os.fspath(path))
            pid, uid = peer_of(connection)
        except (TimeoutError, BlockingIOError):
            return Answer("hung")  # its backlog is full: it is there, and does not accept
        except PermissionError:
            return Answer("foreign" if os.path.lexists(path) else "absent")  # or its folder is not for us to look into
        except OSError:
            return Answer("absent")
        if uid != os.geteuid():
            return Answer("foreign", pid)
        try:
            connection.sendall(wire.subscribe_frame({"status": True, "lean": True}))
            return _answer(pid, _frames(connection, until))
        except OSError:  # a time-out among them
            return Answer("hung", pid)
        except ProtocolError:
            return Answer("foreign", pid)


def _answer(pid: int | None, frames: list[dict[str, Any]]) -> Answer:
    if not frames:
        return Answer("hung", pid)
    ack = frames[0]
    if not _knows_the_question(ack):
        return Answer("foreign", pid)
    report = next((frame for frame in frames[1:] if frame.get("kind") == "daemon_status"), None)
    return Answer("hung", pid, ack) if report is None else Answer("running", report["pid"], ack, report)


def _knows_the_question(ack: dict[str, Any]) -> bool:
    extensions = ack.get("ext")
    return ack.get("kind") == "subscribe_ack" and isinstance(extensions, list) and "status" in extensions


def _frames(connection: socket.socket, until: float) -> list[dict[str, Any]]:
    """Up to the report, to the ack of a program that does not know our question, or to the end."""
    decoder = wire.Decoder()
    frames: list[dict[str, Any]] = []
    while True:
        connection.settimeout(max(0.001, until - time.monotonic()))
        data = connection.recv(wire.MAX_FRAME + 4)
        frames.extend(decoder.feed(data))
        if not data or (frames and (not _knows_the_question(frames[0]) or frames[-1].get("kind") == "daemon_status")):
            return frames
        if time.monotonic() >= until:
            raise TimeoutError
