"""`emit`: commit one row, then ring. No daemon is asked, so none can be in the way.

The order is the promise: an event is durable in the log before anybody is told, and whoever is told reads the log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from waitbus.bell import ring
from waitbus.errors import InvalidEvent, LogError, PathError
from waitbus.event_checks import shown
from waitbus.events import COLUMN_FIELDS, EmitResult, EventFrame, EventInsert, Fields, make_event_id
from waitbus.paths import absolute, log_path
from waitbus.store import shared
from waitbus.store.retention import prune_now_and_then

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.store import Appended, Log
    from waitbus.store.rows import Unless


def emit(event: EventInsert, *, db_path: Path | str | None = None, doorbell_path: object = None) -> EmitResult:
    """Write one event and wake whoever waits for it. Returns when it is committed, in well under a millisecond.

    `db_path` names another log than the one of `WAITBUS_STATE_DIR`: made if it is not there, in a folder that is;
    `doorbell_path` is accepted and ignored (0.2 had one doorbell; here each log has its own, beside it).

    Raises:
      LogBusy: another process held the write lock for 5 s.
      LogCorrupt: `db_path` names a file that is no log; it is left as it is.
      LogFull, LogReadOnly, LogUnavailable: nothing was written; the message says why.
      InvalidEvent: `event` is no EventInsert.
    """
    if not isinstance(event, EventInsert):
        raise _no_event(event)
    log = _log(db_path)
    placed = log.append(event, ring)
    if placed.inserted:
        prune_now_and_then(log, placed.seq)
    return _result(log, event, placed)


def emit_batch(events: Iterable[EventInsert], *, db_path: Path | str | None = None) -> int:
    """Write all events in one transaction, or none, and ring once. Returns how many were new.

    Raises:
      LogError, InvalidEvent: as `emit`; nothing was written.
    """
    batch = _batch(events)
    return len([one for one in _append_all(_log(db_path), batch) if one.inserted])


def emit_all(
    events: Iterable[EventInsert], *, db_path: Path | str | None = None, unless: Unless | None = None
) -> list[EmitResult]:
    """`emit_batch` that answers, for each event, what `emit` would have. `unless`: as `Log.append_many` has it.

    Raises:
      LogError, InvalidEvent: as `emit`; nothing was written.
    """
    batch = _batch(events)
    log = _log(db_path)
    placed = _append_all(log, batch, unless)
    return [_result(log, event, one) for event, one in zip(batch, placed, strict=True)]


def _batch(events: Iterable[EventInsert]) -> list[EventInsert]:
    # A mapping and a text are series too, of something that is never an event: empty, they would pass for no events.
    if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
        raise _no_event(events, "no series of events", hint="give a list of waitbus.EventInsert; emit takes one")
    batch = list(events)
    for event in batch:
        if not isinstance(event, EventInsert):
            raise _no_event(event)
    return batch


def _no_event(
    given: object, what: str = "no event", hint: str = "make one: waitbus.EventInsert(source=..., event_type=...)"
) -> InvalidEvent:
    return InvalidEvent(f"{shown(given)} is {what}", hint=hint)


def _append_all(log: Log, events: list[EventInsert], unless: Unless | None = None) -> list[Appended]:
    placed = log.append_many(events, unless)
    inserted = [one.seq for one in placed if one.inserted]
    if inserted:
        ring(log.bells)
        prune_now_and_then(log, inserted[-1], len(inserted))
    return placed


async def aemit(event: EventInsert, *, db_path: Path | str | None = None) -> EmitResult:
    """`emit` in a worker thread, for trio and asyncio: a busy log never holds the event loop.

    A cancelled `aemit` has either committed and rung, or not begun.
    """
    import anyio.to_thread

    def work() -> EmitResult:
        result = emit(event, db_path=db_path)
        _ = result.event  # read here, not on the loop when it is looked at
        return result

    return await anyio.to_thread.run_sync(work)


_where: object = None
_here: Log | None = None


def _log(db_path: Path | str | None) -> Log:
    if db_path is not None:
        return shared(absolute(db_path))
    # The environment is read at every call, as everywhere; only the log that follows from it is kept.
    global _where, _here
    here = os.environ.get("WAITBUS_STATE_DIR") or (os.environ.get("XDG_STATE_HOME"), os.environ.get("HOME"))
    if _here is None or here != _where:
        _here = shared(log_path())
        _where = here
    return _here


def _result(log: Log, event: EventInsert, placed: Appended) -> EmitResult:
    if placed.inserted:
        return EmitResult(True, lambda: _as_read(log, event, placed))
    from waitbus.wire import frame_of_row

    row = log.row(placed.seq)
    # It may have been pruned in between: then what was offered is the next best.
    return EmitResult(False, _as_read(log, event, placed) if row is None else frame_of_row(row, placed.tag))


def _as_read(log: Log, event: EventInsert, placed: Appended) -> EventFrame:
    fields = Fields(event.fields)
    for name in COLUMN_FIELDS:
        fields[name] = getattr(event, name)
    return EventFrame(
        event_id=make_event_id(_committed_at(log, placed), placed.tag, placed.seq),
        event_type=event.event_type,
        owner=event.owner,
        repo=event.repo,
        received_at=event.received_at,
        delivery_id=event.delivery_id,
        summary=event.summary,
        fields=fields,
        seq=placed.seq,
        source=event.source,
    )


def _committed_at(log: Log, placed: Appended) -> int:
    """The time of commit, in ms since the epoch; 0 where the row is gone by now, or the log is another one or cannot be read."""
    try:
        row = log.row(placed.seq) if log.tag == placed.tag else None
    except (LogError, PathError):
        row = None
    return 0 if row is None else row.at_ms
