"""`db prune`: what retention does all the time, now and to the end, and the file made smaller where that is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from waitbus.ops.log_facts import facts, reading
from waitbus.store import Log
from waitbus.store.retention import Pruner, Retention, live_bytes
from waitbus.store.rows import seq_before

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

PAUSE = 0.005
"""s between two chunks: producers and the daemon come first."""


@attrs.frozen
class Pruned:
    """What was done, or with a dry run would be (`bytes` is then estimated). Sizes in bytes."""

    rows: int
    payloads: int
    bytes: int
    left: int
    live_bytes: int
    file_bytes: int
    vacuumed: bool = False


def plan(path: Path, keep: Retention) -> Pruned:
    """What `prune` would do, without doing it.

    Raises:
      LogError: there is no log, or it cannot be read.
    """
    found = facts(path)
    with reading(path) as db:
        db.execute("BEGIN")
        rows = _expired(db, keep, found.first_seq, found.last_seq, found.rows)
        payloads = _payloads(db, keep, found.first_seq + rows - 1)
    freed = int(found.live_bytes * rows / found.rows) if found.rows else 0
    return Pruned(rows, payloads, freed, found.rows - rows, found.live_bytes - freed, found.bytes)


def prune(path: Path, keep: Retention, *, vacuum: bool = False, told: Callable[[int], None] | None = None) -> Pruned:
    """Prune chunk by chunk until nothing is left to do, beside whoever uses the log; `told` hears of the rows so far.

    `vacuum` rewrites the file without its free pages. That takes the write lock for as long as it lasts.

    Raises:
      LogError: there is no log, or it cannot be written; what was pruned until then is pruned.
    """
    before = facts(path)
    log = Log(path)
    try:
        _rounds(Pruner(log, attrs.evolve(keep, payload_age=None)), told)
        payloads = log.read(lambda db: _payloads(db, keep, 0))
        _rounds(Pruner(log, keep), None)
        if vacuum:
            log.use(_vacuum)
    finally:
        log.close()
    after = facts(path)
    # Others append meanwhile; above the prune mark no seq is ever left out, so this counts exactly.
    rows = before.rows + (after.last_seq - before.last_seq) - after.rows
    freed = max(0, before.live_bytes - after.live_bytes)
    return Pruned(rows, payloads, freed, after.rows, after.live_bytes, after.bytes, vacuum)


def _rounds(pruner: Pruner, told: Callable[[int], None] | None) -> None:
    total = 0
    while done := pruner.step():
        total += done
        if told is not None:
            told(total)
        time.sleep(PAUSE)


def _vacuum(db: sqlite3.Connection) -> None:
    # In WAL mode it stays in WAL mode; the copy goes through the WAL, which is then as long as the log itself.
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _expired(db: sqlite3.Connection, keep: Retention, first: int, last: int, rows: int) -> int:
    """How many rows `keep` lets go of: rows leave from the low end, so the largest of the caps decides. Never the newest."""
    if not rows:
        return 0
    by_rows = rows - keep.max_rows if keep.max_rows is not None else 0
    live = live_bytes(db)
    by_size = -(-rows * (live - keep.max_bytes) // live) if keep.max_bytes is not None and live > keep.max_bytes else 0
    return max(0, min(rows - 1, max(by_rows, by_size, _by_age(db, keep, first, last))))


def _by_age(db: sqlite3.Connection, keep: Retention, first: int, last: int) -> int:
    if keep.max_age is None:
        return 0
    limit = min(seq_before(db, int((time.time() - keep.max_age) * 1000)), last - 1)
    if keep.keep_from is not None:
        limit = min(limit, keep.keep_from - 1)
    if limit < first:
        return 0
    spared = "seq NOT IN (SELECT seq FROM aliases WHERE seq <= ?)"
    found: int = db.execute(f"SELECT count(*) FROM events WHERE seq <= ? AND {spared}", (limit, limit)).fetchall()[0][0]
    return found


def _payloads(db: sqlite3.Connection, keep: Retention, after: int) -> int:
    """How many rows behind `after` have a payload that `keep` lets go of."""
    if keep.payload_age is None:
        return 0
    after = max(after, db.execute("SELECT value FROM meta WHERE key = 'payload_pruned_to'").fetchall()[0][0])
    limit = seq_before(db, int((time.time() - keep.payload_age) * 1000))
    found: int = db.execute(
        "SELECT count(*) FROM events WHERE seq > ? AND seq <= ? AND payload != '{}'", (after, limit)
    ).fetchall()[0][0]
    return found
