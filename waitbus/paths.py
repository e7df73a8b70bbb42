"""Where things are: three directories, each with a variable that wins, read anew at every call.

The runtime directory is never under /tmp: a predictable path there belongs to whoever comes first. Without
`XDG_RUNTIME_DIR` (cron, containers, sudo) it lies in the state directory, which every producer shares in any case.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from waitbus.errors import LogReadOnly, LogUnavailable, PathError

SOCKET_PATH_MAX = 103 if sys.platform == "darwin" else 107
"""Bytes the kernel takes in `sun_path`, without the final NUL."""


def state_dir() -> Path:
    """Log, bells, cursors, secrets: `WAITBUS_STATE_DIR`, else the platform's state directory."""
    return _from_environment("WAITBUS_STATE_DIR") or _platform_state()


def config_dir() -> Path:
    """`config.toml` and `plugins.toml`: `WAITBUS_CONFIG_DIR`, else `$XDG_CONFIG_HOME/waitbus`, else `~/.config/waitbus`."""
    return _from_environment("WAITBUS_CONFIG_DIR") or _absolute_xdg("XDG_CONFIG_HOME") or _home() / ".config" / "waitbus"


def runtime_dir() -> Path:
    """`broadcast.sock` and locks: `WAITBUS_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/waitbus`, else `<state>/run`."""
    return _from_environment("WAITBUS_RUNTIME_DIR") or _absolute_xdg("XDG_RUNTIME_DIR") or state_dir() / "run"


def log_path() -> Path:
    return state_dir() / "events.db"


def bells_dir() -> Path:
    """The folder of doorbells lies beside the log: whoever shares the log shares the bells."""
    return state_dir() / "bells"


def cursors_dir() -> Path:
    return state_dir() / "cursors"


def config_path() -> Path:
    return config_dir() / "config.toml"


def socket_path() -> Path:
    return runtime_dir() / "broadcast.sock"


def own_directory(path: Path) -> Path:
    """Make `path` with mode 0700 if it is not there, and refuse one that is somebody else's.

    Raises:
      LogUnavailable: it cannot be made.
      LogReadOnly: its parent may not be written.
      PathError: it is a link or a file, or belongs to another user.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise PathError(f"{path} is a file, and a directory was expected", hint="move it away") from None
    except PermissionError as error:
        raise LogReadOnly(f"cannot make {path}: {error.strerror}", hint=_which_variable()) from error
    except OSError as error:
        raise LogUnavailable(f"cannot make {path}: {error.strerror}", hint=_which_variable()) from error
    _check_owner(path)
    return path


def check_socket_path(path: Path) -> Path:
    """The path itself if the kernel takes it as a socket's name.

    Raises:
      PathError: it is longer than `SOCKET_PATH_MAX` bytes.
    """
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_MAX:
        raise PathError(
            f"the socket path {path} has {length} bytes; the kernel takes {SOCKET_PATH_MAX}",
            hint="set WAITBUS_RUNTIME_DIR to a shorter directory",
        )
    return path


def _check_owner(path: Path) -> None:
    facts = path.stat()
    if facts.st_uid != os.geteuid():
        raise PathError(f"{path} belongs to uid {facts.st_uid}, not to you", hint=_which_variable())
    if stat.S_IMODE(facts.st_mode) & 0o022:
        raise PathError(f"{path} may be written by others", hint=f"chmod 700 {path}")


def _which_variable() -> str:
    return "set WAITBUS_STATE_DIR (and WAITBUS_RUNTIME_DIR) to a directory of yours that can be written"


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if "\0" in value or not os.path.isabs(os.path.expanduser(value)):
        raise PathError(f"{variable} {value!r} is not an absolute path", hint="write it from / or from ~")
    return Path(os.path.expanduser(value))


def _absolute_xdg(variable: str) -> Path | None:
    # The XDG specification says that a relative value is to be ignored.
    value = os.environ.get(variable, "")
    return Path(value) / "waitbus" if os.path.isabs(value) else None


def _platform_state() -> Path:
    if sys.platform == "linux":
        return _absolute_xdg("XDG_STATE_HOME") or _home() / ".local" / "state" / "waitbus"
    import platformdirs

    return Path(platformdirs.user_state_dir("waitbus"))


def _home() -> Path:
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise PathError("there is no home directory for this user", hint="set WAITBUS_STATE_DIR and WAITBUS_CONFIG_DIR")
    return Path(home)
