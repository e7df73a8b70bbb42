"""Retention: old rows leave in small chunks, from the low end, while everything works.

A chunk is one transaction that deletes rows of a range and raises `pruned_to` to the last one of them, so that a reader whose
position lies below it is told of a gap. The range is found before the transaction begins, since rows appear at the high end only.
The newest row is never pruned: seq goes on from it.

Imported rows outlive those around them, so below `pruned_to` there are rows and holes. Nothing else leaves a hole in seq: a seq
that is missing was pruned, one that is there is given (`rows.hole`). How far age was looked at is another mark, `aged_to`: behind
a history that was imported and of which nothing was deleted, nobody is missing anything. `pruned_at_ms` is when the row
at `pruned_to` was committed: whoever asks for what came since a later moment is missing nothing either.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

import attrs

from waitbus.errors import ConfigError, LogError
from waitbus.store.bookmarks import keep_from
from waitbus.store.rows import ROW_BYTES, facts, meta, seq_before

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from waitbus.config import RetentionTable
    from waitbus.store.log import Log

CHUNK = 200
"""Rows of a chunk: a ms or two of the write lock."""

CHUNK_BYTES = 2 * 1024 * 1024
"""And what rows with large payloads may weigh together; one may weigh more alone."""

CHUNK_MIN = 20
SHORT, LONG = 0.003, 0.008
"""s. A chunk that held the lock for longer than LONG (rows with large payloads) makes the next one half as large."""

BEHIND = 1.1

EVERY = 100
"""Where no daemon does it, each append whose seq passes a multiple of this prunes a chunk, which outruns any producer."""


@attrs.frozen
class Retention:
    """How much is kept: `max_age` and `payload_age` in s (None: for ever), `max_bytes` of live pages, `max_rows`.

    No row from `keep_from` on (the first one a bookmark in use has not passed) leaves by age.
    """

    max_age: float | None = 30 * 86400.0
    max_bytes: int | None = 1024**3
    payload_age: float | None = None
    keep_from: int | None = None
    max_rows: int | None = None

    @classmethod
    def of(cls, table: RetentionTable, keep_from: int | None = None) -> Retention:
        """What the `[retention]` table of the configuration asks for."""
        age = None if table.payload_days is None else table.payload_days * 86400
        return cls(max_age=table.max_age, max_bytes=table.max_size, payload_age=age, keep_from=keep_from)

    @classmethod
    def in_force(cls, table: RetentionTable, log: Log) -> Retention:
        """The same, with the bookmarks of `log` that are in use."""
        return cls.of(table, keep_from(log))


@attrs.define
class Pruner:
    """Prunes `log` chunk by chunk, in chunks as large as the write lock can be spared for."""

    log: Log
    keep: Retention
    chunk: int = CHUNK
    is_behind: bool = False
    """Whether the log is larger than it may be by a tenth: whoever writes is faster than whoever prunes with pauses."""
    _locked_at: float = 0.0

    def step(self) -> int:
        """One chunk of rows, or else of payloads; how many, 0 where nothing is left to do."""
        done = prune_chunk(self.log, self.keep, chunk=self.chunk, locked=self._locked) or strip_payloads(
            self.log, self.keep, chunk=self.chunk, locked=self._locked
        )
        if done:
            self._adapt(time.monotonic() - self._locked_at)
        cap = self.keep.max_bytes
        self.is_behind = cap is not None and self.log.use(live_bytes) > cap * BEHIND
        return done

    def _locked(self) -> None:
        # Not when the step began: who has to wait for the lock would prune in ever smaller chunks, and wait the more often.
        self._locked_at = time.monotonic()

    def _adapt(self, held: float) -> None:
        if held > LONG:
            self.chunk = max(CHUNK_MIN, self.chunk // 2)
        elif held < SHORT:
            self.chunk = min(CHUNK, self.chunk * 2)


def _nobody() -> None: ...


def prune_chunk(
    log: Log, keep: Retention, *, now: float | None = None, chunk: int = CHUNK, locked: Callable[[], None] = _nobody
) -> int:
    """Delete one chunk of what `keep` lets go, in one short transaction; returns how many rows (0: nothing is left to do).

    `locked` is told when the write lock is held.
    """
    at = time.time() if now is None else now
    doomed = log.read(lambda db: _doomed(db, keep, at, chunk))
    return 0 if doomed is None else _write(log, locked, lambda db: _delete(db, doomed))


def strip_payloads(
    log: Log, keep: Retention, *, now: float | None = None, chunk: int = CHUNK, locked: Callable[[], None] = _nobody
) -> int:
    """Drop the payloads of one chunk of rows older than `keep.payload_age`; the rows stay. `locked` as above."""
    if keep.payload_age is None:
        return 0
    before = int(((time.time() if now is None else now) - keep.payload_age) * 1000)
    last = log.read(lambda db: _last_of_chunk(db, meta(db, "payload_pruned_to"), seq_before(db, before), chunk))
    return 0 if last is None else _write(log, locked, lambda db: _strip(db, last))


def _write(log: Log, locked: Callable[[], None], work: Callable[[sqlite3.Connection], int]) -> int:
    def transaction(db: sqlite3.Connection) -> int:
        locked()
        return work(db)

    return log.write(transaction)


def live_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the pages in use. Not the file's size: that never shrinks, and everything would be deleted."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchall()[0][0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def prune_now_and_then(log: Log, seq: int, count: int = 1) -> None:
    """A producer's share of retention, where no daemon does it: after `count` appends up to `seq`."""
    if seq // EVERY == (seq - count) // EVERY or _has_daemon(log):
        return
    from waitbus.config import load

    try:
        Pruner(log, Retention.in_force(load().retention, log)).step()
    except (LogError, ConfigError):
        # The event is committed and told; whoever comes next prunes.
        return


_WEIGHED = """SELECT seq, length(CAST(fields AS BLOB)) + coalesce(length(CAST(payload AS BLOB)), 0) FROM events
 WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"""


def _has_daemon(log: Log) -> bool:
    """Whether the process lives that `daemon.lock` names. Not by trying the lock: a daemon that starts would be refused."""
    from waitbus import holder

    pid = holder.read(log.path.parent / "daemon.lock").get("pid")
    try:
        if pid is not None:
            os.kill(pid, 0)
    except OSError:
        return False
    return pid is not None


# Upserts: the first logs have no such marks.
_RAISED = "ON CONFLICT(key) DO UPDATE SET value = max(value, excluded.value)"
_AGED = f"INSERT INTO meta VALUES ('aged_to', ?) {_RAISED}"
_PRUNED = f"""INSERT INTO meta
 SELECT 'pruned_to', seq FROM (SELECT max(seq) AS seq FROM events WHERE {{which}}) WHERE seq NOT NULL {_RAISED}"""
_PRUNED_AT = f"""INSERT INTO meta
 SELECT 'pruned_at_ms', at_ms FROM events WHERE seq = (SELECT value FROM meta WHERE key = 'pruned_to') {_RAISED}"""


class _Range(NamedTuple):
    """Rows `after` < seq <= `last`; imported ones among them stay if `spare_imported`."""

    after: int
    last: int
    spare_imported: bool


def _doomed(db: sqlite3.Connection, keep: Retention, now: float, chunk: int) -> _Range | None:
    bounds = facts(db, 0)
    if keep.max_bytes is not None and live_bytes(db) > keep.max_bytes:
        over = live_bytes(db) - keep.max_bytes
        last = _last_of_chunk(db, 0, bounds.last - 1, chunk, min(over, CHUNK_BYTES))
        return None if last is None else _Range(0, last, spare_imported=False)
    if keep.max_rows is not None and bounds.first and bounds.first <= bounds.last - max(1, keep.max_rows):
        last = _last_of_chunk(db, 0, bounds.last - max(1, keep.max_rows), chunk)
        return None if last is None else _Range(0, last, spare_imported=False)
    if keep.max_age is None:
        return None
    limit = min(seq_before(db, int((now - keep.max_age) * 1000)), bounds.last - 1)
    if keep.keep_from is not None:
        limit = min(limit, keep.keep_from - 1)
    looked_to = db.execute("SELECT max(value) FROM meta WHERE key IN ('pruned_to', 'aged_to')").fetchall()[0][0]
    last = _last_of_chunk(db, looked_to, limit, chunk)
    # Imported rows carry an alias: a history that somebody brought over is kept up to the size cap.
    return None if last is None else _Range(looked_to, last, spare_imported=True)


def _last_of_chunk(db: sqlite3.Connection, after: int, limit: int, chunk: int, enough: int = CHUNK_BYTES) -> int | None:
    """The seq of the last row of a chunk behind `after` and up to `limit`: at most `chunk` rows, and those that make up
    `enough` bytes. None where there is no row."""
    if limit <= after:
        return None
    last, size = None, 0
    cursor = db.execute(_WEIGHED, (after, limit, chunk))
    for seq, weight in cursor:
        last, size = seq, size + weight + ROW_BYTES
        if size >= enough:
            break
    cursor.close()
    return last


def _delete(db: sqlite3.Connection, doomed: _Range) -> int:
    bounds = (doomed.after, doomed.last)
    which = "seq > ? AND seq <= ?"
    values: tuple[int, ...] = bounds
    if doomed.spare_imported:
        which, values = f"{which} AND seq NOT IN (SELECT seq FROM aliases WHERE {which})", bounds * 2
        db.execute(_AGED, (doomed.last,))
    else:
        db.execute(f"DELETE FROM aliases WHERE {which}", bounds)
    db.execute(_PRUNED.format(which=which), values)
    db.execute(_PRUNED_AT)
    # Rows that are spared count: a mark has moved, and there may be more behind it.
    return max(db.execute(f"DELETE FROM events WHERE {which}", values).rowcount, 1)


def _strip(db: sqlite3.Connection, last: int) -> int:
    done = db.execute(
        "UPDATE events SET payload = NULL WHERE seq > (SELECT value FROM meta WHERE key = 'payload_pruned_to') AND seq <= ?"
        " AND payload != '{}'",
        (last,),
    ).rowcount
    db.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'payload_pruned_to'", (last,))
    return max(done, 1)
