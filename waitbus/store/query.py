"""Read-only SQL over the log, for `waitbus events query`.

What may be done is decided by SQLite itself: a connection that cannot write, and an authorizer that lets reading through and
nothing else. A statement is never looked at as text. `events` is a temporary view over the table, with the names that
queries written for 0.2 use, and a column for each well-known field.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from waitbus.errors import LogCorrupt, LogUnavailable, QueryRefused
from waitbus.events import INT_FIELDS, TEXT_FIELDS, make_event_id
from waitbus.paths import log_path
from waitbus.store import schema
from waitbus.store.failures import primary, translated, typed
from waitbus.store.files import identity, refuse_special

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME_LIMIT = 60.0
"""s a statement may run: for as long as it does, the WAL cannot begin anew."""

BYTES_MAX = 256 * 1024 * 1024
"""A single value may be so large: a payload is, hundreds of megabytes of zeroes out of a function are a slip."""

_STEPS = 10_000
"""Instructions of SQLite's machine between two looks at the clock, about 1 ms."""

WELL_KNOWN_COLUMNS = (*sorted(INT_FIELDS), *sorted(TEXT_FIELDS))
COLUMNS = (
    "seq",
    "event_id",
    "delivery_id",
    "source",
    "event_type",
    "owner",
    "repo",
    "status",
    "conclusion",
    "received_at",
    "ingest_method",
    "summary",
    "fields",
    "payload_json",
    "at_ms",
    *WELL_KNOWN_COLUMNS,
)
"""What `SELECT * FROM events` has. `received_at` is in ns, `at_ms` (the time of commit) in ms since the epoch."""

_COMPUTED = {
    "event_id": "waitbus_event_id(at_ms, seq)",
    "payload_json": "payload",
    **{name: f"json_extract(fields, '$.{name}')" for name in WELL_KNOWN_COLUMNS},
}
_VIEW = f"""CREATE TEMP VIEW events AS SELECT {
    ", ".join(f"{_COMPUTED[name]} AS {name}" if name in _COMPUTED else name for name in COLUMNS)
} FROM main.events"""

_PRAGMAS = frozenset(
    {
        "table_info",
        "table_xinfo",
        "table_list",
        "index_list",
        "index_info",
        "index_xinfo",
        "function_list",
        "compile_options",
    }
)
_FUNCTIONS_REFUSED = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})
_ACTIONS = {
    getattr(sqlite3, f"SQLITE_{name.replace(' ', '_')}"): name
    for name in ("INSERT", "UPDATE", "DELETE", "ATTACH", "DETACH", "PRAGMA", "REINDEX", "SAVEPOINT", "TRANSACTION")
} | {sqlite3.SQLITE_FUNCTION: "the function"}
"""What an authorizer hears; CREATE and DROP arrive as changes of the schema table."""

_TABLE_FUNCTIONS = ("json_each", "json_tree", *(f"pragma_{name}" for name in sorted(_PRAGMAS)))
_ONLY_READS = "write one SELECT, VALUES, WITH or EXPLAIN statement; nothing here can change the log"
_OF_THE_STATEMENT = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_MISUSE,
        0,  # what Python's module refuses by itself: parameters, two statements
    }
)


def query(
    path: Path, sql: str, limit: int | None = 1000, *, time_limit: float = TIME_LIMIT
) -> tuple[tuple[str, ...], list[tuple[Any, ...]], bool]:
    """Columns and rows of one statement; the third is whether there are more rows than `limit` (None: no limit).

    Raises:
      QueryRefused: it is no statement, more than one, would write, took longer than `time_limit` s, or SQLite refused it.
      LogError: there is no log, or it cannot be read.
    """
    with _opened(path) as db:
        deadline = time.monotonic() + time_limit
        refused = _guard(db, deadline)
        try:
            cursor = db.execute(sql)
            rows = cursor.fetchall() if limit is None else cursor.fetchmany(limit + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
            if primary(error) == sqlite3.SQLITE_INTERRUPT and time.monotonic() < deadline:
                # Nobody else stops it: Ctrl-C came while it asked us for the time, and Python's module keeps that to itself.
                raise KeyboardInterrupt from None
            raise _said(error, path, refused, time_limit) from None
        if cursor.description is None:
            raise QueryRefused("there is no statement that answers rows", hint=_ONLY_READS)
        columns = tuple(column[0] for column in cursor.description)
        truncated = limit is not None and len(rows) > limit
        return columns, rows[:limit] if truncated else rows, truncated


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """What to do about a damaged log of ours would be bad advice about somebody's other file."""
    try:
        yield
    except LogCorrupt as error:
        if path != log_path():
            error.hint = "name the file of a log; `waitbus status` tells the one in use"
        raise


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    with translated(path):
        refuse_special(path)
        there = identity(os.fspath(path)) is not None
    if not there:
        raise LogUnavailable(
            f"there is no log at {path}", hint="the first event makes it; `waitbus status` names the one in use"
        )
    with _named(path), translated(path), contextlib.closing(schema.connect(path, mode="ro", busy_timeout=5.0)) as db:
        tag = schema.read_meta(db, path)["tag"]
        db.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        db.create_function("waitbus_event_id", 2, lambda at_ms, seq: make_event_id(at_ms, tag, seq), deterministic=True)
        db.execute(_VIEW)
        for name in _TABLE_FUNCTIONS:
            # To SQLite the first use of one is a change of the schema, which the authorizer refuses afterwards.
            db.execute(f"SELECT 1 FROM {name}").close()
        yield db


def _guard(db: sqlite3.Connection, deadline: float) -> list[str]:
    """Let nothing but reading through from here on; what was refused is appended to the list."""
    refused: list[str] = []

    def judge(action: int, first: str | None, second: str | None, database: str | None, within: str | None) -> int:
        if (
            action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE)
            or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() not in _FUNCTIONS_REFUSED)
            or (action == sqlite3.SQLITE_PRAGMA and str(first).lower() in _PRAGMAS)
        ):
            return sqlite3.SQLITE_OK
        refused.append(_action(action, first, second))
        return sqlite3.SQLITE_DENY

    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, BYTES_MAX)
    db.set_authorizer(judge)
    db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    return refused


def _action(action: int, first: str | None, second: str | None) -> str:
    """What was refused, in words: to SQLite CREATE is an INSERT into its schema table, and VACUUM an ATTACH of nothing."""
    if str(first).startswith("sqlite_"):
        return "a change of the schema"
    if action == sqlite3.SQLITE_ATTACH and not first:
        return "VACUUM"
    if action == sqlite3.SQLITE_TRANSACTION:
        return str(first)
    what = _ACTIONS.get(action, "a statement of this kind")
    return f"{what} {second if action == sqlite3.SQLITE_FUNCTION else first or ''}".strip()


def _said(error: Exception, path: Path, refused: list[str], time_limit: float) -> Exception:
    code = primary(error)
    if refused:
        return QueryRefused(f"{refused[0]} is refused: only reading is allowed", hint=_ONLY_READS)
    if code == sqlite3.SQLITE_INTERRUPT:
        return QueryRefused(
            f"the statement ran for more than {time_limit:g} s",
            hint="narrow it: seq is the key, delivery_id has an index",
        )
    if isinstance(error, sqlite3.Error) and code not in _OF_THE_STATEMENT:
        return typed(error, path)
    if isinstance(error, UnicodeEncodeError):
        return QueryRefused(
            "the statement is not UTF-8", hint="write it in UTF-8, as the names and texts of the log are"
        )
    if "number of bindings" in str(error):
        return QueryRefused(
            "the statement has a ? or a :name, which nothing fills", hint="write the value in its place"
        )
    return QueryRefused(f"SQLite says: {str(error).rstrip('.')}", hint=_near(str(error)) or _ONLY_READS)


def _near(said: str) -> str:
    import difflib

    head, _, name = said.partition("no such column: ")
    if head or not name:
        return ""
    near = difflib.get_close_matches(name.rpartition(".")[2].lower(), COLUMNS, 1)
    return f"did you mean {near[0]}?" if near else f"the columns of events are {', '.join(COLUMNS)}"
