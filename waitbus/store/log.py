"""`Log`: one SQLite connection to the log, shared by the threads of a process and safe across forks.

Three traps shape it, each of them tried (tests/faults):

- SQLite's file locks do not survive a fork: a connection that lives on in the child takes no lock of its own, and rows
  written there are seen by nobody. So every connection is closed before a fork and opened anew on both sides (`shared`).
- A log that was moved away or replaced goes on taking rows through connections that are open. So the file's identity
  (device, inode) is compared after each use, and what was done in another file is done again in the right one.
- SQLite's own busy handler sleeps up to 0.1 s between two attempts, and a writer that is unlucky a few times in a row
  waits for a quarter of a second where all others pass. So we wait ourselves, in small steps.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from waitbus.errors import LogBusy
from waitbus.events import Row, make_event_id
from waitbus.paths import log_path
from waitbus.store import files, forks, rows, schema
from waitbus.store.failures import primary, typed
from waitbus.store.rows import PAGE_ROWS, Appended, Facts, Page, Unless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Self

    from waitbus.events import EventInsert
    from waitbus.store.files import Identity

T = TypeVar("T")
P = ParamSpec("P")

BUSY_TIMEOUT = 5.0
"""s a writer waits for the write lock before it answers LogBusy."""

_PAUSE, _PAUSE_MAX = 0.0002, 0.005
_ATTEMPTS = 4
"""How often a use is begun anew because the file was replaced or set aside under it."""


class Log:
    """The log at `path`, made if it is not there. `busy_timeout` is in s.

    Every method may raise the errors of `waitbus.errors.LogError`; none leaves a transaction open.
    """

    def __init__(
        self, path: Path | None = None, *, busy_timeout: float = BUSY_TIMEOUT, synchronous: str = "NORMAL"
    ) -> None:
        self.path = log_path() if path is None else path
        self.bells = os.path.join(self.path.parent, "bells")
        """The folder of doorbells beside this log."""
        self._name = os.fspath(self.path)
        self.busy_timeout = busy_timeout
        """s that a use waits where another process has the write lock; may be changed."""
        self._synchronous = synchronous
        self._lock = threading.RLock()  # which knows its owner; no use is ever inside of another
        self._is_used_here: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        """Whether this very thread is in the middle of a use: then a signal handler asks."""
        self._db: sqlite3.Connection | None = None
        self.identity: Identity = (0, 0)
        """(device, inode) of the file that the last call used."""
        self._meta: dict[str, int] = {}
        forks.register(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what the log is -----------------------------------------------------------------------------------------------

    @property
    def tag(self) -> int:
        """The log's random tag; it changes only when the file is replaced by another log."""
        return self.use(lambda db: self._meta["tag"])

    def event_id(self, seq: int, at_ms: int) -> str:
        """The id of an event of the log that the last call used."""
        return make_event_id(at_ms, self._meta["tag"], seq)

    def facts(self) -> Facts:
        """Tag, bounds and prune mark, all of one moment."""
        return self.use(lambda db: rows.facts(db, self._meta["tag"]))

    def cursor(self) -> str:
        """The cursor of now: the id of the newest event, or of seq 0 where the log is empty."""
        facts = self.facts()
        return make_event_id(facts.last_at_ms, facts.tag, facts.last)

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(self, event: EventInsert, tell: Callable[[str], object] | None = None) -> Appended:
        """Commit one event; one with a known delivery id is not written, and the first one's place is answered.

        `tell` is called with the folder of doorbells as soon as a new one is committed; again where the file was replaced
        meanwhile, and it was written anew.
        """
        if self._is_used_here():
            # A signal handler, in the middle of a use by this very thread: it has a connection of its own. Where that use holds
            # the write lock, nobody could wait for its end.
            with Log(self.path, busy_timeout=0.0, synchronous=self._synchronous) as beside:
                return beside.append(event, tell)
        return self.use(self._append, event, tell)

    def append_many(self, events: Iterable[EventInsert], unless: Unless | None = None) -> list[Appended]:
        """Commit all of them in one transaction, or none.

        `unless`: for the delivery id of an event, a range of others; one of them that the log has is the same event.
        """
        batch, ranges = list(events), unless or {}

        def place(db: sqlite3.Connection, event: EventInsert) -> Appended:
            keys = ranges.get(event.delivery_id)
            known = None if keys is None else rows.known(db, keys, self._meta["tag"])
            return known or self._append(db, event, None)

        return self.write(lambda db: [place(db, event) for event in batch])

    def write_events(self, batch: Sequence[tuple[EventInsert, int, str | None]]) -> int:
        """Commit events of another log, each with its time of commit (ms since the epoch) and the id it had there, in one
        transaction. Returns how many were new."""

        def work(db: sqlite3.Connection) -> int:
            inserted = 0
            for event, at_ms, alias in batch:
                placed = rows.append(db, event, at_ms, self._meta["tag"])
                inserted += placed.inserted
                if alias is not None:
                    db.execute("INSERT OR IGNORE INTO aliases VALUES (?, ?)", (alias, placed.seq))
            return inserted

        return self.write(work)

    def _append(self, db: sqlite3.Connection, event: EventInsert, tell: Callable[[str], object] | None) -> Appended:
        meta = self._meta
        if meta["min_writer"] > schema.FORMAT:
            raise schema.newer(meta, "min_writer", self.path)
        placed = rows.append(db, event, time.time_ns() // 1_000_000, meta["tag"])
        if tell is not None and placed[0]:
            tell(self.bells)
        return placed

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one immediate transaction. It may run twice: once in a log that turns out to be replaced."""

        def transaction(db: sqlite3.Connection) -> T:
            if self._meta["min_writer"] > schema.FORMAT:
                raise schema.newer(self._meta, "min_writer", self.path)
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

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, several statements that only read, in one moment of the log: others prune between two statements."""

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN")
            try:
                return work(db)
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

        return self.use(transaction)

    def head(self) -> int:
        """The newest seq, 0 where the log is empty."""
        found = self.use(lambda db: db.execute(rows.HEAD).fetchall())
        return found[0][0] if found else 0

    def page(self, after: int, limit: int = PAGE_ROWS) -> Page:
        """The rows behind seq `after`, in order, up to a hole: at most `limit`, and about `rows.PAGE_BYTES`."""
        return self.use(rows.page, after, limit)

    def hole(self, after: int, facts: Facts) -> tuple[int, int] | None:
        """The first and the last of the seqs right behind `after` that were pruned when `facts` were read; None: none were."""
        return self.use(lambda db: rows.hole(db, after, facts.pruned_to))

    def newest(self, seq: int) -> int:
        """The newest seq up to `seq` that is left, 0 where none is."""
        found = self.use(lambda db: db.execute("SELECT max(seq) FROM events WHERE seq <= ?", (seq,)).fetchall())
        return found[0][0] or 0

    def row(self, seq: int) -> Row | None:
        """The row of a seq; None where it was pruned or never was."""
        return self._row("seq = ?", seq)

    def by_delivery_id(self, delivery_id: str) -> Row | None:
        """The row of a natural key."""
        return self._row("delivery_id = ?", delivery_id)

    def _row(self, where: str, value: int | str) -> Row | None:
        found = self.use(lambda db: db.execute(f"SELECT {rows.COLUMNS} FROM events WHERE {where}", (value,)).fetchall())
        return Row._make(found[0]) if found else None

    def payload(self, seq: int) -> str | None:
        """The raw upstream body of an event; None where the row, or its payload, was pruned."""
        found = self.use(lambda db: db.execute("SELECT payload FROM events WHERE seq = ?", (seq,)).fetchall())
        return found[0][0] if found else None

    def alias(self, event_id: str) -> int | None:
        """The seq of an event that was imported with an id of its own."""
        found = self.use(lambda db: db.execute("SELECT seq FROM aliases WHERE event_id = ?", (event_id,)).fetchall())
        return found[0][0] if found else None

    def seq_before(self, at_ms: int, *, told: bool = False) -> int:
        """The newest seq committed before `at_ms` (ms since the epoch), by bisection: commit times never decrease. Where what was
        pruned may be younger, that stands behind it.

        With `told` it is a moment that was just read from this machine's clock: where that was stepped back, rows that were
        committed before the step, with a time that is still to come, are before it too.
        """
        find = rows.place_in_time if told else rows.seq_before
        return self.read(lambda db: find(db, at_ms))

    def data_version(self) -> int:
        """A number that changes when another connection committed; 3 µs."""
        return self.use(lambda db: int(db.execute("PRAGMA data_version").fetchall()[0][0]))

    # -- the connection ------------------------------------------------------------------------------------------------

    # One function, and `work` gets what it needs as arguments: each call on the way costs 8 µs where caches are cold.
    def use(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` with the connection, alone, and again where the log was busy, replaced, or damaged and set aside."""
        if self._is_used_here():
            raise LogBusy(
                f"this thread is in the middle of another use of the log {self.path}",
                hint="a signal handler may emit one event; leave the rest to the main program",
            )
        if not self._lock.acquire(blocking=False):
            self._wait_for_thread()
        try:
            try:
                result = work(self._db or self._open(), *args, **kwargs)
                if self._is_current():
                    return result
                failed = None
            except (sqlite3.Error, OSError) as error:
                failed = error
            return self._again(lambda db: work(db, *args, **kwargs), failed)
        finally:
            self._lock.release()

    def _wait_for_thread(self) -> None:
        if not self._lock.acquire(timeout=max(self.busy_timeout, 0.001)):
            raise LogBusy(
                f"another thread is still busy with the log {self.path}", hint="try again, or use a Log of its own"
            )

    def close(self) -> None:
        """Close the connection; the next use opens one anew."""
        with self._lock:
            self._close()

    def __del__(self) -> None:
        if getattr(self, "_db", None) is not None:
            self._close()

    def _again(self, work: Callable[[sqlite3.Connection], T], failed: Exception | None) -> T:
        """The attempts after the first one; `failed` is what that one raised, None where the file was replaced meanwhile."""
        deadline, pause, anew = time.monotonic() + self.busy_timeout, _PAUSE, 0
        while True:
            if failed is not None and primary(failed) == sqlite3.SQLITE_BUSY and time.monotonic() < deadline:
                time.sleep(pause)
                pause = min(pause * 1.5, _PAUSE_MAX)
            else:
                self._begin_anew(failed, anew)
                anew += 1
            try:
                result = work(self._db or self._open())
                if self._is_current():
                    return result
                failed = None
            except (sqlite3.Error, OSError) as error:
                failed = error

    def _begin_anew(self, failed: Exception | None, times: int) -> None:
        """Close the connection, so that the next attempt opens the file that stands there; raise where that is no use."""
        if failed is not None and not self._mended(failed):
            raise typed(failed, self.path) from failed
        if times == _ATTEMPTS:
            raise self._unsteady()
        self._close()

    def _is_current(self) -> bool:
        try:
            now = os.stat(self._name)
        except OSError:  # gone, or its folder became something else: opening it anew says so in words
            return False
        return (now.st_dev, now.st_ino) == self.identity

    def _open(self) -> sqlite3.Connection:
        for _ in range(_ATTEMPTS):
            db = self._open_once()
            if self._is_current():
                self._db = db
                return db
            # Replaced between the look and the opening: an event written now would be taken for one of the file before.
            db.close()
        raise self._unsteady()

    def _unsteady(self) -> LogBusy:
        return LogBusy(f"the log {self.path} is replaced all the time", hint="`fuser` on the file names who does it")

    def _open_once(self) -> sqlite3.Connection:
        if files.is_missing(self._name):
            files.create(self.path)
        self.identity = files.identity(self._name) or (0, 0)
        files.part_from_foreign_wal(self.path)
        db = schema.connect(self.path, synchronous=self._synchronous)
        try:
            self._meta = schema.read_meta(db, self.path)
            files.note_pair(self.path)
        except BaseException:
            db.close()
            raise
        return db

    def _mended(self, error: Exception) -> bool:
        """Whether it is worth another attempt: the file was replaced under us, or is damaged and was set aside."""
        code = primary(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
            return False
        self._close()
        if isinstance(error, OSError):
            return False
        if not self._is_current():
            return True
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return False
        # Where it is not damaged any more, somebody else has set it aside meanwhile.
        return files.set_aside_if_damaged(self.path) or not self._is_current()

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
