"""`Log`: one SQLite connection to the log, shared by the threads of a process and safe across forks.

Three traps shape it, each of them tried (tests/faults):

- SQLite's file locks do not survive a fork: a connection that lives on in the child takes no lock of its own, and rows
  written there are seen by nobody. So every connection is closed before a fork and opened anew on both sides.
- A log that was moved away or replaced goes on taking rows through connections that are open. So the file's identity
  (device, inode) is compared before each use.
- A SELECT that is not read to its end keeps the WAL from being reset. So every read fetches all it asked for.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from waitbus.errors import LogBusy, LogError
from waitbus.events import Row, make_event_id
from waitbus.paths import log_path
from waitbus.store import schema
from waitbus.store.failures import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from waitbus.events import EventInsert

T = TypeVar("T")

BUSY_TIMEOUT = 5.0
"""s a writer waits for the write lock before it answers LogBusy."""

PAGE_ROWS = 256
PAGE_BYTES = 256 * 1024
"""A page of the log ends at whichever bound comes first."""

_CHUNK = 32

_COLUMNS = (
    "seq, at_ms, delivery_id, source, event_type, owner, repo, status, conclusion, received_at, ingest_method, summary, fields"
)
_PAGE = f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
_HEAD = "SELECT seq, at_ms FROM events ORDER BY seq DESC LIMIT 1"
_INSERT = """INSERT INTO events(at_ms, delivery_id, source, event_type, owner, repo, status, conclusion, received_at,
 ingest_method, summary, fields, payload)
 VALUES (max(?, coalesce((SELECT at_ms FROM events ORDER BY seq DESC LIMIT 1), 0)), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
 ON CONFLICT(delivery_id) DO NOTHING RETURNING seq, at_ms"""
_BY_DELIVERY = f"SELECT {_COLUMNS} FROM events WHERE delivery_id = ?"


class Page(NamedTuple):
    """Rows in the order of seq; `more` is False where the log ended with them."""

    rows: list[Row]
    more: bool


class Appended(NamedTuple):
    """Where an event stands: `inserted` is False where its delivery id was known, and the place is then the first one's."""

    inserted: bool
    seq: int
    at_ms: int


class Facts(NamedTuple):
    """What a log says of itself: tag, seqs of its first and last row (0: none), and up to where rows were pruned."""

    tag: int
    first: int
    last: int
    last_at_ms: int
    pruned_to: int


class Log:
    """The log at `path`, made if it is not there. `busy_timeout` is in s.

    Every method may raise the errors of `waitbus.errors.LogError`; none leaves a transaction open.
    """

    def __init__(self, path: Path | None = None, *, busy_timeout: float = BUSY_TIMEOUT, synchronous: str = "NORMAL") -> None:
        self.path = log_path() if path is None else path
        self._name = os.fspath(self.path)
        self._busy_timeout = busy_timeout
        self._synchronous = synchronous
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._meta: dict[str, int] = {}
        _open_logs.add(self)

    # -- what the log is -----------------------------------------------------------------------------------------------

    @property
    def tag(self) -> int:
        """The log's random tag; it changes only when the file is replaced by another log."""
        return self.use(lambda db: self._meta["tag"])

    def event_id(self, seq: int, at_ms: int) -> str:
        return make_event_id(at_ms, self._meta["tag"], seq)

    @property
    def identity(self) -> tuple[int, int]:
        """(device, inode) of the file that the last call used."""
        return self._identity

    def facts(self) -> Facts:
        """Tag, bounds and prune mark, all of one moment."""
        return self.use(self._facts)

    def _facts(self, db: sqlite3.Connection) -> Facts:
        pruned = db.execute("SELECT value FROM meta WHERE key = 'pruned_to'").fetchall()[0][0]
        first = db.execute("SELECT seq FROM events ORDER BY seq LIMIT 1").fetchall()
        last = db.execute(_HEAD).fetchall()
        seq, at_ms = last[0] if last else (0, 0)
        return Facts(self._meta["tag"], first[0][0] if first else 0, seq, at_ms, pruned)

    def cursor(self) -> str:
        """The cursor of now: the id of the newest event, or of seq 0 where the log is empty."""
        facts = self.facts()
        return make_event_id(facts.last_at_ms, facts.tag, facts.last)

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(self, event: EventInsert) -> Appended:
        """Commit one event; one with a known delivery id is not written, and the first one's place is answered."""
        return self.use(lambda db: _append(db, event, time.time_ns() // 1_000_000))

    def append_many(self, events: Iterable[EventInsert]) -> list[Appended]:
        """Commit all of them in one transaction, or none."""
        batch = list(events)
        return self.write(lambda db: [_append(db, event, time.time_ns() // 1_000_000) for event in batch])

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one immediate transaction."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            return result

        return self.use(transaction)

    # -- reading -------------------------------------------------------------------------------------------------------

    def head(self) -> int:
        """The newest seq, 0 where the log is empty."""
        rows = self.use(lambda db: db.execute(_HEAD).fetchall())
        return rows[0][0] if rows else 0

    def page(self, after: int, limit: int = PAGE_ROWS) -> Page:
        """The rows behind seq `after`, in order: at most `limit`, and about `PAGE_BYTES`."""
        return self.use(lambda db: _page(db, after, limit))

    def row(self, seq: int) -> Row | None:
        rows = self.use(lambda db: db.execute(f"SELECT {_COLUMNS} FROM events WHERE seq = ?", (seq,)).fetchall())
        return Row._make(rows[0]) if rows else None

    def by_delivery_id(self, delivery_id: str) -> Row | None:
        rows = self.use(lambda db: db.execute(_BY_DELIVERY, (delivery_id,)).fetchall())
        return Row._make(rows[0]) if rows else None

    def payload(self, seq: int) -> str | None:
        """The raw upstream body of an event; None where the row, or its payload, was pruned."""
        rows = self.use(lambda db: db.execute("SELECT payload FROM events WHERE seq = ?", (seq,)).fetchall())
        return rows[0][0] if rows else None

    def alias(self, event_id: str) -> int | None:
        """The seq of an event that was imported with an id of its own."""
        rows = self.use(lambda db: db.execute("SELECT seq FROM aliases WHERE event_id = ?", (event_id,)).fetchall())
        return rows[0][0] if rows else None

    def seq_before(self, at_ms: int) -> int:
        """The newest seq committed before `at_ms` (ms since the epoch), by bisection: commit times never decrease."""
        return self.use(lambda db: seq_before(db, at_ms))

    def data_version(self) -> int:
        """A number that changes when another connection committed; 3 µs."""
        return self.use(lambda db: int(db.execute("PRAGMA data_version").fetchall()[0][0]))

    # -- the connection ------------------------------------------------------------------------------------------------

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` with the connection, alone; a damaged log is set aside, and `work` run once more on the new one."""
        if not self._lock.acquire(timeout=max(self._busy_timeout, 0.001)):
            raise LogBusy(f"another thread is still busy with the log {self.path}", hint="try again, or use a Log of its own")
        try:
            return self._attempt(work, last=False)
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _attempt(self, work: Callable[[sqlite3.Connection], T], *, last: bool) -> T:
        try:
            return work(self._connection())
        except sqlite3.DatabaseError as error:
            if last or not self._mended(error):
                raise typed(error, self.path) from error
        except OSError as error:
            if isinstance(error, LogError):
                raise
            self._close()
            raise typed(error, self.path) from error
        return self._attempt(work, last=True)

    def _connection(self) -> sqlite3.Connection:
        db = self._db
        if db is not None:
            try:
                now = os.stat(self._name)
                if (now.st_dev, now.st_ino) == self._identity:
                    return db
            except FileNotFoundError:
                pass
            self._close()
        return self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            facts = os.stat(self._name)
        except FileNotFoundError:
            facts = None
        if facts is None or not facts.st_size:
            schema.create(self.path)
            facts = os.stat(self._name)
        self._identity = (facts.st_dev, facts.st_ino)
        db = schema.connect(self.path, busy_timeout=self._busy_timeout, synchronous=self._synchronous)
        try:
            self._meta = schema.read_meta(db, self.path)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _mended(self, error: sqlite3.DatabaseError) -> bool:
        """Whether it is worth a second attempt: the file was damaged and is set aside, or had been moved under us."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
            return False
        self._close()
        if code == sqlite3.SQLITE_READONLY_DBMOVED:
            return True
        try:
            judged = os.stat(self._name)
        except OSError:
            return False
        if not schema.is_damaged(self.path, error):
            return False
        schema.set_aside(self.path, judged)
        return True

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _append(db: sqlite3.Connection, event: EventInsert, now_ms: int) -> Appended:
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
        placed = db.execute(_INSERT, values).fetchall()
        if placed:
            return Appended(True, *placed[0])
        first = db.execute("SELECT seq, at_ms FROM events WHERE delivery_id = ?", (event.delivery_id,)).fetchall()
        if first:
            return Appended(False, *first[0])
        # It was pruned between the two statements: then it is new.


def _page(db: sqlite3.Connection, after: int, limit: int) -> Page:
    cursor = db.execute(_PAGE, (after, limit))
    try:
        rows: list[Row] = []
        size = 0
        while size < PAGE_BYTES and len(rows) < limit:
            chunk = cursor.fetchmany(_CHUNK)
            rows.extend(map(Row._make, chunk))
            if len(chunk) < _CHUNK:
                return Page(rows, more=len(rows) == limit)
            size += sum(len(raw[-1]) for raw in chunk) + _CHUNK * 300
        return Page(rows, more=True)
    finally:
        cursor.close()


def seq_before(db: sqlite3.Connection, at_ms: int) -> int:
    """The newest seq committed before `at_ms`, 0 where there is none."""
    bounds = db.execute("SELECT min(seq), max(seq) FROM events").fetchall()[0]
    if bounds[0] is None:
        return 0
    low, high = bounds[0] - 1, bounds[1]
    while low < high:
        middle = (low + high + 1) // 2
        seq, at = db.execute("SELECT seq, at_ms FROM events WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (middle,)).fetchall()[0]
        if at < at_ms:
            low = middle
        else:
            high = seq - 1
    return int(low) if low >= bounds[0] else 0


# -- one log a process, and forks --------------------------------------------------------------------------------------

_SHARED_MAX = 8
_open_logs: weakref.WeakSet[Log] = weakref.WeakSet()
_shared: dict[str, Log] = {}
_shared_lock = threading.Lock()
_held: list[Log] = []


def shared(path: Path | None = None) -> Log:
    """The process's own `Log` for this path: producers and readers use one connection."""
    path = log_path() if path is None else path
    name = os.fspath(path)
    with _shared_lock:
        found = _shared.pop(name, None) or Log(path)
        _shared[name] = found
        if len(_shared) > _SHARED_MAX:
            _shared.pop(next(iter(_shared))).close()
    return found


def _before_fork() -> None:
    _shared_lock.acquire()
    for log in list(_open_logs):
        log._lock.acquire()
        log._close()
        _held.append(log)


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()
    _shared_lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
