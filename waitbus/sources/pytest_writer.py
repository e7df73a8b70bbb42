"""The process beside a pytest run that the installed plugin has started: it writes what it is told on its stdin, a socket.

It outlives pytest by the moment that the last row takes, so that a session that was killed has its row too. It leads a session of
its own: the signals that end pytest and its group do not reach it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from waitbus.errors import WaitbusError
from waitbus.events import EventInsert
from waitbus.producer import emit_all
from waitbus.sources.pytest_rows import Nonsense, Session
from waitbus.store import shared

CHUNK = 64 * 1024


def main() -> None:
    """Write until the other side has ended, and answer it at its end: an empty line, or why something was lost."""
    os.closerange(3, 256)  # what pytest's own parent left open for it
    writing = _Writing()
    writing.rehearse()
    with socket.socket(fileno=0) as connection:
        try:
            while data := connection.recv(CHUNK):
                writing.write(writing.session.feed(data))
                if writing.session.is_over:
                    connection.sendall(writing.lost.encode() + b"\n")
                    break
        except (OSError, Nonsense):
            pass
    writing.write(writing.session.gone())
    os._exit(0)  # the last one to close a log pays for a checkpoint


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
