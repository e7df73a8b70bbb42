"""What the daemon does for the log besides serving it: at the right time, and again when it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from waitbus import upkeep
from waitbus.config import Bytes, RetentionTable, Seconds
from waitbus.errors import LogBusy
from waitbus.events import EventInsert
from waitbus.store import Log
from waitbus.store.checkpoint import ROWS
from waitbus.upkeep import Upkeep


@pytest.fixture
def log(home: Path) -> Iterator[Log]:
    made = Log(home / "s" / "events.db")
    made.append_many(EventInsert(source="t", event_type="tick") for _ in range(1200))
    yield made
    made.close()


async def test_a_checkpoint_when_enough_rows_came_by(
    log: Log, autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each sweep, and not twice at once; one that fails is tried again with the next rows."""
    at: list[float] = []

    def checkpoint(path: Path) -> int:
        at.append(now[0])
        if len(at) == 1:
            raise LogBusy("busy")
        return 0

    async def inline(work: Callable[[Path], int], path: Path) -> int:  # a thread is not on our clock
        return work(path)

    monkeypatch.setattr(upkeep, "checkpoint", checkpoint)
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    kept = Upkeep(log.path, RetentionTable)
    now = [0.0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept._checkpoints)
        for second in range(4):
            now[0] = second
            kept.swept(ROWS // 2)
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert at == [1, 3]


async def test_what_has_expired_leaves(log: Log) -> None:
    """By the configuration in force when it looks; the newest row stays."""
    setting = [RetentionTable()]
    kept = Upkeep(log.path, lambda: setting[0])
    await kept.prune()
    assert log.facts().first == 1
    setting[0] = RetentionTable(max_age=Seconds(1e-9))
    log.write(lambda db: db.execute("UPDATE events SET at_ms = at_ms - 10000"))
    await kept.prune()
    facts = log.facts()
    assert (facts.first, facts.last, facts.pruned_to) == (1200, 1200, 1199)
    assert kept.rows >= 1199  # what was deleted is in the WAL, too


async def test_retention_that_fails_is_said_and_tried_again(
    log: Log, autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten minutes later; nothing else of the daemon ends."""
    at: list[float] = []

    async def prune(self: Upkeep) -> None:
        at.append(trio.current_time())
        raise LogBusy("the log is locked")

    monkeypatch.setattr(Upkeep, "prune", prune)
    with trio.move_on_after(1300):
        await Upkeep(log.path, RetentionTable)._retention()
    assert [round(time - at[0]) for time in at] == [0, 600, 1200]
    assert caplog.messages == ["retention has to wait: the log is locked"] * 3


async def test_many_rows_are_a_reason_to_look_before_the_time(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that may have 1 GiB is not to have 10 after ten minutes."""
    looks: list[int] = []
    looked = [trio.Event(), trio.Event()]

    async def prune(self: Upkeep) -> None:
        looked[len(looks)].set()
        looks.append(self.came)

    monkeypatch.setattr(Upkeep, "prune", prune)
    kept = Upkeep(log.path, RetentionTable)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept._retention)
        await looked[0].wait()
        kept.swept(upkeep.RETENTION_ROWS - 1)
        await trio.testing.wait_all_tasks_blocked()
        assert len(looks) == 1
        kept.swept(1)
        await looked[1].wait()
        nursery.cancel_scope.cancel()


async def test_pruning_rests_between_chunks_unless_the_log_is_far_too_large(
    log: Log, autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Producers come first, until they are faster than whoever prunes."""

    async def inline(work: Callable[[], int]) -> int:
        return work()

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    for table, rests in (
        (RetentionTable(max_age=Seconds(1e-9)), True),
        (RetentionTable(max_age=None, max_size=Bytes(1)), False),
    ):
        log.append_many(EventInsert(source="t", event_type="tick") for _ in range(1200))
        log.write(lambda db: db.execute("UPDATE events SET at_ms = at_ms - 10000"))
        began = trio.current_time()
        await Upkeep(log.path, lambda table=table: table).prune()  # type: ignore[misc]
        assert log.facts().first == log.facts().last
        assert (trio.current_time() - began > upkeep.CHUNK_PAUSE) is rests
