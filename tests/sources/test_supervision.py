"""Sources under supervision: again after each end, later each time; what they say of their health; nothing lost by a bad log."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from waitbus.errors import LogFull, WaitbusError
from waitbus.events import EventInsert
from waitbus.paths import log_path
from waitbus.predicate import Predicate, Wanted
from waitbus.producer import emit_all
from waitbus.sources.contract import Emitter
from waitbus.sources.embedding import Embedded
from waitbus.sources.supervision import CHANGES_MAX, REASON_MAX, RETRY, RETRY_MAX, STEADY, Health, Supervised
from waitbus.store import Log

Act = Callable[[Emitter, Any], Any]


class Scripted:
    """A source whose runs are the given functions, one after the other, the last one again and again."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.runs: list[float] = []

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.runs.append(trio.current_time())
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        await act(bus, task_status)


def event(name: str, **kwargs: Any) -> EventInsert:
    return EventInsert(source="fs", event_type="fs_change", delivery_id=name, **kwargs)


async def hears(bus: Emitter, task_status: Any) -> None:
    task_status.started()
    await trio.sleep_forever()


async def fails(bus: Emitter, task_status: Any) -> None:
    raise WaitbusError("the socket refuses", hint="start it")


async def begins_and_fails(bus: Emitter, task_status: Any) -> None:
    task_status.started()
    raise RuntimeError("boom")


@asynccontextmanager
async def running(*several: Supervised) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for one in several:
            await nursery.start(one.run)
        yield
        nursery.cancel_scope.cancel()


def said(log: Log) -> list[tuple[str, str]]:
    return [(row.event_type, row.summary) for row in log.page(0).rows if row.source == "waitbus"]


async def test_it_begins_when_its_first_run_has() -> None:
    supervised = Supervised("fs", Scripted(hears))
    states = [supervised.health.state]
    async with running(supervised):
        states.append(supervised.health.state)
    assert states == ["starting", "up"]


async def test_a_first_run_that_fails_holds_up_nobody(autojump_clock: MockClock) -> None:
    supervised = Supervised("fs", Scripted(fails, hears), tells=False)
    async with running(supervised):
        health = attrs.evolve(supervised.health)
        await trio.sleep(RETRY)
    assert (health.state, health.reason, health.retry_at is None) == ("down", "the socket refuses", False)
    assert (supervised.health.state, supervised.health.retry_at) == ("up", None)


async def test_each_run_comes_later_than_the_one_before(autojump_clock: MockClock) -> None:
    source = Scripted(begins_and_fails)
    supervised = Supervised("fs", source, tells=False)
    async with running(supervised):
        await trio.sleep(400)
        pauses = [b - a for a, b in zip(source.runs, source.runs[1:], strict=False)]
        longest = [min(RETRY * 2**number, RETRY_MAX) for number in range(len(pauses))]
        assert len(pauses) >= 8
        assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))


async def test_a_source_that_was_steady_is_tried_at_once_again(autojump_clock: MockClock) -> None:
    async def steady(bus: Emitter, task_status: Any) -> None:
        task_status.started()
        await trio.sleep(STEADY + 1)  # not STEADY: what is left of a sum of floats may be a little less

    source = Scripted(*[begins_and_fails] * 6, steady, hears)
    async with running(Supervised("fs", source, tells=False)):
        await trio.sleep(400)
        assert source.runs[7] - source.runs[6] <= STEADY + 1 + RETRY


async def test_going_down_and_coming_back_are_events_once_each() -> None:
    supervised = Supervised("docker", Scripted(hears, hears))
    async with running(supervised):
        supervised.down("the engine is gone", retry_s=2)
        supervised.down("the engine is gone", retry_s=4)
        await supervised.emit(event("a"))
        with Log(log_path()) as log:
            assert said(log) == [("source_down", "docker down the engine is gone"), ("source_up", "docker up")]
            assert [row.event_type for row in log.page(0).rows] == ["source_down", "source_up", "fs_change"]


async def test_a_change_is_written_though_no_event_follows() -> None:
    supervised = Supervised("docker", Scripted(hears))
    async with running(supervised):
        supervised.down("the engine is gone")
        with Log(log_path()) as log, trio.fail_after(5):
            while not said(log):
                await trio.lowlevel.checkpoint()


async def test_a_source_that_begins_without_its_other_side_is_down_until_it_hears() -> None:
    async def tries(bus: Emitter, task_status: Any) -> None:
        bus.down("nobody listens")
        task_status.started()
        await trio.sleep_forever()

    seen: list[str] = []
    supervised = Supervised("docker", Scripted(tries), changed=lambda health: seen.append(health.state))
    async with running(supervised):
        assert supervised.health.state == "down"
        supervised.up()
        assert seen == ["down", "up"]


async def test_a_log_that_cannot_be_written_holds_the_source_up_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervised = Supervised("fs", Scripted(hears))
    async with running(supervised):
        real, refusals = emit_all, [LogFull("no space left", hint="make some")] * 3

        def refuse(events: Any, **given: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return real(events, **given)

        monkeypatch.setattr("waitbus.sources.supervision.emit_all", refuse)
        assert await supervised.emit(event("a"), event("b")) == 2
        assert (supervised.health.events, supervised.health.heard is not None) == (2, True)


async def test_an_event_that_is_known_is_not_counted() -> None:
    """F16: two watchers of one thing make one row."""
    first, second = Supervised("fs", Scripted(hears)), Supervised("fs", Scripted(hears))
    async with running(first, second):
        assert [await one.emit(event("same")) for one in (first, second)] == [1, 0]
        assert (first.health.events, second.health.events) == (1, 0)


async def test_an_embedded_source_writes_only_what_its_wait_is_for() -> None:
    async def speaks(bus: Emitter, task_status: Any) -> None:
        task_status.started()
        await bus.emit(event("a", fields={"path": "/a.py"}), event("b", fields={"path": "/b.txt"}))
        await bus.emit(event("c", payload_json='{"x": 1}', fields={"path": "/c.txt"}))
        await trio.sleep_forever()

    wanted = Wanted((Predicate.parse("path*=.py"), Predicate.parse("payload.x=1")))
    told: list[Health] = []
    embedded = Embedded("fs", Scripted(speaks), wanted, told.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(embedded, lambda *_: None))
        with Log(log_path()) as log, trio.fail_after(5):
            while log.head() < 2:
                await trio.lowlevel.checkpoint()
            assert [row.delivery_id for row in log.page(0).rows] == ["a", "c"]
        assert embedded.health.state == "up"
        nursery.cancel_scope.cancel()


async def test_an_end_by_itself_and_a_bug_are_said_in_words(autojump_clock: MockClock) -> None:
    async def ends(bus: Emitter, task_status: Any) -> None:
        task_status.started()

    reasons: list[str] = []
    supervised = Supervised(
        "fs", Scripted(ends, begins_and_fails, hears), tells=False, changed=lambda health: reasons.append(health.reason)
    )
    async with running(supervised):
        await trio.sleep(10)
        assert [reason for reason in reasons if reason] == ["it ended by itself", "RuntimeError: boom"]


async def test_what_fails_inside_of_a_nursery_is_said_and_not_the_group(autojump_clock: MockClock) -> None:
    async def grouped(bus: Emitter, task_status: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, bus, task_status)

    async def leaves(bus: Emitter, task_status: Any) -> None:
        raise SystemExit("no more of this")

    reasons: list[str] = []
    supervised = Supervised(
        "fs", Scripted(grouped, leaves, hears), tells=False, changed=lambda health: reasons.append(health.reason)
    )
    async with running(supervised):
        await trio.sleep(10)
        assert [reason for reason in reasons if reason] == ["the socket refuses", "SystemExit: no more of this"]


async def test_a_reason_is_one_line_of_bounded_length(autojump_clock: MockClock) -> None:
    async def rambles(bus: Emitter, task_status: Any) -> None:
        raise WaitbusError("a\nb " + "x" * 1_000_000)

    supervised = Supervised("fs", Scripted(rambles), tells=False)
    async with running(supervised):
        assert supervised.health.reason == "a b " + "x" * (REASON_MAX - 4)


async def test_a_source_that_the_log_says_is_down_says_that_it_is_up() -> None:
    """The daemon that ran it before was killed."""
    async with running(Supervised("docker", Scripted(hears), was_down=True)):
        with Log(log_path()) as log, trio.fail_after(5):
            while not said(log):
                await trio.lowlevel.checkpoint()
            assert said(log) == [("source_up", "docker up")]


async def test_what_was_heard_is_committed_though_the_source_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a grace, even where the log refuses at that moment; without one, none of it."""
    real, refusals = emit_all, [LogFull("no space left", hint="make some")] * 4

    def refuse(events: Any, **given: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return real(events, **given)

    monkeypatch.setattr("waitbus.sources.supervision.emit_all", refuse)
    for name, grace in (("kept", 2.0), ("lost", 0.0)):
        supervised = Supervised("fs", Scripted(hears), grace=grace)
        refusals[:] = [LogFull("no space left", hint="make some")] * 4
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervised.emit, event(name))
            while len(refusals) > 3:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        refusals.clear()
    with Log(log_path()) as log:
        assert [row.delivery_id for row in log.page(0).rows] == ["kept"]


async def test_a_source_that_nobody_runs_any_more_says_so_once() -> None:
    supervised = Supervised("docker", Scripted(hears), grace=2.0)
    async with running(supervised):
        pass
    await supervised.farewell("the daemon was stopped")
    await supervised.farewell("the daemon was stopped")
    with Log(log_path()) as log:
        assert said(log) == [("source_down", "docker down the daemon was stopped")]


async def test_changes_that_wait_for_the_log_are_bounded_and_end_as_they_ended() -> None:
    supervised = Supervised("docker", Scripted(hears))
    async with running(supervised):
        async with supervised._alone:  # a log that is held up
            for number in range(1000):
                supervised.down(f"for the {number}th time")
                supervised.up()
            supervised.down("at last")
        with trio.fail_after(5):
            while supervised._changes:
                await trio.lowlevel.checkpoint()
    with Log(log_path()) as log:
        told = said(log)
    assert len(told) <= CHANGES_MAX + 1
    assert told[-1] == ("source_down", "docker down at last")
    assert all(one[0] != other[0] for one, other in itertools.pairwise(told))
