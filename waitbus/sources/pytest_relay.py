"""How `waitbus run` hears of the pytest sessions below it, in whatever virtual environment they run.

In a folder of its own beside the log lie a socket and a wheel with one module, the pytest plugin. The wheel is put on PYTHONPATH,
and pytest finds the plugin by its entry point. Not by `-p NAME` in PYTEST_ADDOPTS: a script below us that sets PYTHONPATH itself
(`PYTHONPATH=src pytest`) would then end with an error, and so would `python -I -m pytest`; like this they only tell nothing.
And a wheel, not a folder with metadata: to pip a wheel on the path is no installed package, so that `pip freeze` is as it was.

The socket has a path rather than an inherited number, since subprocess, and so tox and nox, closes all it inherits.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from waitbus.events import EventInsert
from waitbus.peer import peer_of
from waitbus.sources import pidfd, process, pytest_place
from waitbus.sources.pytest_place import WHEEL
from waitbus.sources.pytest_rows import Nonsense, Session

VARIABLE = "WAITBUS_PYTEST"
OFF = ("0", "false", "no", "off")
CONNECTIONS_MAX = 64
CHUNK, ROUNDS_MAX = 64 * 1024, 64
"""Bytes of a read, and how many reads of a connection before the command's own affairs have their turn."""

TOX = "testenv.pass_env+=PYTHONPATH"
"""tox hands PYTHONPATH down only if told to, and (4.11 and later) takes this from TOX_OVERRIDE."""


def open_relay(environ: Mapping[str, str]) -> Relay | None:
    """A relay, unless it was turned off by `WAITBUS_PYTEST=0`, or where it lies no PYTHONPATH can say.

    Raises:
      OSError, WaitbusError: it cannot be made.
    """
    base = pytest_place.base()
    if environ.get(VARIABLE, "").strip().lower() in OFF or os.pathsep in os.fspath(base):
        return None
    folder, listener = pytest_place.make(base)
    return Relay(folder, listener, left=pytest_place.left(base))


def injected(environ: Mapping[str, str], wheel: str) -> dict[str, str]:
    """`environ` with the wheel last in PYTHONPATH, in the place of another relay's."""
    before = environ.get("PYTHONPATH", "")
    places = [place for place in before.split(os.pathsep) if not place.endswith("/" + WHEEL)] if before else []
    changed = {"PYTHONPATH": os.pathsep.join([*places, wheel])}
    if not places and not environ.get("TOX_OVERRIDE"):
        # Only where tox would not hand down a PYTHONPATH of the user's besides, which it keeps from the tests.
        changed["TOX_OVERRIDE"] = TOX
    return {**environ, **changed}


@attrs.define(eq=False)
class _Told:
    """One connection: of which process, and what it has told."""

    connection: socket.socket
    process: pidfd.Process | None
    session: Session = attrs.field(factory=Session)
    open: bool = True
    noted: bool = False

    @property
    def peer(self) -> int | None:
        return None if self.process is None else self.process.pid


@attrs.define(eq=False)
class Relay:
    """The listening end. Whoever connects is of our user, and tells of one session."""

    folder: Path
    _listener: socket.socket
    left: list[dict[str, Any]] = attrs.field(factory=list)
    """How sessions began of which a `run` that was killed can tell no end."""
    _command: int = 0
    _told: list[_Told] = attrs.field(factory=list)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What the command's environment is to be."""
        return injected(environ, os.fspath(self.folder / WHEEL))

    def wake_by_signal(self, command: int) -> None:
        """Have the kernel send SIGIO, which is blocked by now, whenever something comes in: the end of the command (its pid) is
        awaited by signals too, so that one call waits for all."""
        self._command = command
        _by_signal(self._listener)
        os.kill(os.getpid(), signal.SIGIO)  # somebody may have come before

    def hear(self) -> list[EventInsert]:
        """The rows of what came in; never waits. Where more comes than one call is to read, the next SIGIO is there already."""
        self._accept()
        rows = self._of_the_killed()
        for told in self._told:
            if told.open:
                rows += self._read(told)
            if not told.open and told.peer != self._command:  # how the command ended is known in a moment
                rows += told.session.gone()
            self._note(told)
        self._told = [told for told in self._told if told.open or told.peer == self._command]
        return rows

    def end(self, status: int) -> list[EventInsert]:
        """The last rows, once the command has ended, with this wait status."""
        rows = self.hear()
        for told in self._told:
            told.connection.close()
            if told.peer == self._command:
                rows += told.session.gone(*_how(status))
            elif told.process is None or not pidfd.is_alive(told.process):
                rows += told.session.gone()
            # else it went on in the background, where nobody hears it any more
        self._told.clear()
        return rows

    def _of_the_killed(self) -> list[EventInsert]:
        rows: list[EventInsert] = []
        for beginning in self.left:
            session = Session()
            with suppress(Nonsense):
                session.feed(json.dumps(beginning).encode() + b"\n")
                rows += session.forgotten("pytest was killed, and with it the `waitbus run` above it")
        self.left.clear()
        return rows

    def _note(self, told: _Told) -> None:
        """Keep a note of a session for as long as it goes on, for the case that we are killed."""
        beginning, goes_on = told.session.beginning, not told.session.is_over
        if beginning is None or told.process is None or goes_on == told.noted:
            return
        told.noted = goes_on
        if goes_on:
            pytest_place.note(self.folder, beginning["session"], told.process, beginning)
        else:
            pytest_place.forget(self.folder, beginning["session"])

    def close(self) -> None:
        """Leave nothing behind."""
        self._listener.close()
        pytest_place.remove(self.folder)

    def _accept(self) -> None:
        for _ in range(CONNECTIONS_MAX):
            try:
                connection, _address = self._listener.accept()
            except OSError:  # nobody any more, or no descriptor for him
                return
            try:
                peer = peer_of(connection)
                if peer.uid != os.geteuid() or len(self._told) >= CONNECTIONS_MAX or self._is_inside(peer.pid):
                    raise OSError("not to be heard")
                _by_signal(connection)
            except OSError:
                connection.close()
            else:
                self._told.append(_Told(connection, None if peer.pid is None else _process(peer.pid)))

    def _is_inside(self, pid: int | None) -> bool:
        """Whether a session that goes on has started this one: then it is a test of that one, whatever its environment says."""
        sessions = {told.peer for told in self._told if told.open and not told.session.is_over}
        while pid is not None and pid > 1:
            if pid in sessions:
                return True
            pid = pidfd.parent(pid)
        return False

    def _read(self, told: _Told) -> list[EventInsert]:
        rows: list[EventInsert] = []
        try:
            for _ in range(ROUNDS_MAX):
                data = told.connection.recv(CHUNK)
                if not data:
                    raise EOFError
                rows += told.session.feed(data)
            os.kill(os.getpid(), signal.SIGIO)
        except BlockingIOError:
            pass
        except (OSError, EOFError, Nonsense):
            told.open = False
            told.connection.close()
        return rows


def _process(pid: int) -> pidfd.Process:
    return pidfd.Process(pid, pidfd.start_time(pid) or 0)


def _how(status: int) -> tuple[int, str]:
    code, name = process.ending(status)
    return code, f"pytest was ended by {name}" if name else ""


def _by_signal(connection: socket.socket) -> None:
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(connection, fcntl.F_GETFL)
    fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_NONBLOCK | os.O_ASYNC)
    connection.setblocking(False)
