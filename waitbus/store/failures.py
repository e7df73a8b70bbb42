"""From what SQLite and the kernel answer to the typed errors of the log: what happened, to which file, what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from typing import TYPE_CHECKING

from waitbus import handles
from waitbus.errors import (
    LogBusy,
    LogCorrupt,
    LogError,
    LogFull,
    LogIOError,
    LogReadOnly,
    LogUnavailable,
    LogVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME_ANOTHER = "name the file of a log, or one that is not there yet"
_ELSEWHERE = "set WAITBUS_STATE_DIR to a directory that can be written"
_BUSY_HINT = "another program holds the log's write lock; `lsof` or `fuser` on the file names it"
_FULL_HINT = "make space; what was committed before is intact, and writing goes on by itself"
_HANDLES = (LogUnavailable, "no file handle is left to open {path}", handles.HINT)
_OTHER = (
    LogIOError,
    "the log {path} could not be used",
    "`waitbus db info` looks at the file; `dmesg` says more of the disk",
)

_BY_CODE: dict[int, tuple[type[LogError], str, str]] = {
    sqlite3.SQLITE_BUSY: (LogBusy, "the log {path} is locked by another process", _BUSY_HINT),
    sqlite3.SQLITE_LOCKED: (LogBusy, "the log {path} is locked by another process", _BUSY_HINT),
    sqlite3.SQLITE_FULL: (LogFull, "no space is left for the log {path}", _FULL_HINT),
    sqlite3.SQLITE_READONLY: (LogReadOnly, "the log {path} may not be written", _ELSEWHERE),
    sqlite3.SQLITE_PERM: (LogReadOnly, "the log {path} may not be written", _ELSEWHERE),
    sqlite3.SQLITE_CANTOPEN: (LogUnavailable, "the log {path} cannot be opened", _ELSEWHERE),
    sqlite3.SQLITE_CORRUPT: (LogCorrupt, "the log {path} is damaged", "move it away, and a new log is begun"),
    sqlite3.SQLITE_NOTADB: (LogCorrupt, "{path} is not a log", NAME_ANOTHER),
}

_BY_ERRNO: dict[int, tuple[type[LogError], str, str]] = {
    errno.ENOSPC: _BY_CODE[sqlite3.SQLITE_FULL],
    errno.EDQUOT: _BY_CODE[sqlite3.SQLITE_FULL],
    errno.EROFS: _BY_CODE[sqlite3.SQLITE_READONLY],
    errno.EACCES: _BY_CODE[sqlite3.SQLITE_READONLY],
    errno.EPERM: _BY_CODE[sqlite3.SQLITE_READONLY],
    errno.EMFILE: _HANDLES,
    errno.ENFILE: _HANDLES,
}

HANDLES_OF_A_LOG = 6
"""What SQLite has open at once, at the most: the file, the WAL, its shared memory, a folder, and the two of a VACUUM. It gives
back those that it got before it lacked one, and does not say that it did."""


def primary(error: BaseException) -> int:
    """SQLite's primary result code of an error; 0 where it has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def typed(error: Exception, path: Path) -> LogError:
    """The error of ours that says what `error` means for the log at `path`."""
    if isinstance(error, OSError):
        kind, text, hint = _BY_ERRNO.get(error.errno or 0, _BY_CODE[sqlite3.SQLITE_CANTOPEN])
        return kind(f"{text.format(path=path)} ({error.strerror})", hint=hint)
    code = _meant(error, path)
    if code == sqlite3.SQLITE_CORRUPT and str(error).startswith("malformed database schema"):
        # A damaged one was set aside before anybody came here.
        return LogVersionError(
            f"the log {path} has tables that SQLite {sqlite3.sqlite_version} does not understand ({error})",
            hint="use a Python with a newer SQLite, as the one that made them has",
        )
    kind, text, hint = _BY_CODE.get(code, _OTHER)
    if code == sqlite3.SQLITE_CANTOPEN and not handles.are_left(HANDLES_OF_A_LOG):
        kind, text, hint = _HANDLES
    return kind(f"{text.format(path=path)} ({error})", hint=hint)


def _meant(error: Exception, path: Path) -> int:
    """SQLite's code, but for what it words badly: a folder, or a disk without room for the -shm file, is an I/O error to it,
    and a folder that may not be written makes a file that cannot be opened."""
    code = primary(error)
    if path.is_dir():
        return sqlite3.SQLITE_CANTOPEN
    with contextlib.suppress(OSError):
        space = os.statvfs(path.parent)
        if code == sqlite3.SQLITE_IOERR and space.f_bavail == 0:
            return sqlite3.SQLITE_FULL
        if code == sqlite3.SQLITE_CANTOPEN and path.exists() and not _may_write(path, space.f_flag):
            return sqlite3.SQLITE_READONLY
    return code


def _may_write(path: Path, flags: int) -> bool:
    return not flags & os.ST_RDONLY and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Let no bare sqlite3 or OS error through."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise typed(error, path) from error
