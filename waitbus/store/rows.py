"""The statements of the log: rows in, rows out, each on a connection that somebody else keeps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from waitbus.events import Row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from waitbus.events import EventInsert

PAGE_ROWS = 256
PAGE_BYTES = 256 * 1024
"""A page of the log ends at whichever bound comes first."""

ROW_BYTES = 300
"""What a row weighs beside its fields, roughly."""

COLUMNS = (
    "seq, at_ms, delivery_id, source, event_type, owner, repo, status, conclusion, "
    "received_at, ingest_method, summary, fields"
)
PAGE = f"SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
HEAD = "SELECT seq, at_ms FROM events ORDER BY seq DESC LIMIT 1"
FACTS = """SELECT coalesce((SELECT min(seq) FROM events), 0), coalesce((SELECT max(seq) FROM events), 0),
 coalesce((SELECT at_ms FROM events ORDER BY seq DESC LIMIT 1), 0), (SELECT value FROM meta WHERE key = 'pruned_to')"""

# Commit times never decrease within a log, whatever the clocks of its writers do. Not RETURNING: it doubles what the statement
# costs beyond the write. The seq is known to the cursor, and the time is in the row for the few who ask.
INSERT = """INSERT INTO events(at_ms, delivery_id, source, event_type, owner, repo, status, conclusion, received_at,
 ingest_method, summary, fields, payload)
 VALUES (max(?, coalesce((SELECT at_ms FROM events ORDER BY seq DESC LIMIT 1), 0)), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
 ON CONFLICT(delivery_id) DO NOTHING"""


class Page(NamedTuple):
    """Rows in the order of seq, without a hole between them; `more` is False where the log ended with them."""

    rows: list[Row]
    more: bool


class Appended(NamedTuple):
    """Where an event stands: `inserted` is False where its delivery id was known, and the place is then the first one's; `tag` is
    the log's."""

    inserted: bool
    seq: int
    tag: int


Keys = tuple[str, str]
"""A range of delivery ids: from the first one on, up to the second one."""
Unless = Mapping[str, Keys]
"""The delivery id of an event -> others under which it may be in the log."""

# A row and a place as the tuples they are: the constructors of named tuples are functions of Python, and four times as slow.
_row: Callable[[tuple[Any, ...]], Row] = partial(tuple.__new__, Row)
_appended: Callable[[tuple[bool, int, int]], Appended] = partial(tuple.__new__, Appended)


class Facts(NamedTuple):
    """What a log says of itself: tag, seqs of its first and last row (0: none), and the last seq that was pruned.

    Below that one rows may be left (imported ones), and nothing but pruning leaves a hole: `hole` says which.
    """

    tag: int
    first: int
    last: int
    last_at_ms: int
    pruned_to: int


def append(db: sqlite3.Connection, event: EventInsert, now_ms: int, tag: int) -> Appended:
    """Insert one event, or find the first one with its delivery id."""
    values = (
        now_ms,
        event.delivery_id,
        event.source,
        event.event_type,
        event.owner,
        event.repo,
        event.status,
        event.conclusion,
        event.received_at,
        event.ingest_method,
        event.summary,
        event.fields_json,
        event.payload_json,
    )
    while True:
        cursor = db.execute(INSERT, values)
        if cursor.rowcount == 1:
            assert cursor.lastrowid is not None
            return _appended((True, cursor.lastrowid, tag))
        first = db.execute("SELECT seq FROM events WHERE delivery_id = ?", (event.delivery_id,)).fetchall()
        if first:
            return _appended((False, first[0][0], tag))
        # It was pruned between the two statements: then it is new.


def known(db: sqlite3.Connection, keys: Keys, tag: int) -> Appended | None:
    """The first event with a delivery id in that range."""
    found = db.execute(
        "SELECT seq FROM events WHERE delivery_id >= ? AND delivery_id < ? ORDER BY delivery_id LIMIT 1", keys
    ).fetchall()
    return _appended((False, found[0][0], tag)) if found else None


def page(db: sqlite3.Connection, after: int, limit: int) -> Page:
    """The rows behind seq `after`: at most `limit`, and `PAGE_BYTES` unless one row is larger.

    It ends before a hole, so that whoever reads on finds it in front of the first row, and tells of it where it stands.
    """
    cursor = db.execute(PAGE, (after, limit))
    try:
        rows: list[Row] = []
        size, more = 0, False
        for raw in cursor:
            rows.append(_row(raw))
            size += len(raw[-1]) + ROW_BYTES
            if size >= PAGE_BYTES:
                more = True
                break
    finally:
        # A SELECT that is not read to its end would keep the WAL from being reset.
        cursor.close()
    if rows and rows[-1].seq - rows[0].seq >= len(rows):
        end = next(place for place, row in enumerate(rows) if row.seq - rows[0].seq != place)
        return Page(rows[:end], more=True)
    return Page(rows, more or len(rows) == limit)


def hole(db: sqlite3.Connection, after: int, pruned_to: int) -> tuple[int, int] | None:
    """The first and the last of the seqs right behind `after` that were pruned; None where its next row is not missing."""
    if after >= pruned_to:
        return None
    following = db.execute("SELECT min(seq) FROM events WHERE seq > ?", (after,)).fetchall()[0][0]
    last = pruned_to if following is None else min(pruned_to, following - 1)
    return (after + 1, last) if last > after else None


def seq_before(db: sqlite3.Connection, at_ms: int) -> int:
    """A place such that what was committed from `at_ms` on stands behind it, by bisection over seq; 0 is the log's beginning.

    What was pruned stands behind it as well, unless all of that is known to be older: then there is nothing to tell. To be
    called inside of a transaction: it is one moment's rows that are searched.
    """
    bounds = facts(db, 0)
    if not bounds.last:
        return 0
    low = _bisected(db, bounds, at_ms)
    if at_ms > _pruned_at(db, bounds):
        return low
    found = db.execute("SELECT max(seq) FROM events WHERE seq <= ?", (low,)).fetchall()[0][0]
    return found or 0


def _bisected(db: sqlite3.Connection, bounds: Facts, at_ms: int) -> int:
    """The newest seq committed before `at_ms`, or one in the hole behind it."""
    low, high = bounds.first - 1, bounds.last
    if _at(db, bounds.first)[1] >= at_ms:
        return low
    while low < high:
        middle = (low + high + 1) // 2
        seq, at = _at(db, middle)
        if at < at_ms:
            low = middle
        else:
            high = seq - 1
    return low


def _pruned_at(db: sqlite3.Connection, bounds: Facts) -> float:
    """When the newest event that was pruned was committed, in ms; a log that did not note it may have pruned anything."""
    if not bounds.pruned_to:
        return 0
    found = db.execute("SELECT value FROM meta WHERE key = 'pruned_at_ms'").fetchall()
    return found[0][0] if found else math.inf


def place_in_time(db: sqlite3.Connection, at_ms: int) -> int:
    """The newest seq committed before `at_ms`, whatever was done to the clock. Inside of a transaction, as `seq_before`.

    Commit times never decrease, so after the clock was stepped back rows carry a time that is still to come. Among those,
    the ones told since `at_ms` are the last ones whose `received_at` lies between then and now.
    """
    now_ms = time.time_ns() // 1_000_000
    if at_ms > now_ms or facts(db, 0).last_at_ms <= now_ms:
        return seq_before(db, at_ms)
    older = db.execute(
        "SELECT max(seq) FROM events WHERE seq > ? AND NOT received_at BETWEEN ? AND ?",
        (seq_before(db, now_ms + 1), at_ms * 1_000_000, (now_ms + 1) * 1_000_000),
    ).fetchall()[0][0]
    return seq_before(db, at_ms) if older is None else int(older)


def _at(db: sqlite3.Connection, seq: int) -> tuple[int, int]:
    """Seq and commit time of the newest row at or below `seq`."""
    place: tuple[int, int] = db.execute(
        "SELECT seq, at_ms FROM events WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (seq,)
    ).fetchall()[0]
    return place


def facts(db: sqlite3.Connection, tag: int) -> Facts:
    """Tag, bounds and prune mark, in one statement: all of one moment."""
    return Facts(tag, *db.execute(FACTS).fetchall()[0])


def meta(db: sqlite3.Connection, key: str) -> int:
    """One number of the table `meta`."""
    return int(db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchall()[0][0])
