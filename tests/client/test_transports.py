"""From the socket to the log and back: when, what is said about it, and what happens to the position."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import waitbus
from tests import bus as raw
from tests import support
from tests.client.conftest import Bus
from tests.client.faces import Face, bells, emit, event
from tests.client.fake import FakeDaemon, kinds, numbers, settled, steps, until
from waitbus.bell import HELLO, Bell, ring
from waitbus.client.session import Session
from waitbus.client.start import Start
from waitbus.client.steps import Gap, Note
from waitbus.client.tail import heartbeat
from waitbus.errors import CursorGap, OtherLog, PathError, UnknownEvent
from waitbus.events import make_event_id
from waitbus.paths import bells_dir, log_path, runtime_dir, state_dir
from waitbus.store import shared


@pytest.fixture
def session() -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def make(*args: object, **kwargs: object) -> Session:
        made.append(Session(*args, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


# -- the daemon stops, goes and comes ----------------------------------------------------------------------------------


def test_a_stopped_daemon_has_one_second_for_its_ack(bus: Bus, face: Face) -> None:
    emit(1)
    bus.start()
    bus.signal(signal.SIGSTOP)
    began = time.monotonic()
    assert face.call("wait_for", "n=1", since="1h", timeout=10).seq == 1
    assert 0.9 < time.monotonic() - began < 3


def test_a_time_out_shorter_than_that_leaves_time_for_the_log(bus: Bus, face: Face) -> None:
    emit(1)
    bus.start()
    bus.signal(signal.SIGSTOP)
    assert face.call("wait_for", "n=1", since="1h", timeout=0.6).seq == 1


def test_a_client_of_a_daemon_that_is_stopped_leaves_after_two_and_a_half_heartbeats(bus: Bus, face: Face) -> None:
    bus.start(WAITBUS_HEARTBEAT_SEC="0.4")
    began: list[float] = []

    def each(count: int, events: object) -> None:
        if not count:
            emit(1)
        elif count == 1:
            bus.signal(signal.SIGSTOP)
            emit(2)
            began.append(time.monotonic())

    said: list[str] = []
    assert face.collect(2, each=each, told=lambda notice: said.append(notice.kind)) == [1, 2]
    assert 0.9 < time.monotonic() - began[0] < 5
    assert said == ["hung"]


def test_heartbeats_keep_a_client_with_its_daemon(bus: Bus, session: Callable[..., Session]) -> None:
    bus.start(WAITBUS_HEARTBEAT_SEC="0.1")
    one = session()
    settled(one, "socket")
    started = time.monotonic()
    emit(1)
    assert numbers(until(one, 1)) == [1]
    support.eventually(lambda: not numbers(steps(one)) and time.monotonic() > started + 0.6)
    assert one.transport == "socket"


def test_a_daemon_that_starts_takes_its_clients_back(bus: Bus, session: Callable[..., Session]) -> None:
    clients = [session() for _ in range(5)]
    assert [kinds(settled(one, "log")) for one in clients] == [["no_daemon"]] * 5
    assert bells() == 5
    emit(1)
    assert [numbers(steps(one)) for one in clients] == [[1]] * 5
    bus.start()
    assert [kinds(settled(one, "socket")) for one in clients] == [["back"]] * 5
    assert bells() == 1
    emit(2)
    assert [numbers(until(one, 1)) for one in clients] == [[2]] * 5
    assert bus.daemon is not None
    assert bus.daemon.report()["subscriber_count"] == 5


def test_a_daemon_that_was_stopped_takes_its_clients_back_when_it_continues(
    bus: Bus, session: Callable[..., Session]
) -> None:
    """It never went, so nobody starts: its heart notices how late it is (tests/hub/test_pulse.py: once)."""
    daemon = bus.start(WAITBUS_HEARTBEAT_SEC="0.4")
    clients = [session() for _ in range(3)]
    said = [settled(one, "socket") for one in clients]
    ear = Bell(bells_dir())
    emit(1)
    bus.signal(signal.SIGSTOP)
    emit(2)
    for one, had in zip(clients, said, strict=True):
        had += settled(one, "log")
    emit(3)
    assert bells() == 5
    bus.signal(signal.SIGCONT)
    emit(4)
    for one, had in zip(clients, said, strict=True):
        had += settled(one, "socket")
    assert HELLO in ear.drain()
    emit(5)
    for one, had in zip(clients, said, strict=True):
        had += until(one, 5 - len(numbers(had)))
        assert (numbers(had), kinds(had), one.transport) == ([1, 2, 3, 4, 5], ["hung", "back"], "socket")
    assert daemon.report()["subscriber_count"] == 3
    ear.close()


def test_a_client_that_gave_a_busy_daemon_up_is_called_back(bus: Bus, session: Callable[..., Session]) -> None:
    """It was stopped for less than a heartbeat, so its heart is not late; but somebody left before the ack."""
    bus.start(WAITBUS_HEARTBEAT_SEC="0.5")
    one = session()
    one.hurry(0.2)
    bus.signal(signal.SIGSTOP)
    assert kinds(settled(one, "log")) == ["hung"]
    bus.signal(signal.SIGCONT)
    assert kinds(settled(one, "socket")) == ["back"]


def test_a_daemon_whose_socket_was_removed_calls_its_clients_back(
    home: Path, bus: Bus, session: Callable[..., Session]
) -> None:
    """It is bound anew; the client that was there stays, the one that found no socket comes."""
    bus.start(WAITBUS_HEARTBEAT_SEC="1")
    early, late = session(), session()
    settled(early, "socket")
    (home / "r" / "broadcast.sock").unlink()
    assert kinds(settled(late, "log")) == ["no_daemon"]
    assert kinds(settled(late, "socket")) == ["back"]
    emit(1)
    assert [(numbers(said), kinds(said)) for said in (until(early, 1), until(late, 1))] == [([1], [])] * 2
    assert (early.transport, late.transport, bells()) == ("socket", "socket", 1)


def test_a_restart_is_not_told_to_anybody(bus: Bus, session: Callable[..., Session]) -> None:
    bus.start()
    one = session()
    said = settled(one, "socket")
    bus.kill()
    bus.start()
    emit(1)
    said += until(one, 1)
    assert (numbers(said), kinds(said), one.transport) == ([1], [], "socket")


def test_a_hello_of_nobody_leaves_a_client_where_it_is(session: Callable[..., Session]) -> None:
    one = session()
    settled(one, "log")
    ring(bells_dir(), HELLO)
    assert kinds(steps(one)) == []
    emit(1)
    assert numbers(steps(one)) == [1]
    assert bells() == 1


def test_a_daemon_that_came_between_the_first_try_and_the_bell_is_found(
    session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hello was said before our bell hung: without a second try nobody would ever call us."""
    emit(1)
    fakes: list[FakeDaemon] = []
    to_log = Session._to_log

    def late(self: Session) -> object:
        if not fakes:
            fakes.append(FakeDaemon())
        return to_log(self)

    monkeypatch.setattr(Session, "_to_log", late)
    one = session()
    steps(one)
    assert bells() == 1
    assert fakes[0].accept()
    fakes[0].say(fakes[0].ack())
    assert kinds(steps(one)) == []
    assert (one.transport, bells()) == ("socket", 0)
    fakes[0].__exit__()


# -- somebody else's daemon (F2), another log behind the socket (A2) ---------------------------------------------------


def test_the_daemon_of_0_2_is_said_with_its_pid_and_the_log_is_read(
    old_venv: Path, spawn: Callable[..., subprocess.Popen[str]], face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    old = spawn("broadcast", "serve", program=(str(old_venv / "bin" / "waitbus"),), stderr=subprocess.DEVNULL)
    support.eventually(lambda: _answers(runtime_dir() / "broadcast.sock"), timeout=20)
    with caplog.at_level(logging.WARNING, logger="waitbus"):
        assert face.collect(2, each=lambda count, _: emit(count)) == [0, 1]
    foreign = [record.message for record in caplog.records if "another program's daemon" in record.message]
    assert len(foreign) == 1
    assert f"(pid {old.pid})" in foreign[0]
    assert str(runtime_dir() / "broadcast.sock") in foreign[0]


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become another user")
def test_a_socket_of_another_user_is_not_trusted(home: Path, face: Face) -> None:
    """It is told once, nothing is said to him, and the log is read."""
    said: list[Note | Gap] = []
    path = home / "everybodys" / "broadcast.sock"
    with raw.stranger(path) as other:
        assert face.collect(2, socket_path=path, each=lambda count, _: emit(count), told=said.append) == [0, 1]
        assert [(note.kind, note.text) for note in said if isinstance(note, Note)] == [
            ("stranger", f"the socket {path} belongs to uid 65534; reading the log directly")
        ]
        heard = support.read_until(other.stdout, "b")  # type: ignore[arg-type]
    assert heard == "b''\n"


def test_a_daemon_of_another_log_is_not_used(
    home: Path, face: Face, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "other").mkdir()
    with raw.daemon(home / "other") as other:
        monkeypatch.setenv("WAITBUS_RUNTIME_DIR", str(home / "other" / "r"))
        emit(0)  # so that there is a log to compare with
        with caplog.at_level(logging.WARNING, logger="waitbus"):
            assert face.collect(2, each=lambda count, _: emit(count)) == [0, 1]
        support.eventually(lambda: other.report()["subscriber_count"] == 0)
    assert any("serves another log" in record.message for record in caplog.records)


# -- the log is wiped, replaced, pruned (A2, F15) ----------------------------------------------------------------------


def wipe() -> None:
    """As `rm events.db*`, and the next emit begins a new log."""
    for name in ("events.db", "events.db-wal", "events.db-shm"):
        (state_dir() / name).unlink(missing_ok=True)


def test_a_log_that_is_replaced_under_a_waiter_is_a_gap_and_read_from_its_beginning(transport: str, face: Face) -> None:
    said: list[Note | Gap] = []

    def each(count: int, _: object) -> None:
        if count == 0:
            emit(*range(5))
        elif count == 5:
            wipe()
            emit(*range(5, 8))

    assert face.collect(8, each=each, told=said.append) == list(range(8))
    assert [(gap.reason, gap.initial) for gap in said if isinstance(gap, Gap)] == [("other_log", False)]


def test_a_daemon_that_died_before_the_log_was_wiped(bus: Bus, session: Callable[..., Session]) -> None:
    bus.start()
    emit(*range(5))
    one = session()
    settled(one, "socket")
    bus.kill()
    wipe()
    emit(10)
    said = steps(one)
    assert (kinds(said), numbers(said)) == (["lost", "other_log"], [10])


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0.2", 0.2), ("1e-9", 0.05), ("1e9", 86400.0), ("", 60.0), ("often", 60.0), ("nan", 60.0), ("-1", 60.0)],
)
def test_how_often_a_reader_looks_at_the_log_has_bounds(
    monkeypatch: pytest.MonkeyPatch, written: str, seconds: float
) -> None:
    """Whatever the variable says, it neither spins nor sleeps for ever; the daemon is who refuses a value."""
    monkeypatch.setenv("WAITBUS_HEARTBEAT_SEC", written)
    assert heartbeat() == seconds


def test_a_state_folder_that_is_removed_is_noticed_within_a_heartbeat(
    session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bell went with it, so nobody can ring: it is hung anew."""
    monkeypatch.setenv("WAITBUS_HEARTBEAT_SEC", "0.2")
    one = session()
    settled(one, "log")
    shutil.rmtree(state_dir())
    emit(1)
    assert kinds(until(one, 1)) == ["other_log"]
    support.eventually(lambda: numbers(steps(one)) or bells())
    assert bells() == 1
    emit(2)
    assert numbers(steps(one)) == [2]


def test_a_pruned_cursor_is_a_gap_and_then_what_is_left(transport: str, face: Face, bus: Bus) -> None:
    first = waitbus.emit(event(0)).event.event_id
    emit(*range(1, 10))
    _prune_to(7)
    said: list[Note | Gap] = []
    assert face.collect(3, since=first, told=said.append) == [7, 8, 9]
    assert [(gap.reason, gap.first, gap.last) for gap in said if isinstance(gap, Gap)] == [("pruned", 2, 7)]
    with pytest.raises(CursorGap, match="events 2 to 7 were pruned; going on with event 8") as caught:
        face.collect(3, since=first, strict=True)
    assert caught.value.missing == (2, 7)


def _prune_to(seq: int) -> None:
    def work(db: object) -> None:
        db.execute("DELETE FROM events WHERE seq <= ?", (seq,))  # type: ignore[attr-defined]
        db.execute("UPDATE meta SET value = ? WHERE key = 'pruned_to'", (seq,))  # type: ignore[attr-defined]

    shared().write(work)


def test_a_cursor_of_another_log_and_one_of_no_event_are_errors(transport: str, face: Face) -> None:
    emit(1, 2)
    facts = shared().facts()
    with pytest.raises(OtherLog, match=r"the cursor \w{26} belongs to another log") as other:
        face.collect(1, since=make_event_id(facts.last_at_ms, facts.tag ^ 1, 1))
    assert other.value.hint == "`waitbus cursor` prints one of this log"
    with pytest.raises(UnknownEvent, match=r"the cursor \w{26} names an event that this log never had"):
        face.collect(1, since=make_event_id(facts.last_at_ms, facts.tag, 77))


def test_a_reader_that_is_pruned_while_it_reads_is_told(session: Callable[..., Session]) -> None:
    waitbus.emit_batch(event(n) for n in range(600))
    now = 0.0
    one = session(start=Start(at_ns=0), clock=lambda: now)
    assert numbers(steps(one)) == list(range(256))
    _prune_to(400)
    now += 1
    said = steps(one)
    assert kinds(said) == ["pruned"]
    assert numbers(said) == list(range(400, 600))


# -- lost rings (F13), folders that cannot be written ------------------------------------------------------------------


def test_an_event_whose_producer_died_before_it_rang_is_found_on_the_heartbeat(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAITBUS_HEARTBEAT_SEC", "0.2")

    def each(count: int, _: object) -> None:
        if not count:
            shared().append(event(5))

    assert face.collect(1, each=each) == [5]


def is_free(lock: Any) -> bool:
    """Whether another thread may take the lock."""
    taken = lock.acquire(blocking=False)
    if taken:
        lock.release()
    return bool(taken)


def test_a_client_reads_the_log_while_its_own_thread_waits_for_the_write_lock(session: Callable[..., Session]) -> None:
    """A connection of its own: else an `aemit` that meets a locked log would hold the loop for 5 s."""
    import sqlite3
    import threading

    emit(1)
    one = session(start=Start(at_ns=0))
    other = sqlite3.connect(log_path(), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=emit, args=(2,))
    writer.start()
    support.eventually(lambda: not is_free(shared()._lock))
    began = time.monotonic()
    assert numbers(steps(one)) == [1]
    assert time.monotonic() - began < 1
    other.execute("ROLLBACK")
    other.close()
    writer.join(10)
    support.eventually(lambda: numbers(steps(one)) == [2])


def test_without_a_daemon_and_without_a_place_for_a_bell_there_is_an_error_and_then_none(
    session: Callable[..., Session],
) -> None:
    emit(1)
    shutil.rmtree(bells_dir(), ignore_errors=True)
    bells_dir().write_text("in the way")
    one = session(start=Start(at_ns=0))
    with pytest.raises(PathError, match="bells is a file"):
        one.step()
    bells_dir().unlink()
    assert numbers(steps(one)) == [1]
