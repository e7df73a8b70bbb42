"""A13: what has expired leaves while everything works; nothing else does, and whoever came too late is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

import waitbus
from tests.logs import event, finish, is_sound, names, python, rows
from tests.support import eventually
from waitbus.errors import CursorGap
from waitbus.events import make_event_id
from waitbus.paths import log_path
from waitbus.store import Log

EXPIRED = 20_000

WRITER = """
import sys
from waitbus.events import EventInsert
from waitbus.producer import emit
for number in range(300):
    emit(EventInsert(source="agent", event_type="new", delivery_id=f"{sys.argv[1]} {number}"))
"""


def fill(log: Log, count: int = EXPIRED) -> None:
    at_ms = int((time.time() - 40 * 86400) * 1000)
    log.write_events([(event(f"old {number}"), at_ms, None) for number in range(count)])


@pytest.fixture
def serve(spawn: Callable[..., Popen[str]]) -> Callable[[], Popen[str]]:
    """Starts the daemon, which prunes as soon as it has begun."""
    return lambda: spawn("serve")


def pruned(log: Log, to: int) -> None:
    eventually(lambda: log.facts().pruned_to >= to, 60, f"pruned to {to}")


def test_a_daemon_prunes_while_four_producers_write_and_a_reader_reads(serve: Callable[[], Popen[str]]) -> None:
    with Log() as log:
        fill(log)
        with waitbus.subscribe(source="agent", first_of=None, since="1h") as reader:
            serve()
            writers = [python(WRITER, number) for number in range(4)]
            seen = [next(reader).delivery_id for _ in range(1200)]
            finish(writers)
        pruned(log, EXPIRED)
        left = [row.delivery_id for row in rows(log)]
        assert left == seen, "each new one once, in order, and no old one"
        assert len(set(left)) == 1200
        assert log.facts()[1:3] == (EXPIRED + 1, EXPIRED + 1200)
    assert is_sound(log_path())


def test_a_reader_whose_place_was_pruned_is_told_what_is_missing(serve: Callable[[], Popen[str]]) -> None:
    with Log() as log:
        fill(log, 1000)
        old_place = log.event_id(10, rows(log)[9].at_ms)
        log.append(event("new"))
        daemon = serve()
        pruned(log, 1000)
        with (
            pytest.raises(CursorGap) as caught,
            waitbus.subscribe(source="agent", since=old_place, strict=True) as reader,
        ):
            next(reader)
        assert caught.value.missing == (11, 1000)
        with waitbus.subscribe(source="agent", since=old_place) as reader:
            assert next(reader).delivery_id == "new"
        daemon.terminate()
        daemon.wait(10)
        with pytest.raises(CursorGap), waitbus.subscribe(source="agent", since=old_place, strict=True) as reader:
            next(reader)


def test_what_a_bookmark_has_not_passed_waits_for_its_reader(serve: Callable[[], Popen[str]], home: Path) -> None:
    with Log() as log:
        fill(log, 2000)
        log.append(event("new"))
        (home / "s/cursors").mkdir(mode=0o700)
        (home / "s/cursors/bookmark-holiday.txt").write_text(make_event_id(0, log.tag, 1500) + "\n")
        serve()
        pruned(log, 1500)
        assert log.append(event("later")).inserted
        assert log.facts()[1:] == (1501, 2002, rows(log)[-1].at_ms, 1500)


def test_a_daemon_that_is_killed_in_the_middle_leaves_a_sound_log(serve: Callable[[], Popen[str]]) -> None:
    with Log() as log:
        fill(log)
        daemon = serve()
        eventually(lambda: log.facts().pruned_to > 0, 30)
        daemon.kill()
        daemon.wait(10)
        facts = log.facts()
        assert facts.first == facts.pruned_to + 1
        assert is_sound(log_path())
        serve()
        pruned(log, EXPIRED - 1)
        assert log.facts()[1:3] == (EXPIRED, EXPIRED), "the newest row stays"
    assert names(log_path()) == [f"old {EXPIRED - 1}"]


def test_a_producer_alone_prunes_what_has_expired() -> None:
    with Log() as log:
        fill(log, 1000)
        finish([python(WRITER, number) for number in range(4)])
        assert log.facts().pruned_to == 1000
        assert len(names(log_path())) == 1200


def test_ending_does_not_wait_for_retention(serve: Callable[[], Popen[str]]) -> None:
    with Log() as log:
        fill(log)
        daemon = serve()
        assert daemon.stderr is not None
        eventually(lambda: log.facts().pruned_to > 0, 30)
        daemon.terminate()
        assert daemon.wait(10) == 0
        assert log.facts().pruned_to < EXPIRED
        assert "error" not in daemon.stderr.read().lower()
