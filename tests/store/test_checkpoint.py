"""Checkpoints: the WAL stays short whatever is written, and nobody waits for a reader."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.logs import event, finish, is_sound, look, names, python
from waitbus.errors import LogUnavailable
from waitbus.paths import log_path
from waitbus.store import Log, checkpoint
from waitbus.store.checkpoint import is_due


def wal() -> int:
    return os.stat(f"{log_path()}-wal").st_size


def test_it_is_due_after_many_rows_or_many_bytes() -> None:
    assert not is_due(log_path(), 0), "not even where there is no log"
    with Log() as log:
        log.append(event())
        assert not is_due(log.path, checkpoint.ROWS - 1)
        assert is_due(log.path, checkpoint.ROWS)
        while wal() <= checkpoint.LONG_WAL:
            log.append(event(payload_json='"' + "x" * 1_000_000 + '"'))
        assert is_due(log.path, 1)


def test_what_was_checkpointed_leaves_the_wal_to_begin_anew() -> None:
    with Log() as log:
        log.append_many(event() for _ in range(2000))
        before = wal()
        assert checkpoint.checkpoint(log.path) > 0
        log.append_many(event() for _ in range(2000))
        assert wal() <= before + 1_000_000
    assert is_sound(log_path())


WRITER = """
import sys
from pathlib import Path
from waitbus.events import EventInsert
from waitbus.store import Log
stop, number = Path(sys.argv[1]), 0
text = '"' + "x" * 2000 + '"'
with Log() as log:
    while not stop.exists():
        log.append_many(EventInsert(source="agent", event_type="x", payload_json=text) for _ in range(50))
        number += 50
print(number)
"""


def test_writers_that_never_pause_cannot_make_it_grow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A passive checkpoint is never complete then: from a certain length on the write lock is taken for the rest."""
    monkeypatch.setattr(checkpoint, "RESTART_BYTES", 4 * 1024 * 1024)
    with Log() as log:
        log.append(event())
        writer = python(WRITER, home / "stop")
        longest = begun = 0
        before = log.head()
        while log.head() < before + 20_000:
            longest = max(longest, wal())
            begun += checkpoint.checkpoint(log.path) > checkpoint.RESTART_BYTES
        (home / "stop").touch()
        (said,) = finish([writer])
    assert begun
    assert longest < 64 * 1024 * 1024
    assert len(names(log_path())) == int(said) + 1
    assert is_sound(log_path())


def test_a_reader_in_the_middle_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The WAL grows for as long as it reads, and is none the worse for it."""
    monkeypatch.setattr(checkpoint, "RESTART_BYTES", 0)
    with Log() as log:
        log.append_many(event() for _ in range(500))
        with look(log.path) as reader:
            cursor = reader.execute("SELECT * FROM events")
            cursor.fetchone()
            log.append_many(event() for _ in range(500))
            assert checkpoint.checkpoint(log.path) > 0
            assert log.append(event()).inserted
            assert len(cursor.fetchall()) == 499
        checkpoint.checkpoint(log.path)
        assert log.head() == 1001


def test_a_log_that_is_gone_is_a_typed_error() -> None:
    with pytest.raises(LogUnavailable):
        checkpoint.checkpoint(log_path())
