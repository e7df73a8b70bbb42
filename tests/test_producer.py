"""`emit`: committed, then told; nothing of a daemon needed; and what it answers."""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path

import anyio
import pytest
import trio

from tests.logs import event, finish, names, python, rows
from waitbus import producer
from waitbus.bell import Bell
from waitbus.errors import InvalidEvent, LogBusy, LogError
from waitbus.events import COLUMN_FIELDS, EventInsert, parse_event_id
from waitbus.paths import bells_dir, log_path
from waitbus.producer import aemit, emit, emit_all, emit_batch
from waitbus.store import Log, shared
from waitbus.wire import frame_of_row


def rung(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 10)[0] and bell.drain())


def test_emit_answers_the_event_as_a_reader_will_see_it() -> None:
    result = emit(event("a", status="completed", conclusion="success", run_id=7, fields={"own": [1]}))
    assert result.inserted
    row = shared().row(1)
    assert row is not None
    assert result.event == frame_of_row(row, shared().tag)
    assert parse_event_id(result.event.event_id).seq == result.event.seq == 1
    assert set(COLUMN_FIELDS) <= result.event.fields.keys()


def test_a_known_event_is_answered_as_the_first_one_and_nobody_is_woken() -> None:
    first = emit(event("a", summary="first", fields={"n": 1}))
    bell = Bell(bells_dir())
    again = emit(event("a", summary="second", fields={"n": 2}))
    assert not again.inserted
    assert again.event == first.event
    assert again.event.summary == "first"
    assert bell.drain() == set()
    bell.close()


def test_whoever_is_told_finds_the_event_in_the_log() -> None:
    """Commit, then ring: a bell heard is a row that can be read."""
    bell = Bell(bells_dir())
    with Log() as reader:
        for number in range(100):
            thread = threading.Thread(target=lambda name=f"{number}": emit(event(name)))
            thread.start()
            assert rung(bell)
            assert reader.head() == number + 1
            thread.join()
    bell.close()


def test_a_batch_rings_once_and_counts_what_was_new() -> None:
    bell = Bell(bells_dir())
    assert emit_batch(event(str(number)) for number in range(50)) == 50
    assert bell.drain() == {b"ring"}
    assert emit_batch([event("49"), event("50")]) == 1
    assert bell.drain()
    assert emit_batch([event("49")]) == 0
    assert emit_batch([]) == 0
    assert bell.drain() == set()
    bell.close()


def test_a_batch_that_breaks_leaves_nothing() -> None:
    def broken():
        yield event("a")
        raise KeyError("upstream")

    bell = Bell(bells_dir())
    with pytest.raises(KeyError):
        emit_batch(broken())
    with Log() as log:
        assert log.head() == 0
    assert bell.drain() == set()
    bell.close()


def test_emit_all_answers_for_each() -> None:
    emit(event("a"))
    found = emit_all([event("a"), event("b"), event("b")])
    assert [(one.inserted, one.event.seq) for one in found] == [(False, 1), (True, 2), (False, 2)]


@pytest.mark.parametrize("as_text", [True, False])
def test_another_log_may_be_named_and_has_bells_of_its_own(
    home: Path, as_text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    bell = Bell(home / "other" / "bells")
    path = "other/events.db" if as_text else Path("other/events.db")
    assert emit(event("a"), db_path=path, doorbell_path="/ignored").inserted
    assert rung(bell)
    assert names(home / "other/events.db") == ["a"]
    assert not log_path().exists()
    bell.close()


def test_the_environment_is_read_at_every_call(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emit(event("here"))
    monkeypatch.setenv("WAITBUS_STATE_DIR", str(home / "there"))
    emit(event("there"))
    monkeypatch.delenv("WAITBUS_STATE_DIR")
    emit(event("by xdg"))
    assert names(home / "s/events.db") == ["here"]
    assert names(home / "there/events.db") == ["there"]
    assert names(log_path()) == ["by xdg"]


def test_a_thousand_emits_with_nobody_alive_take_the_dead_bells_down_once(home: Path) -> None:
    """200 bells of processes that were killed: the first emit clears them, the others ring nobody. The time each takes is
    measured by bench/store.py; a unit test that fails by the clock fails on a busy machine."""
    bells_dir().mkdir(parents=True, mode=0o700)
    for _ in range(200):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as owner:
            owner.bind(os.fspath(bells_dir() / os.urandom(8).hex()))
    assert emit(event()).inserted
    assert os.listdir(bells_dir()) == []
    for _ in range(999):
        emit(event())
    assert shared().head() == 1000


def test_what_is_no_event_never_reaches_the_log() -> None:
    with pytest.raises(InvalidEvent):
        emit(EventInsert(source="agent", event_type="No Name"))
    assert not log_path().exists()


def test_threads_of_one_process_may_all_emit() -> None:
    """F17, the first part: 8 x 1,000."""
    threads = [threading.Thread(target=lambda n=n: [emit(event(f"{n} {k}")) for k in range(1000)]) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    written = [row.delivery_id for row in rows(shared())]
    assert len(written) == len(set(written)) == 8000
    for n in range(8):
        assert [name for name in written if name.startswith(f"{n} ")] == [f"{n} {k}" for k in range(1000)]


def test_a_producer_needs_no_more_than_a_home(home: Path) -> None:
    """F23, the producer's part: cron, `env -i`, sudo: no runtime directory is asked for."""
    bell = Bell(home / ".local/state/waitbus/bells")
    code = (
        "from waitbus.events import EventInsert; from waitbus.producer import emit\n"
        "emit(EventInsert(source='a', event_type='b'))"
    )
    empty = {name: "" for name in os.environ if name.startswith(("WAITBUS_", "XDG_"))}
    finish([python(code, env=empty)])
    assert rung(bell)
    bell.close()


async def test_emit_does_not_block_the_loop_while_the_log_is_busy() -> None:
    """`aemit`: other tasks go on; when the lock is free, it commits."""
    emit(event("before"))
    holder = shared_lock_holder()
    next(holder)
    done: list[str] = []

    async def patient() -> None:
        assert (await aemit(event("during"))).inserted
        done.append("emitted")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(patient)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        done.append("others went on")
        next(holder, None)
    assert done == ["others went on", "emitted"]


def shared_lock_holder():
    """The write lock of the log, between two calls of next."""
    with Log() as other:
        other.use(lambda db: db.execute("BEGIN IMMEDIATE"))
        yield
        other.use(lambda db: db.execute("ROLLBACK"))


def test_aemit_serves_asyncio_too() -> None:
    assert anyio.run(aemit, event("a"), backend="asyncio").inserted


async def test_a_cancelled_aemit_has_either_committed_or_not_begun() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await aemit(event("never"))
    assert scope.cancelled_caught
    with Log() as log:
        assert log.by_delivery_id("never") is None


def test_a_failed_emit_rings_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with Log() as log:
        log.append(event("before"))
    bell = Bell(bells_dir())
    impatient = Log(busy_timeout=0)
    monkeypatch.setattr(producer, "shared", lambda path: impatient)
    holder = shared_lock_holder()
    next(holder)
    with pytest.raises(LogBusy):
        emit(event("during"))
    next(holder, None)
    impatient.close()
    assert bell.drain() == set()
    bell.close()


def test_what_follows_the_commit_cannot_fail_the_emit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is in the log: whoever called must not think that it is not."""

    def broken(*_: object) -> None:
        raise LogError("pruning broke")

    monkeypatch.setattr("waitbus.store.retention.Pruner.step", broken)
    monkeypatch.setattr("waitbus.store.retention.EVERY", 1)
    assert emit(event("a")).inserted
    bells_dir().write_text("a file where the bells should be")
    assert emit(event("b")).inserted
