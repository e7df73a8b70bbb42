"""Changes of the log's tables, one numbered step after the other, each in one transaction.

What an older program may go on with is additive and needs no step: it is made where it is missed. A step is for what rewrites
rows. It runs from `db migrate` alone, never from a producer, and only with nobody else attached: a program that has the log open
has read its format and would go on by it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import LogInUse
from waitbus.store import schema
from waitbus.store.failures import translated

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen
class Migration:
    """`apply` runs inside of the step's transaction; where older programs would err afterwards it raises `min_reader` or
    `min_writer` in `meta`, and always sets `format`.
    """

    number: int
    name: str
    apply: Callable[[sqlite3.Connection], object]


MIGRATIONS: tuple[Migration, ...] = ()
"""In the order of their numbers. Number 1 is the log as it is first made."""


def applied(db: sqlite3.Connection) -> dict[int, tuple[str, int]]:
    """Number -> (name, ns since the epoch) of each step that the log went through."""
    rows = db.execute("SELECT number, name, applied_at FROM schema_migrations ORDER BY number").fetchall()
    return {number: (name, at) for number, name, at in rows}


def pending(db: sqlite3.Connection, steps: Sequence[Migration] = MIGRATIONS) -> list[Migration]:
    """The steps that the log has still to go through."""
    done = applied(db)
    return [step for step in steps if step.number not in done]


def migrate(path: Path, steps: Sequence[Migration] = MIGRATIONS) -> list[Migration]:
    """Go through every pending step, alone; returns those that were run. A step that fails leaves the log as it was before it.

    Raises:
      LogInUse: some other process has the log open.
      LogVersionError: a newer waitbus wrote it.
      LogError: it cannot be read or written.
    """
    with translated(path), contextlib.closing(schema.connect(path)) as db:
        # Exclusive before the first look: in this mode the WAL is opened without shared memory, which SQLite grants only to one.
        db.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        _take(db, path)
        schema.read_meta(db, path)
        todo = pending(db, steps)
        for step in todo:
            _run(db, step)
        return todo


def _take(db: sqlite3.Connection, path: Path) -> None:
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise LogInUse(
            f"the log {path} is open in another process",
            hint="stop the daemon and what waits or emits; `waitbus status` lists them",
        ) from None


def _run(db: sqlite3.Connection, step: Migration) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        step.apply(db)
        db.execute("INSERT INTO schema_migrations VALUES (?, ?, ?)", (step.number, step.name, time.time_ns()))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
