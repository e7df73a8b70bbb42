"""One daemon for each log and for each socket: locks, a probe of what is there already, and a bind that takes only what is dead."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from waitbus import __version__
from waitbus.errors import DaemonRunning, SocketUnavailable
from waitbus.paths import check_socket_path, own_directory

if TYPE_CHECKING:
    from pathlib import Path

BACKLOG = 4096
PROBE = 1.0
"""s to wait for an answer from a daemon that already listens."""


class Lock:
    """An flock that lives as long as the process, with a line about its holder in the file.

    Raises:
      DaemonRunning: another process holds it; the message has its pid and since when.
    """

    def __init__(self, path: Path, *, how: str) -> None:
        own_directory(path.parent)
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise _running(holder(path)) from None
        about = {"pid": os.getpid(), "since": time.time_ns(), "how": how, "version": __version__}
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(about).encode(), 0)

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def holder(path: Path) -> dict[str, Any]:
    """What the lock's holder wrote of itself: `pid`, `since` (ns), `how`, `version`; empty if nobody did."""
    try:
        about = json.loads(path.read_bytes() or b"{}")
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def is_held(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _running(about: dict[str, Any]) -> DaemonRunning:
    pid, how = about.get("pid", "unknown"), about.get("how", "")
    since = time.strftime("%a %H:%M", time.localtime(about["since"] / 1e9)) if isinstance(about.get("since"), int) else ""
    details = ", ".join(part for part in (f"pid {pid}", since and f"since {since}", how) if part)
    return DaemonRunning(
        f"a waitbus daemon is already running ({details})", hint=f"`waitbus status` shows it; `kill {pid}` ends it"
    )


def bind(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600. A socket that nobody answers on is replaced, a live one never.

    Raises:
      DaemonRunning: somebody answers there; the message has the pid.
      SocketUnavailable: the path cannot be used.
    """
    check_socket_path(path)
    own_directory(path.parent)
    refuse_if_answering(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketUnavailable(f"{path} is there and is no socket", hint="move it away")
        # Bound under another name and renamed: nobody ever meets a socket that does not listen.
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listener.bind(os.fspath(check_socket_path(fresh)))
        os.chmod(fresh, 0o600)
        listener.listen(BACKLOG)
        os.rename(fresh, path)
    except OSError as error:
        listener.close()
        raise SocketUnavailable(f"cannot listen on {path}: {error.strerror}", hint="set WAITBUS_RUNTIME_DIR") from None
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def refuse_if_answering(path: Path) -> None:
    """Raise DaemonRunning if another program accepts connections on the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(PROBE)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return
        except OSError as error:
            # A full backlog is a live daemon that is busy.
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT) and not isinstance(error, TimeoutError):
                return
        raise DaemonRunning(
            f"another program answers on {path} (pid {_peer_pid(probe)})",
            hint="stop it first, or set WAITBUS_RUNTIME_DIR to another directory",
        )


def _peer_pid(connection: socket.socket) -> str:
    if sys.platform != "linux":
        return "unknown"
    try:
        return str(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
    except OSError:
        return "unknown"


def unlink_own(path: Path, identity: tuple[int, int]) -> None:
    """Remove the socket file, if it is still the one that was bound by us."""
    try:
        facts = path.lstat()
        if (facts.st_dev, facts.st_ino) == identity:
            path.unlink()
    except FileNotFoundError:
        return


def identity(path: Path) -> tuple[int, int]:
    facts = path.lstat()
    return facts.st_dev, facts.st_ino
