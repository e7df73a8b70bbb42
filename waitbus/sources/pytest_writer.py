"""The process beside a pytest run that the installed plugin has started: it writes what it is told on its stdin, a socket.

It outlives pytest by the moment that the last row takes, so that a session that was killed has its row too. It leads a session of
its own: the signals that end pytest and its group do not reach it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

from waitbus.errors import WaitbusError
from waitbus.events import EventInsert
from waitbus.peer import peer_of
from waitbus.producer import emit_all
from waitbus.sources.pidfd import open_pidfd
from waitbus.sources.pytest_rows import Nonsense, Session
from waitbus.store import shared

CHUNK = 64 * 1024


def main() -> None:
    """Write until the other side has ended, and answer it at its end: an empty line, or why something was lost."""
    os.closerange(3, 256)  # what pytest's own parent left open for it
    writing = _Writing()
    writing.rehearse()
    with socket.socket(fileno=0) as connection:
        heard = _Heard(connection)
        try:
            while data := heard.next():
                writing.write(writing.session.feed(data))
                if writing.session.is_over:
                    connection.sendall(writing.lost.encode() + b"\n")
                    break
        except (OSError, Nonsense):
            pass
    writing.write(writing.session.gone())
    os._exit(0)  # the last one to close a log pays for a checkpoint


class _Heard:
    """What pytest says, for as long as it lives: children that its tests forked and left behind hold its end open."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._patience: int | None = None  # for ever
        self._watch(peer_of(connection).pid)

    def next(self) -> bytes:
        """The next bytes; none at the end."""
        ready = {number for number, _ in self._poll.poll(self._patience)}
        return self._connection.recv(CHUNK) if self._connection.fileno() in ready else b""

    def _watch(self, pid: int | None) -> None:
        try:
            pidfd = None if pid is None else open_pidfd(pid)
        except (OSError, WaitbusError):  # no pidfds here: then the end of the connection has to do
            return
        if pidfd is not None:
            self._poll.register(pidfd, select.POLLIN)
        elif pid is not None:
            self._patience = 0  # it is gone already


class _Writing:
    def __init__(self) -> None:
        self.session = Session()
        self.lost = ""

    def rehearse(self) -> None:
        # The first connection and the modules that a first row needs: had while pytest collects, not while it waits for us.
        try:
            shared().head()
        except WaitbusError:  # it may heal; whoever writes a row says what is wrong
            pass
        EventInsert(source="pytest", event_type="pytest_session", conclusion="success", fields={"passed": 1})

    def write(self, rows: list[EventInsert]) -> None:
        if rows:
            self._try(lambda: emit_all(rows))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except WaitbusError as error:
            self.lost = self.lost or " ".join(error.message.split())
        except Exception as error:  # the boundary: the answer is owed in any case
            self.lost = self.lost or f"{type(error).__name__}: {error}"
