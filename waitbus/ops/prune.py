"""`db prune`: what retention does all the time, now and to the end, and the file made smaller where that is asked for."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import attrs

from waitbus.ops.log_facts import facts, reading
from waitbus.store import Log
from waitbus.store.retention import Pruner, Retention, live_bytes
from waitbus.store.rows import meta, seq_before

if TYPE_CHECKING:
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
    """Prune chunk by chunk until nothing is left to do, or all that was there when it began is gone: whoever writes as fast as
    this prunes does not keep it from ending. `told` hears of the rows so far.

    `vacuum` rewrites the file without its free pages. That takes the write lock for as long as it lasts.

    Raises:
      LogError: there is no log, or it cannot be written; what was pruned until then is pruned. LogBusy: for 5 s others left no
        gap to write in, or to make the file smaller in.
    """
    before = facts(path)
    log = Log(path)
    try:
        rows_only, payloads_only = attrs.evolve(keep, payload_age=None), Retention(None, None, keep.payload_age)
        _rounds(Pruner(log, rows_only), "pruned_to", before.last_seq, told)
        payloads = log.read(lambda db: _payloads(db, keep, 0))
        _rounds(Pruner(log, payloads_only), "payload_pruned_to", before.last_seq)
        if vacuum:
            log.use(lambda db: db.execute("VACUUM"))
            log.use(_make_smaller)
    finally:
        log.close()
    after = facts(path)
    # Others append meanwhile; above the prune mark no seq is ever left out, so this counts exactly.
    rows = before.rows + (after.last_seq - before.last_seq) - after.rows
    freed = max(0, before.live_bytes - after.live_bytes)
    return Pruned(rows, payloads, freed, after.rows, after.live_bytes, after.bytes, vacuum)


def _rounds(pruner: Pruner, mark: str, upto: int, told: Callable[[int], None] | None = None) -> None:
    total = 0
    while pruner.log.use(lambda db: meta(db, mark)) < upto and (done := pruner.step()):
        total += done
        if told is not None:
            told(total)
        time.sleep(PAUSE)


def _make_smaller(db: sqlite3.Connection) -> None:
    """In WAL mode VACUUM leaves its copy in the WAL; the file is cut when all of that is moved into it.

    Beside a writer or a reader that does not succeed at once, which SQLite answers with a number and no error. As an error it is
    waited for like any other.
    """
    is_busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
    if is_busy:
        error = sqlite3.OperationalError("which reads or writes it all the time, so the file was not made smaller")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error


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
