"""Retention: old rows leave in small chunks, from the low end, while everything works.

A chunk is one transaction that deletes at most `CHUNK` rows and raises `pruned_to`, so that a reader whose position lies below
it is told of a gap. The newest row is never pruned: seq goes on from it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import ConfigError, LogError
from waitbus.store.log import seq_before

if TYPE_CHECKING:
    import sqlite3

    from waitbus.config import RetentionTable
    from waitbus.store.log import Log

CHUNK = 500
EVERY = 256
"""Without a daemon, each append whose seq passes a multiple of this prunes one chunk, which outruns any producer."""


@attrs.frozen
class Retention:
    """How much is kept: `max_age` and `payload_age` in s (None: for ever), `max_bytes` of live pages.

    No row from `keep_from` on (the seq of a bookmark in use) leaves by age.
    """

    max_age: float | None = 30 * 86400.0
    max_bytes: int | None = 1024**3
    payload_age: float | None = None
    keep_from: int | None = None

    @classmethod
    def of(cls, table: RetentionTable, keep_from: int | None = None) -> Retention:
        """What the `[retention]` table of the configuration asks for."""
        age = None if table.payload_days is None else table.payload_days * 86400
        return cls(max_age=table.max_age, max_bytes=table.max_size, payload_age=age, keep_from=keep_from)


def prune_chunk(log: Log, keep: Retention, *, now: float | None = None, chunk: int = CHUNK) -> int:
    """Delete one chunk of what `keep` lets go, in one short transaction; returns how many rows (0: nothing is left to do)."""
    now = time.time() if now is None else now
    if not log.use(lambda db: _anything(db, keep, now)):
        return 0
    return log.write(lambda db: _prune(db, keep, now, chunk))


def strip_payloads(log: Log, keep: Retention, *, now: float | None = None, chunk: int = CHUNK) -> int:
    """Drop the payloads of one chunk of rows older than `keep.payload_age`; the rows stay."""
    if keep.payload_age is None:
        return 0
    before = int(((time.time() if now is None else now) - keep.payload_age) * 1000)

    def strip(db: sqlite3.Connection) -> int:
        start = db.execute("SELECT value FROM meta WHERE key = 'payload_pruned_to'").fetchall()[0][0]
        limit = seq_before(db, before)
        rows = db.execute("SELECT seq FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (start, limit, chunk)).fetchall()
        if not rows:
            return 0
        db.execute("UPDATE events SET payload = NULL WHERE seq > ? AND seq <= ?", (start, rows[-1][0]))
        db.execute("UPDATE meta SET value = ? WHERE key = 'payload_pruned_to'", (rows[-1][0],))
        return len(rows)

    return log.write(strip)


def live_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the pages in use. Not the file's size: that never shrinks, and everything would be deleted."""
    pages, free, size = (db.execute(f"PRAGMA {name}").fetchall()[0][0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def prune_now_and_then(log: Log, seq: int, count: int = 1) -> None:
    """A producer's share of retention, where no daemon does it."""
    if seq // EVERY == (seq - count) // EVERY:
        return
    from waitbus.config import load

    try:
        prune_chunk(log, Retention.of(load().retention))
    except (LogError, ConfigError):
        # The event is committed and told; whoever comes next prunes.
        return


def _anything(db: sqlite3.Connection, keep: Retention, now: float) -> bool:
    if keep.max_bytes is not None and live_bytes(db) > keep.max_bytes:
        return True
    if keep.max_age is None:
        return False
    start = db.execute("SELECT value FROM meta WHERE key = 'pruned_to'").fetchall()[0][0]
    oldest = db.execute("SELECT seq, at_ms FROM events WHERE seq > ? ORDER BY seq LIMIT 1", (start,)).fetchall()
    return bool(oldest) and oldest[0][1] < (now - keep.max_age) * 1000 and (keep.keep_from is None or oldest[0][0] < keep.keep_from)


def _prune(db: sqlite3.Connection, keep: Retention, now: float, chunk: int) -> int:
    newest = db.execute("SELECT max(seq) FROM events").fetchall()[0][0] or 0
    if keep.max_bytes is not None and live_bytes(db) > keep.max_bytes:
        doomed = db.execute("SELECT seq FROM events WHERE seq < ? ORDER BY seq LIMIT ?", (newest, chunk)).fetchall()
    elif keep.max_age is not None:
        doomed = _expired(db, keep, now, chunk, newest)
    else:
        doomed = []
    if not doomed:
        return 0
    db.executemany("DELETE FROM events WHERE seq = ?", doomed)
    db.executemany("DELETE FROM aliases WHERE seq = ?", doomed)
    db.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'pruned_to'", (doomed[-1][0],))
    return len(doomed)


def _expired(db: sqlite3.Connection, keep: Retention, now: float, chunk: int, newest: int) -> list[tuple[int]]:
    assert keep.max_age is not None
    start = db.execute("SELECT value FROM meta WHERE key = 'pruned_to'").fetchall()[0][0]
    limit = min(seq_before(db, int((now - keep.max_age) * 1000)), newest - 1)
    if keep.keep_from is not None:
        limit = min(limit, keep.keep_from - 1)
    # Imported rows carry an alias: a history that somebody brought over is kept up to the size cap.
    return db.execute(
        "SELECT seq FROM events WHERE seq > ? AND seq <= ? AND seq NOT IN (SELECT seq FROM aliases) ORDER BY seq LIMIT ?",
        (start, limit, chunk),
    ).fetchall()
