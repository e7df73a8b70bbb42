"""The tables of the log, how a connection to it is opened, and which versions may use it.

Each row costs a producer two pages, the table's leaf and the one of `delivery_id`: whatever else could be an index is derived
(an event id is its commit time, the log's tag and its seq; times are found by bisection over seq).
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING

from waitbus.errors import LogCorrupt, LogVersionError, SQLiteTooOld
from waitbus.events import TAG_BITS

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
"""The format this version writes. A later one raises `min_reader` or `min_writer` only where an older program would err."""

MIN_SQLITE = (3, 35, 0)
"""The oldest that this is meant for; `ON CONFLICT` and the JSON functions are in all of them."""

PAGE_SIZE = 2048
"""Half of SQLite's: half the WAL for a small row, and a row of a kilobyte still fits."""

WAL_LIMIT = 12 * 1024 * 1024
"""Bytes the WAL file keeps on disk once it was checkpointed."""

PRODUCER_CHECKPOINT_PAGES = 24 * 1024 * 1024 // PAGE_SIZE
"""A producer checkpoints only when the WAL is this long: with a daemon about it never has to."""

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


def connect(
    path: Path, *, mode: str = "rw", busy_timeout: float = 0.0, synchronous: str = "NORMAL"
) -> sqlite3.Connection:
    """A connection in autocommit mode to a log that exists. `busy_timeout` is in s; nothing was read from the file yet.

    Raises:
      SQLiteTooOld: the library is.
    """
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise SQLiteTooOld(
            f"this Python has SQLite {sqlite3.sqlite_version}; waitbus needs 3.35 or newer",
            hint="use a newer Python, or one linked to a newer SQLite",
        )
    db = sqlite3.connect(uri(path, mode), uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    try:
        if mode == "rw":
            db.execute(f"PRAGMA synchronous={synchronous}")
            db.execute(f"PRAGMA wal_autocheckpoint={PRODUCER_CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA journal_size_limit={WAL_LIMIT}")
    except BaseException:
        db.close()
        raise
    return db


def uri(path: Path, mode: str) -> str:
    """The file as SQLite's URI has it. By hand: urllib.parse costs 2 ms of every start."""
    quoted = os.fspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}?mode={mode}"


def read_meta(db: sqlite3.Connection, path: Path) -> dict[str, int]:
    """The log's facts: `tag format min_reader min_writer pruned_to payload_pruned_to`.

    Raises:
      LogVersionError: a newer waitbus wrote it, and says that this one must not read it.
      LogCorrupt: it is a database, and none of ours.
    """
    try:
        meta: dict[str, int] = dict(db.execute("SELECT key, value FROM meta").fetchall())
        if not all(type(meta[key]) is int for key in ("tag", "format", "min_reader", "min_writer", "pruned_to")):
            raise KeyError
    except (sqlite3.OperationalError, KeyError) as error:
        if isinstance(error, sqlite3.OperationalError) and not str(error).startswith(
            ("no such table", "no such column")
        ):
            raise
        raise LogCorrupt(
            f"{path} is a database, but no waitbus log", hint="move it away, and a new log is begun"
        ) from None
    if meta["min_reader"] > FORMAT:
        raise newer(meta, "min_reader", path)
    return meta


def newer(meta: dict[str, int], needs: str, path: Path) -> LogVersionError:
    """What to say where the log asks for a later format than ours; `needs` is `min_reader` or `min_writer`."""
    verb = "read" if needs == "min_reader" else "write"
    return LogVersionError(
        f"the log {path} has format {meta['format']}; to {verb} it a waitbus must know format {meta[needs]}, "
        f"and this one knows format {FORMAT}",
        hint="upgrade this waitbus, or set WAITBUS_STATE_DIR to another directory",
    )


def fill(db: sqlite3.Connection) -> None:
    """Make the tables of an empty log."""
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
