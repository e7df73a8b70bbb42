"""One daemon for each log and for each socket: locks, a probe of what is there, and a bind that takes only what is dead."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from typing import TYPE_CHECKING, Any, Literal

import attrs

from waitbus import __version__, handles, holder
from waitbus.errors import DaemonRunning, SocketUnavailable
from waitbus.paths import check_socket_path, own_directory
from waitbus.peer import peer_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BACKLOG = 4096
"""A thousand waiters come back at once when the daemon was restarted."""

PROBE = 1.0
"""s to wait for an answer from a daemon that already listens."""


class Lock:
    """An flock that lives as long as the process, with a line about its holder in the file.

    Raises:
      DaemonRunning: another process holds it; the message has its pid and since when.
      SocketUnavailable: the file cannot be opened.
    """

    def __init__(self, path: Path, *, how: str) -> None:
        own_directory(path.parent)
        try:
            self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if handles.ran_out(error):
                raise  # which the command line says in words, wherever it comes from
            raise SocketUnavailable(f"cannot open {path}: {error.strerror}", hint="mend its rights") from None
        if not self._taken(path):
            os.close(self._fd)
            raise _running(holder.read(path), path)
        line = holder.line(pid=os.getpid(), since=time.time_ns(), how=how, version=__version__)
        with contextlib.suppress(
            OSError
        ):  # a full disk: then the next one cannot say who we are, and is refused all the same
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, line, 0)

    def _taken(self, path: Path) -> bool:
        for _ in range(20):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if holder.read(path):
                    return False
                time.sleep(
                    0.01
                )  # `is_held` holds it for an instant, and so does a daemon that has not yet written its line
        return False

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
        os.close(self._fd)


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


def started_by(environment: Mapping[str, str] = os.environ) -> str:
    """How this process was started, for `status` and for whoever starts a second one."""
    # Not INVOCATION_ID: every shell of a desktop that systemd started has it.
    if environment.get("SYSTEMD_EXEC_PID") == str(os.getpid()):
        unit = _unit()
        return f"systemd unit {unit}" if unit else "systemd unit"
    if environment.get("XPC_SERVICE_NAME", "0") != "0":
        return f"launchd agent {environment['XPC_SERVICE_NAME']}"
    return "by hand"


def _unit() -> str:
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            parts = file.read().strip().split("/")
    except OSError:
        return ""
    return next((part for part in reversed(parts) if part.endswith(".service")), "")


def _running(about: dict[str, Any], lock: Path) -> DaemonRunning:
    pid, how = about.get("pid", "unknown"), about.get("how", "")
    since = time.strftime("%a %H:%M", time.localtime(about["since"] / 1e9)) if "since" in about else ""
    details = ", ".join(part for part in (f"pid {pid}", since and f"since {since}", how) if part)
    return DaemonRunning(
        f"a waitbus daemon is already running ({details})", hint=f"`waitbus status` shows it; {_remedy(about, lock)}"
    )


def _remedy(about: dict[str, Any], lock: Path) -> str:
    how = about.get("how", "")
    if how.startswith("systemd unit "):
        return f"`systemctl --user restart {how.removeprefix('systemd unit ')}` restarts it"
    return f"`kill {about['pid']}` ends it" if "pid" in about else f"`fuser {lock}` names it"


# -- the socket --------------------------------------------------------------------------------------------------------


@attrs.define
class Listener:
    """A listening socket; `path` and `identity` (device, inode) tell the file that is ours to unlink; None: handed over."""

    sock: socket.socket
    path: Path | None = None
    identity: tuple[int, int] = (0, 0)

    def stands(self) -> Literal["ours", "nothing", "other"]:
        """What is at `path` now. Where we have none (handed over, or unlinked by us) nothing is amiss: `ours`."""
        if self.path is None:
            return "ours"
        try:
            return "ours" if _identity(self.path) == self.identity else "other"
        except (FileNotFoundError, NotADirectoryError):
            return "nothing"
        except OSError:
            return "ours"  # it cannot be looked at, which says nothing about it

    def unlink(self) -> None:
        """Remove the socket's file, if it is still the one that was bound by us. Newcomers read the log from here on.

        While our socket is open its inode cannot be another file's; so this comes before the close.
        """
        path, self.path = self.path, None
        if path is None:
            return
        with contextlib.suppress(OSError):
            if _identity(path) == self.identity:
                path.unlink()

    def close(self) -> None:
        """Unlink and close. What was handed over is left to whoever handed it over."""
        if self.path is not None or self.identity != (0, 0):
            self.unlink()
            self.sock.close()


def bind(path: Path) -> Listener:
    """A listening socket at `path`, mode 0600. A socket that nobody answers on is replaced, a live one never.

    The caller holds the locks, so no daemon of ours does the same at this moment.

    Raises:
      DaemonRunning: somebody answers there; the message has the pid.
      SocketUnavailable: the path cannot be used.
    """
    own_directory(path.parent)
    refuse_if_answering(check_socket_path(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketUnavailable(f"{path} is there and is no socket", hint="move it away")
        # Bound under another, shorter name and renamed: nobody ever meets a socket that does not listen.
        fresh = path.with_name(".new.sock")
        fresh.unlink(missing_ok=True)
        listener.bind(os.fspath(fresh))
        os.chmod(fresh, 0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        os.rename(fresh, path)
        return Listener(listener, path, _identity(path))
    except OSError as error:
        listener.close()
        raise SocketUnavailable(f"cannot listen on {path}: {error.strerror}", hint="set WAITBUS_RUNTIME_DIR") from None
    except BaseException:
        listener.close()
        raise


def refuse_if_answering(path: Path) -> None:
    """Raise DaemonRunning if another program accepts connections on the socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return
        except OSError as error:
            # A full backlog is a live daemon that is busy.
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT) and not isinstance(error, TimeoutError):
                return
        pid = _peer_pid(probe)
        raise DaemonRunning(
            f"another program's daemon is already running on {path} (pid {pid})",
            hint=f"stop it (`kill {pid}`), or set WAITBUS_RUNTIME_DIR to another directory",
        )


def _peer_pid(connection: socket.socket) -> str:
    try:
        return str(peer_of(connection).pid or "unknown")
    except OSError:  # its backlog is full, so nobody is connected
        return "unknown"


def _identity(path: Path) -> tuple[int, int]:
    facts = path.lstat()
    return facts.st_dev, facts.st_ino
