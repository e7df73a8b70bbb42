"""What a log holds, looked at without changing a byte of it: nothing is made, set aside or checkpointed by a look."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING, NamedTuple

import attrs

from waitbus.errors import LogCorrupt, LogUnavailable
from waitbus.events import log_id
from waitbus.paths import log_path
from waitbus.store import schema
from waitbus.store.failures import primary, translated
from waitbus.store.files import identity, refuse_lost_link, refuse_special
from waitbus.store.retention import live_bytes
from waitbus.store.rows import seq_before

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_TIMEOUT = 1.0
_OTHER = "name the file of a log; `waitbus status` tells the one in use"
RATE_WINDOW = 300
"""s over which the rate of events is told."""


class Migration(NamedTuple):
    """A migration that was applied; `applied_at` is in ns since the epoch."""

    number: int
    name: str
    applied_at: int


@attrs.frozen
class LogFacts:
    """Sizes in bytes, times in ms since the epoch, seqs of 0 where the log is empty."""

    path: Path
    log_id: str
    format: int
    min_reader: int
    min_writer: int
    migrations: tuple[Migration, ...]
    journal_mode: str
    rows: int
    first_seq: int
    last_seq: int
    first_at_ms: int
    last_at_ms: int
    pruned_to: int
    payload_pruned_to: int
    bytes: int
    live_bytes: int
    wal_bytes: int
    recent: int
    """Events of the last `RATE_WINDOW` s."""


class Damaged(NamedTuple):
    """A log that was set aside since it was damaged."""

    path: Path
    bytes: int


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the log at `path` that cannot write.

    Raises:
      LogUnavailable: there is none; it is not made.
      LogError: it cannot be read, or is no log.
    """
    if os.path.isdir(path):
        raise LogUnavailable(f"{path} is a directory, not a log", hint=_OTHER)
    if not is_there(path):
        raise LogUnavailable(
            f"there is no log at {path}", hint="the first event makes it; `waitbus status` names the one in use"
        )
    try:
        with translated(path), contextlib.closing(_connect(path)) as db:
            schema.read_meta(db, path)
            yield db
    except LogCorrupt as error:
        if path != log_path():
            error.hint = _OTHER  # what to do about a damaged log would be bad advice about somebody's other file
        raise


def is_there(path: Path) -> bool:
    """Whether there is something at `path`.

    Raises:
      LogError: it is not for us to see, is a link that leads to no log, or is no file.
    """
    with translated(path):
        refuse_lost_link(path)
        refuse_special(path)
        return identity(os.fspath(path)) is not None


def _connect(path: Path) -> sqlite3.Connection:
    # Not mode=rw: as the last one to close, a reader would checkpoint; that is an fsync or four, and not what it came for.
    return schema.connect(path, mode="ro", busy_timeout=BUSY_TIMEOUT)


def facts(path: Path, *, now: float | None = None) -> LogFacts:
    """What the log at `path` is, and holds, all of one moment.

    Raises:
      LogError: there is none, or it cannot be read.
    """
    now = time.time() if now is None else now
    with reading(path) as db:
        db.execute("BEGIN")
        meta = schema.read_meta(db, path)
        first, last = _end(db, "ASC"), _end(db, "DESC")
        recent = last[0] - max(seq_before(db, int((now - RATE_WINDOW) * 1000)), meta["pruned_to"]) if last[0] else 0
        return LogFacts(
            path=path,
            log_id=log_id(meta["tag"]),
            format=meta["format"],
            min_reader=meta["min_reader"],
            min_writer=meta["min_writer"],
            migrations=tuple(applied(db)),
            journal_mode=db.execute("PRAGMA journal_mode").fetchall()[0][0],
            rows=count(db, 0, meta["pruned_to"], last[0]),
            first_seq=first[0],
            last_seq=last[0],
            first_at_ms=first[1],
            last_at_ms=last[1],
            pruned_to=meta["pruned_to"],
            payload_pruned_to=meta["payload_pruned_to"],
            bytes=_size(path),
            live_bytes=live_bytes(db),
            wal_bytes=_size(path.with_name(path.name + "-wal")),
            recent=max(0, recent),
        )


def applied(db: sqlite3.Connection) -> Iterator[Migration]:
    """The migrations the log went through."""
    yield from map(
        Migration._make, db.execute("SELECT number, name, applied_at FROM schema_migrations ORDER BY number").fetchall()
    )


def count(db: sqlite3.Connection, after: int, pruned_to: int, last: int) -> int:
    """How many rows there are behind `after`, without reading them: above the prune mark seq has no holes (nothing burns one)."""
    if after >= pruned_to:
        return max(0, last - after)
    below = db.execute("SELECT count(*) FROM events WHERE seq > ? AND seq <= ?", (after, pruned_to)).fetchall()
    return int(below[0][0]) + max(0, last - pruned_to)


def check(path: Path) -> list[str]:
    """What SQLite's own check finds wrong with the file; nothing, if it is whole."""
    with reading(path) as db:
        try:
            said = [row[0] for row in db.execute("PRAGMA quick_check(20)").fetchall()]
        except sqlite3.DatabaseError as error:
            if primary(error) != sqlite3.SQLITE_CORRUPT:
                raise
            said = [str(error)]  # some damage ends the check itself
    return [] if said == ["ok"] else said


def set_aside(path: Path) -> list[Damaged]:
    """The damaged logs that lie beside this one, the newest last."""
    try:
        found = sorted(path.parent.glob(f"{path.name}.corrupt-*"))
    except OSError:  # the folder may not be looked into, which whoever reads the log is told
        return []
    return [Damaged(one, _size(one)) for one in found if not one.name.endswith(("-wal", "-shm"))]


def _end(db: sqlite3.Connection, order: str) -> tuple[int, int]:
    rows = db.execute(f"SELECT seq, at_ms FROM events ORDER BY seq {order} LIMIT 1").fetchall()
    return (rows[0][0], rows[0][1]) if rows else (0, 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
