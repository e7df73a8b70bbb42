"""Where things are: three directories, each with a variable that wins, read anew at every call.

The runtime directory is never under /tmp: a predictable path there belongs to whoever comes first. Without
`XDG_RUNTIME_DIR` (cron, containers, sudo) it lies in the state directory, which every producer shares in any case.
"""

from __future__ import annotations

import errno
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
    return (
        _from_environment("WAITBUS_CONFIG_DIR") or _absolute_xdg("XDG_CONFIG_HOME") or _home() / ".config" / "waitbus"
    )


def runtime_dir() -> Path:
    """`broadcast.sock` and locks: `WAITBUS_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/waitbus`, else `<state>/run`."""
    return _from_environment("WAITBUS_RUNTIME_DIR") or _absolute_xdg("XDG_RUNTIME_DIR") or state_dir() / "run"


def log_path() -> Path:
    """The log, `<state>/events.db`."""
    return state_dir() / "events.db"


def bells_dir() -> Path:
    """The folder of doorbells lies beside the log: whoever shares the log shares the bells."""
    return state_dir() / "bells"


def cursors_dir() -> Path:
    """Bookmarks, one file each."""
    return state_dir() / "cursors"


def config_path() -> Path:
    return config_dir() / "config.toml"


def socket_path() -> Path:
    return runtime_dir() / "broadcast.sock"


def own_directory(path: Path) -> Path:
    """Make `path` and what is missing above it, all with mode 0700, and refuse one that somebody else could change.

    Raises:
      LogUnavailable: it cannot be made.
      LogReadOnly: its parent may not be written.
      PathError: it is a file, belongs to another user, or may be written by others.
    """
    try:
        _make(path)
        _check_owner(path)
    except PermissionError as error:
        raise LogReadOnly(f"cannot make {path}: {error.strerror}", hint=_WHICH_VARIABLE) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise LogReadOnly(f"cannot make {path}: {error.strerror}", hint=_WHICH_VARIABLE) from error
        raise LogUnavailable(f"cannot make {path}: {error.strerror}", hint=_WHICH_VARIABLE) from error
    return path


def _make(path: Path) -> None:
    # Not mkdir(parents=True): that gives the parents the mode of the umask, and one of them is our own.
    try:
        path.mkdir(mode=0o700)
    except FileNotFoundError:
        if path.parent == path:
            raise
        _make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        return


def here() -> str:
    """The current directory, or nothing where it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def as_path(path: Path | str, *, what: str = "the path") -> Path:
    """`path` as callers may write it.

    Raises:
      PathError: it is no path, or has a NUL in it, which the kernel takes for its end.
    """
    try:
        found = Path(path)
    except TypeError:
        raise PathError(f"{what} {path!r} is not a path", hint="give a string or a pathlib.Path") from None
    if "\0" in os.fspath(found):
        raise PathError(f"{what} {path!r} has a NUL in it", hint="write it without")
    try:
        os.fsencode(found)
    except UnicodeEncodeError:
        raise PathError(
            f"{what} {path!r} has a character that no file name can have", hint="write it without"
        ) from None
    return found


def absolute(path: Path | str, *, what: str = "") -> Path:
    """`path` from the current directory; `what` names the option in the error.

    Raises:
      PathError: it is none, or is relative, and the current directory was removed.
    """
    given = as_path(path)
    try:
        return given.absolute()
    except OSError:
        named = f"{what} {os.fspath(path)!r}".strip()
        raise PathError(
            f"{named} leads nowhere: the current directory was removed", hint="write it from /, or cd first"
        ) from None


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
    # A link of our own to a directory of our own is fine (a larger disk); a link that somebody else laid is not.
    if path.lstat().st_uid != (me := os.geteuid()) or (facts := path.stat()).st_uid != me:
        raise PathError(f"{path} belongs to another user, not to uid {me}", hint=_WHICH_VARIABLE)
    if not stat.S_ISDIR(facts.st_mode):
        raise PathError(f"{path} is a file, and a directory was expected", hint=f"move it away, or {_WHICH_VARIABLE}")
    if facts.st_mode & 0o022:
        raise PathError(f"{path} may be written by others", hint=f"chmod go-w {path}")


_WHICH_VARIABLE = "set WAITBUS_STATE_DIR (and WAITBUS_RUNTIME_DIR) to a directory of yours that can be written"


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if value == "~" or value.startswith("~/"):
        return _home() / value[2:]
    if not os.path.isabs(value):
        raise PathError(f"{variable} {value!r} is not an absolute path", hint="write it from / or from ~/")
    return Path(value)


def _absolute_xdg(variable: str) -> Path | None:
    # The XDG specification says that a relative value is to be ignored.
    value = os.environ.get(variable, "")
    return Path(value) / "waitbus" if os.path.isabs(value) else None


def _platform_state() -> Path:
    if sys.platform == "darwin":
        import platformdirs

        return Path(platformdirs.user_state_dir("waitbus"))
    return _absolute_xdg("XDG_STATE_HOME") or _home() / ".local" / "state" / "waitbus"


def _home() -> Path:
    """`HOME`, else what the user data base has (`env -i`, cron)."""
    home = os.environ.get("HOME", "")
    if not home:
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = ""
    if not os.path.isabs(home):
        raise PathError(
            f"the home directory {home!r} is not an absolute path",
            hint="set HOME, or WAITBUS_STATE_DIR and WAITBUS_CONFIG_DIR",
        )
    return Path(home)
