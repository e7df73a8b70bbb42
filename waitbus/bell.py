"""Doorbells: datagram sockets beside the log. A producer rings them all; whoever waits owns one and reads the log when it rings.

The bytes of an event never cross a bell, so a lost or doubled ring costs nothing but a look at the log. A bell is bound under
a hidden name and then renamed: between `bind` and the rename a producer would be refused, and would unlink a live bell.
Names are random and never used again, so that nobody unlinks a successor's.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from waitbus.errors import PathError
from waitbus.paths import SOCKET_PATH_MAX, own_directory
from waitbus.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RING = b"ring"
HELLO = b"hello"
"""What a daemon that has just begun to listen says to every bell."""


def ring(folder: Path, message: bytes = RING) -> int:
    """Ring every bell in `folder` without ever blocking; a bell whose owner is gone is unlinked. Returns how many heard it."""
    name = os.fspath(folder)
    try:
        bells = os.listdir(name)
    except OSError:
        return 0
    if not bells:
        return 0
    with _reachable(name) as prefix:
        return sum(_ring_one(f"{prefix}/{bell}", message) for bell in bells if bell[0] != ".")


def _ring_one(path: str, message: bytes) -> bool:
    try:
        _sender().sendto(message, path)
    except BlockingIOError:
        # Its queue is full: it was rung already and has not looked yet.
        return True
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return False
    except OSError:
        return False
    return True


def listeners(folder: Path) -> int:
    """How many bells in `folder` have somebody behind them. Nothing is rung: connecting a datagram socket asks as much."""
    name = os.fspath(folder)
    try:
        bells = [bell for bell in os.listdir(name) if bell[0] != "."]
    except OSError:
        return 0
    if not bells:
        return 0
    with _reachable(name) as prefix:
        return sum(_is_heard(f"{prefix}/{bell}") for bell in bells)


def _is_heard(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


_socket: socket.socket | None = None


def _sender() -> socket.socket:
    # An unbound datagram socket has no state, so a forked child may go on with its parent's.
    global _socket
    if _socket is None:
        _socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        _socket.setblocking(False)
    return _socket


@contextlib.contextmanager
def _reachable(folder: str) -> Iterator[str]:
    """The folder's name, or a short one for it where a socket's path would be too long for the kernel."""
    if len(os.fsencode(folder)) + 2 + _NAME_LENGTH <= SOCKET_PATH_MAX:
        yield folder
        return
    if not os.path.isdir("/proc/self/fd"):
        raise PathError(
            f"the path of the doorbells {folder} is too long for the kernel", hint="set WAITBUS_STATE_DIR to a shorter directory"
        )
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


_NAME_LENGTH = 16


class Bell:
    """A doorbell of our own in `folder`, armed when this returns. Close it; `fileno()` is readable when it was rung.

    Raises:
      LogError: the folder may not be written.
      PathError: its path is too long for the kernel.
    """

    def __init__(self, folder: Path) -> None:
        self._path = own_directory(folder) / os.urandom(_NAME_LENGTH // 2).hex()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._owner = os.getpid()
        try:
            self._socket.setblocking(False)
            with translated(self._path), _reachable(os.fspath(folder)) as prefix:
                hidden = f"{prefix}/.{self._path.name}"
                self._socket.bind(hidden)
                os.chmod(hidden, 0o600)
                os.rename(hidden, f"{prefix}/{self._path.name}")
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> set[bytes]:
        """What was said since the last call; empty if nobody rang. Drain first and read then, never the other way round."""
        heard = set()
        while True:
            try:
                heard.add(self._socket.recv(16))
            except (BlockingIOError, OSError):
                return heard

    def is_hanging(self) -> bool:
        """Whether producers can find it: who removes the state folder takes the bell along."""
        return self._path.exists()

    def close(self) -> None:
        self._socket.close()
        # A forked child has a copy of this object; the name belongs to the parent.
        if self._owner == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(self._path)
