"""Bring the `github.db` of a waitbus 0.2 over: every row in its order, with its id, once however often it is called.

An imported event gets an id of this log, like any other; the one it had is kept in `aliases`, so that an old cursor or
bookmark still finds its place. Its time of commit is when it was received then, as far as the order of the log allows.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import attrs

from waitbus import event_checks as check
from waitbus.errors import InvalidEvent, InvalidValue, LogCorrupt
from waitbus.events import INT_FIELDS, TEXT_FIELDS, EventInsert
from waitbus.store import schema
from waitbus.store.failures import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from waitbus.store.log import Log

BATCH_ROWS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""A transaction ends at whichever bound comes first: producers wait for it."""

_NEEDED = ("delivery_id", "source", "event_type", "owner", "repo", "received_at", "payload_json", "ingest_method")
_TAKEN = (*_NEEDED, "event_id", "status", "conclusion", *sorted(INT_FIELDS), *sorted(TEXT_FIELDS))

_WHERE = "0.2 kept its log as github.db in its state folder"

OldRow = dict[str, Any]


@attrs.frozen
class Imported:
    """What an import did, in rows. `refused` has the seq and the reason of each row that no event can be made of."""

    read: int = 0
    inserted: int = 0
    known: int = 0
    refused: tuple[tuple[int, str], ...] = ()


def import_old(path: Path, log: Log, *, told: Callable[[Imported], None] = lambda _: None) -> Imported:
    """Append what `path` holds to `log`, batch by batch; `told` hears of each. Whoever calls rings the bells.

    Raises:
      InvalidValue: the file is no log of 0.2.
      LogError: one of the two cannot be used; what was brought over until then stays, and another call goes on.
    """
    done = Imported()
    for batch in _batches(path):
        events = [_event(row) for row in batch]
        good = [(row, event) for row, event in zip(batch, events, strict=True) if isinstance(event, EventInsert)]
        inserted = log.write_events([(event, _at_ms(event), row.get("event_id")) for row, event in good])
        refused = [(row["seq"], event) for row, event in zip(batch, events, strict=True) if isinstance(event, str)]
        done = Imported(
            done.read + len(batch),
            done.inserted + inserted,
            done.known + len(good) - inserted,
            (*done.refused, *refused),
        )
        told(done)
    return done


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """What to do about a damaged log of ours would be bad advice about somebody's other file."""
    try:
        yield
    except LogCorrupt as error:
        error.hint = _WHERE
        raise


def _batches(path: Path) -> Iterator[list[OldRow]]:
    where = schema.uri(path, "ro")
    with _named(), translated(path), contextlib.closing(sqlite3.connect(where, uri=True, timeout=5)) as db:
        db.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        columns = _columns(db, path)
        order = "seq" if "seq" in columns else "rowid"
        taken = [column for column in _TAKEN if column in columns]
        found = db.execute(f"SELECT {order}, {', '.join(taken)} FROM events ORDER BY {order}")
        names = ["seq", *taken]
        batch: list[OldRow] = []
        size = 0
        for values in found:
            batch.append(dict(zip(names, values, strict=True)))
            size += len(str(batch[-1]["payload_json"]))
            if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _columns(db: sqlite3.Connection, path: Path) -> set[str]:
    columns = {row[1] for row in db.execute("PRAGMA table_info(events)").fetchall()}
    if "at_ms" in columns:
        raise InvalidValue(
            f"{path} is a log of this waitbus already", hint="WAITBUS_STATE_DIR names the log that is used"
        )
    if missing := [name for name in _NEEDED if name not in columns]:
        lacks = f"the column {missing[0]}" if columns else "a table of events"
        raise InvalidValue(f"{path} is no log of waitbus 0.2: it lacks {lacks}", hint=_WHERE)
    return columns


def _event(row: OldRow) -> EventInsert | str:
    """The event of a row, or why there is none."""
    try:
        return EventInsert(
            source=row["source"],
            event_type=row["event_type"],
            owner=row["owner"],
            repo=row["repo"],
            delivery_id=row["delivery_id"],
            received_at=row["received_at"],
            status=row.get("status"),
            conclusion=row.get("conclusion"),
            ingest_method=row["ingest_method"],
            fields=_fields(row),
            payload_json=_payload(row["payload_json"]),
        )
    except InvalidEvent as error:
        return error.message


def _fields(row: OldRow) -> dict[str, Any]:
    """The well-known fields. 0.2 did not check them: a value of another type is kept beside them, under `old_`."""
    fields: dict[str, Any] = {}
    for name in (*INT_FIELDS, *TEXT_FIELDS):
        value = row.get(name)
        if value is None:
            continue
        fits = isinstance(value, str) if name in TEXT_FIELDS else isinstance(value, int) and value > 0
        if isinstance(value, bytes):
            value = value.hex()
        fields[name if fits else f"old_{name}"] = value
    return fields


def _payload(text: Any) -> str:
    """JSON as it is; anything else, which 0.2 took too, as a JSON string."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    try:
        return check.payload(text)
    except InvalidEvent:
        return json.dumps(text)


def _at_ms(event: EventInsert) -> int:
    return min(event.received_at, time.time_ns()) // 1_000_000
