"""The log's file: its tables, how it is made, which versions may use it, and how a damaged one is set aside.

Each row costs a producer two pages, the table's leaf and the one of `delivery_id`: whatever else could be an index is derived
(an event id is its commit time, the log's tag and its seq; times are found by bisection over seq).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from waitbus.errors import LogCorrupt, LogVersionError, SQLiteTooOld
from waitbus.events import TAG_BITS
from waitbus.paths import own_directory
from waitbus.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
"""The format this version writes. A later one raises `min_reader` or `min_writer` only where an older program would err."""

MIN_SQLITE = (3, 35, 0)
"""The first with RETURNING."""

PAGE_SIZE = 4096
WAL_LIMIT = 16 * 1024 * 1024
"""Bytes the WAL file keeps on disk once it was checkpointed."""

PRODUCER_CHECKPOINT_PAGES = 4000
"""A producer checkpoints only when the WAL is this long (16 MB): with a daemon about it never has to."""

# Not STRICT: a library older than 3.37 calls a schema with that word corrupt, and would set a healthy log aside.
TABLES = """
CREATE TABLE events(
  seq INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  delivery_id TEXT NOT NULL UNIQUE,
  source TEXT NOT NULL,
  event_type TEXT NOT NULL,
  owner TEXT NOT NULL,
  repo TEXT NOT NULL,
  status TEXT,
  conclusion TEXT,
  received_at INTEGER NOT NULL,
  ingest_method TEXT NOT NULL,
  summary TEXT NOT NULL,
  fields TEXT NOT NULL,
  payload TEXT
);
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE aliases(event_id TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX aliases_seq ON aliases(seq);
CREATE TABLE schema_migrations(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL);
"""

log = logging.getLogger("waitbus")


def connect(path: Path, *, busy_timeout: float, synchronous: str = "NORMAL") -> sqlite3.Connection:
    """A connection in autocommit mode to a log that exists. `busy_timeout` is in s; nothing was read from the file yet."""
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise SQLiteTooOld(
            f"this Python has SQLite {sqlite3.sqlite_version}; waitbus needs 3.35 or newer",
            hint="use a newer Python, or one linked to a newer SQLite",
        )
    db = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute(f"PRAGMA wal_autocheckpoint={PRODUCER_CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit={WAL_LIMIT}")
    return db


def read_meta(db: sqlite3.Connection, path: Path, *, write: bool = True) -> dict[str, int]:
    """The log's facts: `tag format min_reader min_writer pruned_to payload_pruned_to`.

    Raises:
      LogVersionError: a newer waitbus wrote it, and says that this one must not use it.
      LogCorrupt: it is a database, and none of ours.
    """
    try:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        newest, needed = meta["format"], meta["min_writer" if write else "min_reader"]
        meta["tag"], meta["pruned_to"]
    except (sqlite3.OperationalError, KeyError) as error:
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
            raise
        raise LogCorrupt(f"{path} is a database, but no waitbus log", hint="move it away, and a new log is begun") from None
    if needed > FORMAT:
        raise LogVersionError(
            f"the log {path} has format {newest} and needs a waitbus that knows format {needed}; this one knows format {FORMAT}",
            hint="upgrade this waitbus, or set WAITBUS_STATE_DIR to another directory",
        )
    return meta


def create(path: Path) -> None:
    """Make an empty log, completely, under another name; then rename it. Whoever comes second finds it there."""
    own_directory(path.parent)
    with locked(path):
        if path.exists() and path.stat().st_size:
            return
        new = path.with_name(path.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        db = sqlite3.connect(new, isolation_level=None)
        try:
            _fill(db)
        finally:
            db.close()
        os.rename(new, path)


def _fill(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA page_size={PAGE_SIZE}")
    db.execute("PRAGMA journal_mode=WAL").fetchall()
    db.executescript(f"BEGIN; {TABLES} COMMIT;")
    facts = {
        # Never 0: the tag of "no log".
        "tag": 1 + int.from_bytes(os.urandom(8), "little") % ((1 << TAG_BITS) - 1),
        "format": FORMAT,
        "min_reader": FORMAT,
        "min_writer": FORMAT,
        "pruned_to": 0,
        "payload_pruned_to": 0,
    }
    db.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
    db.execute("INSERT INTO schema_migrations VALUES (1, 'initial', ?)", (time.time_ns(),))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `<state>/events.lock`: whoever makes the log or sets it aside does so alone."""
    with translated(path):
        handle = os.open(path.with_name("events.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with translated(path):
            yield
    finally:
        os.close(handle)


def is_damaged(path: Path, error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is broken. CORRUPT is believed only if a fresh look confirms it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return True
    if code != sqlite3.SQLITE_CORRUPT:
        return False
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=rw", uri=True, timeout=5)) as db:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except sqlite3.DatabaseError as second:
        return getattr(second, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: Path, judged: os.stat_result) -> None:
    """Move a damaged log, its WAL first, to a name with the time in it, unless somebody did so already."""
    with locked(path):
        try:
            now = path.stat()
        except FileNotFoundError:
            return
        if (now.st_dev, now.st_ino) != (judged.st_dev, judged.st_ino):
            return
        aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}")
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    log.warning("the log %s was damaged; it was moved to %s and a new one begun", path, aside)
