"""What the log has seen: the rows about a commit, the keys that a source's events had, how many of them passed by.

For what a person is told, and for states. Each is bounded, since no column of these has an index.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from waitbus.events import SEQ_MAX, Row
from waitbus.store.rows import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from sqlite3 import Connection
    from typing import Any

    from waitbus.store import Log

RECENT = 20_000
"""Rows, the newest ones, that are looked through for a source."""
KEYS_FROM = 500
"""Rows of a source that are asked for their keys."""


def of_commit(log: Log, prefix: str, event_types: Collection[str]) -> list[Row]:
    """GitHub's rows about a commit, of these types, in the order of seq. `prefix` is hex digits.

    By the text of `fields`: to take 50,000 objects apart would take half a second.
    """
    marks = ", ".join("?" * len(event_types))
    # Not LIKE, which folds case: GitHub writes commit ids in lower case, and so does everybody who copies one.
    sql = (
        f"SELECT {COLUMNS} FROM events WHERE source = 'github' AND event_type IN ({marks})"
        " AND instr(fields, ?) > 0 ORDER BY seq"
    )
    return [Row._make(raw) for raw in _all(log, sql, (*event_types, f'"head_sha":"{prefix}'))]


def keys_of(log: Log, sources: Iterable[str]) -> dict[str, set[str]]:
    """The keys in `fields` of the newest events of each source that has any."""
    sql = "SELECT fields FROM events WHERE seq > ? AND source = ? ORDER BY seq DESC LIMIT ?"
    found = {}
    for source in sources:
        rows = _all(log, sql, (log.head() - RECENT, source, KEYS_FROM))
        if rows:
            found[source] = {key for (fields,) in rows for key in json.loads(fields)}
    return found


def has_any(log: Log, source: str, repo: str | None = None) -> bool:
    """Whether the log has an event of the source lately, in `owner/repo` or `owner/*` if that is given."""
    sql, values = "SELECT 1 FROM events WHERE seq > ? AND source = ?", [log.head() - RECENT, source]
    if repo is not None:
        owner, _, name = repo.partition("/")
        sql, values = (
            f"{sql} AND lower(owner) = ? AND (? = '*' OR lower(repo) = ?)",
            [*values, owner.lower(), name, name.lower()],
        )
    return bool(_all(log, f"{sql} ORDER BY seq DESC LIMIT 1", values))


def count_since(log: Log, seq: int, sources: Collection[str], upto: int | None = None) -> int:
    """How many events of these sources (none named: of any) came behind `seq`, up to and with `upto`."""
    marks = f" AND source IN ({', '.join('?' * len(sources))})" if sources else ""
    last = SEQ_MAX if upto is None else upto
    found: int = _all(log, f"SELECT count(*) FROM events WHERE seq > ? AND seq <= ?{marks}", (seq, last, *sources))[0][
        0
    ]
    return found


def _all(log: Log, sql: str, values: Iterable[Any]) -> list[Any]:
    def read(db: Connection) -> list[Any]:
        return db.execute(sql, tuple(values)).fetchall()

    return log.use(read)


def sources_down(log: Log) -> dict[str, str]:
    """Sources whose newest `source_down` or `source_up` is a going down, each with its reason."""
    sql = "SELECT event_type, fields FROM events WHERE seq > ? AND source = 'waitbus' ORDER BY seq DESC LIMIT ?"
    newest: dict[str, str | None] = {}
    for event_type, fields in _all(log, sql, (log.head() - RECENT, KEYS_FROM)):
        about = json.loads(fields)
        if event_type in ("source_down", "source_up") and isinstance(name := about.get("name"), str):
            newest.setdefault(name, str(about.get("reason") or "") if event_type == "source_down" else None)
    return {name: reason for name, reason in newest.items() if reason is not None}
