"""What a locked log does not take is kept, in its order; what a log cannot take for another reason is lost."""

from __future__ import annotations

import pytest

from tests.logs import event, names
from waitbus.errors import LogBusy, LogFull
from waitbus.paths import log_path
from waitbus.sources import kept
from waitbus.sources.kept import Kept
from waitbus.store import Log


def test_what_a_locked_log_does_not_take_is_written_with_the_next(log: Log) -> None:
    rows = Kept()

    def refused(_db: object) -> None:
        for name in ("a", "b"):
            with pytest.raises(LogBusy):
                rows.write([event(name)], patience=0.01)

    log.write(refused)
    assert (len(rows), names(log_path())) == (2, [])
    rows.write([event("c")])
    assert (len(rows), names(log_path())) == (0, ["a", "b", "c"])


def test_nothing_kept_is_nothing_written(log: Log) -> None:
    log.write(lambda _db: Kept().write(patience=0.01))


def test_of_a_log_that_is_locked_for_long_the_newest_are_kept(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "ROWS_MAX", 3)
    rows = Kept()

    def refused(_db: object) -> None:
        for name in "abcde":
            with pytest.raises(LogBusy):
                rows.write([event(name)], patience=0.01)

    log.write(refused)
    rows.write()
    assert names(log_path()) == ["c", "d", "e"]


def test_what_cannot_be_written_for_another_reason_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_rows: object) -> None:
        raise LogFull("no space", hint="make some")

    rows = Kept()
    with monkeypatch.context() as patch:
        patch.setattr(kept, "emit_all", full)
        with pytest.raises(LogFull):
            rows.write([event("a")])
    rows.write([event("b")])
    assert names(log_path()) == ["b"]
