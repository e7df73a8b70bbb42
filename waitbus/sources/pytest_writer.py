"""The process beside a pytest run that the installed plugin has started: it writes what it is told on its stdin, a socket.

It outlives pytest by the moment that the last row takes, so that a session that was killed has its row too. It leads a session of
its own: the signals that end pytest and its group do not reach it.
"""

from __future__ import annotations

import os
import select
import socket

from waitbus.errors import LogBusy, WaitbusError
from waitbus.events import EventInsert
from waitbus.peer import peer_of
from waitbus.sources.kept import AGAIN, HASTE, Kept
from waitbus.sources.pidfd import open_pidfd
from waitbus.sources.pytest_rows import Nonsense, Session
from waitbus.store import shared

CHUNK = 64 * 1024
LATE = 60.0
"""s that it goes on for a log that is locked when pytest has ended."""


def main() -> None:
    """Write until the other side has ended, and answer it at its end: an empty line, or why something was lost.

    A locked log is no loss: the other side is not held up, and the rows are written when it is free.
    """
    os.closerange(3, 256)  # what pytest's own parent left open for it
    writing = _Writing()
    writing.rehearse()
    with socket.socket(fileno=0) as connection:
        heard = _Heard(connection)
        try:
            while (data := heard.next(AGAIN if writing.kept else None)) != b"":
                writing.write(writing.session.feed(data or b""))
                if writing.session.is_over:
                    connection.sendall(writing.lost.encode() + b"\n")
                    break
        except (OSError, Nonsense):
            pass
    writing.write(writing.session.gone(), patience=LATE)
    os._exit(0)  # the last one to close a log pays for a checkpoint


class _Heard:
    """What pytest says, for as long as it lives: children that its tests forked and left behind hold its end open."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._is_gone = False
        self._watch(peer_of(connection).pid)

    def next(self, patience: float | None) -> bytes | None:
        """The next bytes; none (`b""`) at the end, None where nothing came for `patience` s."""
        limit = 0 if self._is_gone else patience
        ready = {number for number, _ in self._poll.poll(None if limit is None else limit * 1000)}
        if self._connection.fileno() in ready:
            return self._connection.recv(CHUNK)
        return b"" if ready or self._is_gone else None

    def _watch(self, pid: int | None) -> None:
        try:
            pidfd = None if pid is None else open_pidfd(pid)
        except (OSError, WaitbusError):  # no pidfds here: then the end of the connection has to do
            return
        if pidfd is not None:
            self._poll.register(pidfd, select.POLLIN)
        elif pid is not None:
            self._is_gone = True


class _Writing:
    def __init__(self) -> None:
        self.session = Session()
        self.kept = Kept()
        self.lost = ""

    def rehearse(self) -> None:
        # The first connection and the modules that a first row needs: had while pytest collects, not while it waits for us.
        try:
            shared().head()
        except WaitbusError:  # it may heal; whoever writes a row says what is wrong
            pass
        EventInsert(source="pytest", event_type="pytest_session", conclusion="success", fields={"passed": 1})

    def write(self, rows: list[EventInsert], *, patience: float = HASTE) -> None:
        try:
            self.kept.write(rows, patience=patience)
        except LogBusy:
            pass
        except WaitbusError as error:
            self.lost = self.lost or " ".join(error.message.split())
        except Exception as error:  # the boundary: the answer is owed in any case
            self.lost = self.lost or f"{type(error).__name__}: {error}"
