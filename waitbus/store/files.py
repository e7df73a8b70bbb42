"""The files of the log: made once, set aside when damaged, and never joined to a WAL that belongs to another log.

SQLite does not tie a WAL to its database: an `events.db-wal` that stayed behind when the log was removed or replaced would
be played into the next log and ruin it. So `events.lock` notes which two files belong together.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from waitbus import whole
from waitbus.errors import LogBusy, LogCorrupt, LogError, LogUnavailable
from waitbus.paths import log_path, own_directory
from waitbus.store import schema
from waitbus.store.failures import NAME_ANOTHER, primary, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LOCK_TIMEOUT = 5.0
"""s to wait for `events.lock`: a stopped process may hold it."""

Identity = tuple[int, int]
"""(device, inode) of a file."""


def is_missing(name: str) -> bool:
    """Whether no file stands there, or one that nobody has written to yet."""
    try:
        return not os.stat(name).st_size
    except FileNotFoundError:
        return True


def identity(name: str) -> Identity | None:
    """Which file stands at this name now; None where there is none."""
    try:
        facts = os.stat(name)
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def refuse_lost_link(path: Path) -> None:
    """A link to a log that is not there is no place for a new one. It is not ours to replace, since the log may come back (a disk
    that is not mounted yet); nor is a log to be made where it leads, since the disk would hide it then.

    Raises:
      LogUnavailable: it is such a link.
    """
    if os.path.islink(path) and is_missing(os.fspath(path)):
        raise LogUnavailable(
            f"{path} is a link to {os.readlink(path)}, and no log is there",
            hint="mount the disk that it leads to, or remove the link, and a new log is begun in its place",
        )


def refuse_special(path: Path) -> None:
    """A device, a pipe or a socket is no log, and who opens one may wait for ever.

    Raises:
      LogCorrupt: it is one.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise LogCorrupt(f"{path} is not a log (it is no regular file)", hint=NAME_ANOTHER)


def create(path: Path) -> None:
    """Make an empty log, completely, under another name; then rename it. Whoever comes second finds it there.

    Raises:
      LogUnavailable: it is not the usual log, and its folder is not there: a path with a slip in it makes no folders. Or it is a
        link that leads to none.
      LogCorrupt: a device, a pipe or a socket stands there.
    """
    refuse_special(path)
    if not os.path.lexists(path.parent) and path != log_path():
        raise LogUnavailable(
            f"there is no folder {path.parent} for the log {path.name}", hint="correct the path, or make the folder"
        )
    own_directory(path.parent)
    refuse_lost_link(path)
    with locked(path):
        if path.exists() and (path.stat().st_size or path.is_dir()):
            return
        new = path.with_name(path.name + ".new")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{new}{suffix}")
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
            schema.fill(db)
        _move_wal_aside(path)
        _note(path, ())
        os.rename(new, path)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `<state>/events.lock`: whoever makes the log or sets it aside does so alone.

    Raises:
      LogBusy: another process held it for `LOCK_TIMEOUT`.
    """
    with translated(path):
        handle = os.open(_lock_name(path), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            _flock(handle, path)
            yield
        finally:
            os.close(handle)


def _flock(handle: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LogBusy(
                    f"another process holds {_lock_name(path)} for more than {LOCK_TIMEOUT:g} s",
                    hint="`fuser` on that file names it; it may be stopped",
                ) from None
            time.sleep(0.005)


def _lock_name(path: Path) -> Path:
    return path.with_name("events.lock" if path.name == "events.db" else f"{path.name}.lock")


# -- a WAL that belongs to another log ---------------------------------------------------------------------------------


def part_from_foreign_wal(path: Path) -> None:
    """Before the log is opened: if the file was replaced and the WAL of its predecessor stayed, move that WAL away."""
    if _was_replaced(path):
        with locked(path):
            if not _was_replaced(path):
                return
            # Where both have changed, the folder was copied, and the WAL is the log's own.
            if _noted(path)[1] == identity(f"{path}-wal"):
                _move_wal_aside(path)
            _note(path, ())


def _was_replaced(path: Path) -> bool:
    noted = _noted(path)[0]
    return noted is not None and noted != identity(os.fspath(path))


def note_pair(path: Path) -> None:
    """After the log was opened: note which WAL belongs to which file."""
    pair = identity(os.fspath(path)), identity(f"{path}-wal")
    if pair == _noted(path) or None in pair:
        return
    # Where nothing can be noted, nothing can be replaced either.
    with contextlib.suppress(LogError), locked(path):
        _note(path, [number for one in pair if one for number in one])


def _note(path: Path, numbers: Iterable[int]) -> None:
    _lock_name(path).write_text(" ".join(map(str, numbers)), encoding="ascii")


def _noted(path: Path) -> tuple[Identity | None, Identity | None]:
    try:
        log_dev, log_ino, wal_dev, wal_ino = map(int, whole.read(_lock_name(path), 200).split())
    except (OSError, ValueError):
        return None, None
    return (log_dev, log_ino), (wal_dev, wal_ino)


def _move_wal_aside(path: Path) -> None:
    aside = _aside(path, "orphan")
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")


def _aside(path: Path, why: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return path.with_name(f"{path.name}.{why}-{stamp}-{os.urandom(2).hex()}")


# -- damage ------------------------------------------------------------------------------------------------------------


def set_aside_if_damaged(path: Path) -> bool:
    """Move a damaged log, its WAL first, to a name with the time in it. False, and nothing moved, where it never was one of
    ours, or a fresh look finds it whole: somebody else has moved it already, or its schema is merely newer than this SQLite."""
    if not _was_ours(path):
        return False
    with locked(path):
        if not _is_damaged(path):
            return False
        aside = _aside(path, "corrupt")
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    import logging

    logging.getLogger("waitbus").warning(
        "the log %s was damaged; it was moved to %s and a new one is begun", path, aside
    )
    return True


def _was_ours(path: Path) -> bool:
    """Whether this is the place of the usual log, or the file was opened as a log before, whatever is in it now. A path that a
    caller named by mistake holds somebody's notes, or the database of another program."""
    noted = _noted(path)[0]
    return (noted is not None and noted == identity(os.fspath(path))) or path == log_path()


def _is_damaged(path: Path) -> bool:
    if path.exists() and not path.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(schema.uri(path, "rw"), uri=True, timeout=LOCK_TIMEOUT)) as db:
            # The first statement: a word that this library does not know in a CREATE statement is no damage, though SQLite
            # calls it so.
            db.execute("PRAGMA writable_schema=ON")
            return bool(db.execute("PRAGMA quick_check(1)").fetchall()[0][0] != "ok")
    except sqlite3.DatabaseError as error:
        return primary(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
