"""What the tests of the log share: events, all rows of a log, and processes that write to one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import PYTHON
from waitbus.events import EventFrame, EventInsert, Row
from waitbus.producer import emit
from waitbus.store import Log, shared
from waitbus.store.retention import Retention, prune_chunk


def event(name: str | None = None, **kwargs: Any) -> EventInsert:
    """A small event; `name` is its delivery id."""
    kwargs.setdefault("source", "agent")
    kwargs.setdefault("event_type", "deploy_finished")
    return EventInsert(delivery_id=name, **kwargs)


def told(event_type: str = "deploy_finished", source: str = "agent", **given: Any) -> EventFrame:
    """Emit an event into the usual log; the event as it is read."""
    return emit(EventInsert(source=source, event_type=event_type, **given)).event


def tell(event_type: str = "deploy_finished", source: str = "agent", **given: Any) -> str:
    """Emit an event into the usual log; its id."""
    return told(event_type, source, **given).event_id


def prune(before: int, log: Log | None = None) -> None:
    """Let go of what stands before the seq `before`."""
    keep = Retention(max_age=1.0, max_bytes=None, keep_from=before)
    while prune_chunk(log or shared(), keep, now=time.time() + 100):
        pass


def rows(log: Log) -> list[Row]:
    """Everything the log holds, in the order of seq."""
    found: list[Row] = []
    while True:
        page = log.page(found[-1].seq if found else 0)
        found += page.rows
        if not page.more:
            return found


def names(path: Path) -> list[str]:
    """The delivery ids in the file, in the order of seq, by a connection that knows nothing of ours."""
    with look(path) as db:
        return [row[0] for row in db.execute("SELECT delivery_id FROM events ORDER BY seq")]


@contextlib.contextmanager
def look(path: Path) -> Iterator[sqlite3.Connection]:
    """Plain SQLite on the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as db:
        yield db


def is_sound(path: Path) -> bool:
    """Whether SQLite's full check finds nothing."""
    with look(path) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def python(code: str, *argv: object, env: dict[str, str] | None = None, **kwargs: Any) -> subprocess.Popen[str]:
    """A Python that runs `code` with pipes for its streams; `sys.argv[1:]` is `argv`."""
    for stream in ("stdin", "stdout", "stderr"):
        kwargs.setdefault(stream, subprocess.PIPE)
    environment = {**os.environ, **(env or {})}
    return subprocess.Popen([PYTHON, "-c", code, *map(str, argv)], text=True, env=environment, **kwargs)


def finish(children: list[subprocess.Popen[str]], timeout: float = 60) -> list[str]:
    """What each said on stdout, once all have ended well."""
    said = []
    for child in children:
        out, err = child.communicate(timeout=timeout)
        assert child.returncode == 0, err
        said.append(out)
    return said
