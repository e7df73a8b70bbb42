"""A daemon that does what it is told, in the test's own thread: it listens, and says what the test says."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from tests import support
from waitbus.client.session import Session, Step
from waitbus.client.steps import Wait
from waitbus.events import EventFrame, log_id
from waitbus.paths import log_path, socket_path
from waitbus.store import shared


def pack(message: Any) -> bytes:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body


class FakeDaemon:
    """A listening socket where the daemon's would be; the last connection is `peer`."""

    def __init__(self, path: Path | None = None, backlog: int = 16) -> None:
        self.path = socket_path() if path is None else path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.fspath(self.path))
        self.listener.listen(backlog)
        self.listener.setblocking(False)
        self.peer: socket.socket | None = None
        self.accepted = 0

    def __enter__(self) -> FakeDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self.listener.close()

    def accept(self) -> bool:
        """Take the connection that waits, if one does."""
        try:
            peer, _ = self.listener.accept()
        except BlockingIOError:
            return False
        self.hang_up()
        peer.settimeout(5)
        self.peer = peer
        self.accepted += 1
        return True

    def hang_up(self) -> None:
        if self.peer is not None:
            self.peer.close()
            self.peer = None

    def asked(self) -> dict[str, Any]:
        """The subscribe frame."""
        assert self.peer is not None
        (length,) = struct.unpack(">I", self.peer.recv(4, socket.MSG_WAITALL))
        message: dict[str, Any] = json.loads(self.peer.recv(length, socket.MSG_WAITALL))
        return message

    def say(self, *messages: Any) -> None:
        assert self.peer is not None
        self.peer.sendall(b"".join(map(pack, messages)))

    def say_bytes(self, data: bytes) -> None:
        assert self.peer is not None
        self.peer.sendall(data)

    def ack(self, **changes: Any) -> dict[str, Any]:
        """The ack of a good daemon of this test's log, with changes; a value of ... leaves the key away."""
        log = shared()
        facts = log.facts()
        device, inode = log.identity
        message = {
            "proto": 1, "caught_up_at": None, "heartbeat_sec": 60, "max_frame_bytes": 65536,
            "ext": ["match", "since", "lean", "status"], "log_id": log_id(facts.tag), "seq": facts.last, "heartbeat": 60.0,
            "pid": os.getpid(), "version": "0", "log": {"path": str(log_path()), "dev": device, "ino": inode},
            "kind": "subscribe_ack", **changes,
        }  # fmt: skip
        return {key: value for key, value in message.items() if value is not ...}

    def event(self, seq: int, /, **changes: Any) -> dict[str, Any]:
        """The lean frame of the row with this seq, with changes as in `ack`."""
        row = shared().row(seq)
        assert row is not None
        message = {
            "event_id": shared().event_id(row.seq, row.at_ms), "seq": row.seq, "source": row.source,
            "event_type": row.event_type, "owner": row.owner, "repo": row.repo, "received_at": row.received_at,
            "delivery_id": row.delivery_id, "ingest_method": row.ingest_method, "summary": row.summary,
            "fields": json.loads(row.fields), "kind": "event", **changes,
        }  # fmt: skip
        return {key: value for key, value in message.items() if value is not ...}


def steps(session: Session) -> list[Step]:
    """What the session says until it would wait, the wait included."""
    said: list[Step] = []
    while not said or not isinstance(said[-1], Wait):
        said.append(session.step())
        assert len(said) < 10_000
    return said


def numbers(said: list[Step]) -> list[int]:
    return [one.fields["n"] for one in said if isinstance(one, EventFrame)]


def kinds(said: list[Step]) -> list[str]:
    """The kinds of notes and the reasons of gaps."""
    return [
        getattr(one, "kind", "") or getattr(one, "reason", "")
        for one in said
        if not isinstance(one, (EventFrame, Wait))
    ]


def settled(session: Session, transport: str) -> list[Step]:
    """Step, waiting for what it asks for, until it has nothing more to say on that transport."""
    said: list[Step] = []

    def is_settled() -> bool:
        said.extend(one for one in steps(session) if not isinstance(one, Wait))
        return session.transport == transport

    support.eventually(is_settled)
    return said


def until(session: Session, count: int) -> list[Step]:
    """Step, waiting for what it asks for, until it has given so many events."""
    said: list[Step] = []

    def is_enough() -> bool:
        said.extend(one for one in steps(session) if not isinstance(one, Wait))
        return len(numbers(said)) >= count

    support.eventually(is_enough)
    return said
