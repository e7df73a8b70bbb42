"""Doorbells: datagram sockets beside the log. A producer rings them all; whoever waits owns one and reads the log when it rings.

The bytes of an event never cross a bell, so a lost or doubled ring costs nothing but a look at the log. A bell is bound under
a hidden name and then renamed: between `bind` and the rename a producer would be refused, and would unlink a live bell.
Names are random and never used again, so that nobody unlinks a successor's.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING

from waitbus.errors import PathError
from waitbus.paths import SOCKET_PATH_MAX, own_directory
from waitbus.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RING = b"ring"
HELLO = b"hello"
"""What a daemon says to every bell when it has begun to listen, or to answer again."""
TRUST = b"trust"
"""What is said to the daemon when somebody has decided which plugins are trusted."""

_NAME_LENGTH = 16
_PREFIX_MAX = SOCKET_PATH_MAX - len("/.") - _NAME_LENGTH


def ring(folder: Path | str, message: bytes = RING) -> int:
    """Ring every bell in `folder` without ever blocking; a bell whose owner is gone is unlinked. Returns how many heard it."""
    return _count(os.fspath(folder), _ring_one, message)


def listeners(folder: Path | str) -> int:
    """How many bells in `folder` have somebody behind them. Nothing is rung: connecting a datagram socket asks as much."""
    return _count(os.fspath(folder), _is_heard, b"")


def _count(folder: str, ask: Callable[[str, bytes], bool], message: bytes) -> int:
    prefix, handle, heard = folder, None, 0
    # The folder is listed anew each time: its mtime has the granularity of a tick, too coarse to tell a new bell by.
    try:
        bells = os.listdir(folder)
        if len(folder if folder.isascii() else os.fsencode(folder)) > _PREFIX_MAX and bells:
            handle = _handle(folder)
            prefix = f"{_DESCRIPTORS}/{handle}"
    except (OSError, PathError):
        # Where a bell cannot be named, none was hung.
        return 0
    try:
        for bell in bells:
            if bell[0] != ".":
                heard += ask(f"{prefix}/{bell}", message)
        return heard
    finally:
        if handle is not None:
            os.close(handle)


def _ring_one(path: str, message: bytes) -> bool:
    try:
        (_socket or _sender()).sendto(message, path)
    except BlockingIOError:
        # Its queue is full: it was rung already and has not looked yet.
        return True
    except ConnectionRefusedError:
        _unlink_dead(path)
        return False
    except OSError:
        return False
    return True


def _is_heard(path: str, _: bytes) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _unlink_dead(path: str) -> None:
    with contextlib.suppress(OSError):
        # A plain file refuses as a dead socket does, and is not ours.
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


_socket: socket.socket | None = None


def _sender() -> socket.socket:
    # An unbound datagram socket has no state, so threads share it, and a forked child goes on with its parent's.
    global _socket
    if _socket is None:
        _socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        _socket.setblocking(False)
        atexit.register(_socket.close)
    return _socket


_DESCRIPTORS = "/proc/self/fd"
"""Where Linux lets a long path be reached by a descriptor of its folder, in a few bytes."""


def _handle(folder: str) -> int:
    """A descriptor of the folder.

    Raises:
      PathError: there is no way to name a socket by it here.
    """
    if not os.path.isdir(_DESCRIPTORS):
        raise PathError(
            f"the path of the doorbells {folder} has {len(os.fsencode(folder))} bytes; the kernel takes {_PREFIX_MAX}",
            hint="set WAITBUS_STATE_DIR to a shorter directory",
        )
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


class Bell:
    """A doorbell of our own in `folder`, armed when this returns. Close it; `fileno()` is readable when it was rung.

    Raises:
      LogError: the folder may not be written.
      PathError: its path is too long for the kernel.
    """

    def __init__(self, folder: Path) -> None:
        self._path = own_directory(folder) / os.urandom(_NAME_LENGTH // 2).hex()
        self._owner = os.getpid()
        with translated(self._path):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with translated(self._path):
                self._bind(os.fspath(folder))
        except BaseException:
            self._socket.close()
            raise

    def _bind(self, folder: str) -> None:
        hidden = self._path.with_name(f".{self._path.name}")
        if len(os.fsencode(folder)) <= _PREFIX_MAX:
            self._socket.bind(os.fspath(hidden))
        else:
            handle = _handle(folder)
            try:
                self._socket.bind(f"{_DESCRIPTORS}/{handle}/{hidden.name}")
            finally:
                os.close(handle)
        os.chmod(hidden, 0o600)
        os.rename(hidden, self._path)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    def hear(self) -> bytes:
        """One of the things that were said; b"" if there is none."""
        try:
            return self._socket.recv(16)
        except OSError:
            return b""

    def drain(self) -> set[bytes]:
        """What was said since the last call; empty if nobody rang. Drain first and read then, never the other way round."""
        heard = set()
        while said := self.hear():
            heard.add(said)
        return heard

    def is_hanging(self) -> bool:
        """Whether producers can find it: who removes the state folder takes the bell along."""
        return self._path.exists()

    def close(self) -> None:
        """Take the bell down. In a forked child only the copy is closed: the name belongs to the parent."""
        self._socket.close()
        if self._owner == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(self._path)
