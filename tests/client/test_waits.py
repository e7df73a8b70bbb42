"""`waits.run`: the nursery of the reader and its sources, and the time-out around it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.logs import tell
from waitbus.client.drive import loop_key
from waitbus.client.feed import Feed
from waitbus.client.plan import Answer, Outcome, Plan
from waitbus.client.steps import Gap, Note
from waitbus.client.subscription import AsyncSubscription, Subscription
from waitbus.client.waits import run, run_sync
from waitbus.document import Document
from waitbus.errors import LogFull, LogUnavailable
from waitbus.events import EventFrame
from waitbus.predicate import Clause, Predicate
from waitbus.store import Log

DOOR = Clause("--door", Predicate.parse("event_type=door"))


class Door:
    """A state that opens at a moment, at what the log has, or from outside."""

    alternatives = (DOOR.predicate,)
    missing = ""

    def __init__(self) -> None:
        self.wake_at: float | None = None
        self.rows = -1

    def begin(self, log: Log, now: float) -> None:
        self.rows = log.head()
        self.wake_at = now + 0.05

    def feed(self, frame: EventFrame, document: Document, now: float) -> Answer | None:
        return self.tick(now)

    def tick(self, now: float) -> Answer | None:
        return Answer("success") if self.wake_at is not None and now >= self.wake_at else None


@pytest.fixture
def door() -> Door:
    return Door()


async def wait(plan: Plan, *, timeout: float | None = 10, **keywords: Any) -> Outcome:
    subscription = AsyncSubscription(Feed(plan.wanted, key=loop_key))
    try:
        return await run(plan, subscription, timeout=timeout, **keywords)
    finally:
        subscription.close()


def plan(**given: Any) -> Plan:
    return Plan.of(**{"all_of": ["event_type=a", "event_type=b"], **given})


async def test_watch_is_called_when_all_is_armed_and_after_each_event() -> None:
    seen: list[int] = []

    def watch(plan: Plan) -> None:
        seen.append(len(plan.met))
        if len(seen) == 1:
            tell("a")
            tell("b")

    outcome = await wait(plan(), watch=watch)
    assert (outcome.kind, seen) == ("matched", [0, 1])


async def test_sources_are_armed_before_the_wait_says_so() -> None:
    order: list[str] = []

    async def source(_: Any, /, *, task_status: Any) -> None:
        await trio.testing.wait_all_tasks_blocked()
        order.append("source")
        task_status.started()
        tell("a")
        tell("b")
        await trio.sleep_forever()

    outcome = await wait(plan(), sources=[source], watch=lambda plan: order.append("armed") if not plan.met else None)
    assert (outcome.kind, order[:2]) == ("matched", ["source", "armed"])


async def test_a_source_that_ends_is_no_end_of_the_wait() -> None:
    async def source(_: Any, /, *, task_status: Any) -> None:
        task_status.started()

    assert (await wait(plan(), sources=[source], timeout=0.2)).kind == "timed_out"


@pytest.mark.parametrize("early", [True, False])
async def test_a_failure_of_a_source_is_raised_as_it_is(early: bool) -> None:
    async def source(_: Any, /, *, task_status: Any) -> None:
        if not early:
            task_status.started()
            await trio.lowlevel.checkpoint()
        raise LogFull("no space", hint="make some")

    with pytest.raises(LogFull, match="no space"):
        await wait(plan(), sources=[source])


@pytest.mark.parametrize("early", [True, False])
async def test_a_source_may_meet_a_clause_before_and_behind_being_armed(early: bool, door: Door) -> None:
    armed: list[Plan] = []

    async def source(meet: Any, /, *, task_status: Any) -> None:
        if not early:
            task_status.started()
            while not armed:
                await trio.lowlevel.checkpoint()
        meet(DOOR, Answer("failure"))
        task_status.started() if early else None

    door.begin = lambda log, now: None  # type: ignore[method-assign]
    outcome = await wait(Plan.of(states=[(DOOR, door)]), sources=[source], watch=armed.append)
    assert (outcome.kind, outcome.exit_code, outcome.clause) == ("matched", 1, DOOR)
    assert bool(armed) is not early


async def test_a_state_looks_at_the_log_once_armed_and_is_woken_in_time(door: Door) -> None:
    tell("x")
    outcome = await wait(Plan.of(states=[(DOOR, door)]))
    assert (outcome.kind, outcome.frame, door.rows) == ("matched", None, 1)


def test_a_state_without_a_loop(door: Door) -> None:
    tell("x")
    plan = Plan.of(states=[(DOOR, door)])
    with Subscription(Feed(plan.wanted)) as subscription:
        outcome = run_sync(plan, subscription, timeout=10)
    assert (outcome.kind, outcome.frame, door.rows) == ("matched", None, 1)


class Blind(Door):
    """A state that cannot look at the log, and opens with the first event."""

    def begin(self, log: Log, now: float) -> None:
        raise LogUnavailable("the log may not be read")

    def feed(self, frame: EventFrame, document: Document, now: float) -> Answer | None:
        return Answer("success", frame)


@pytest.mark.parametrize("loop", [True, False])
def test_a_state_that_cannot_look_at_the_log_goes_on_and_that_is_told_once(loop: bool) -> None:
    said: list[str] = []
    plan = Plan.of(states=[(DOOR, Blind())])

    def told(notice: Note | Gap) -> None:
        if isinstance(notice, Note) and notice.kind == "past":
            said.append(notice.text)
            tell("door")

    async def under_trio() -> Outcome:
        async with AsyncSubscription(Feed(plan.wanted, key=loop_key, told=told)) as subscription:
            return await run(plan, subscription, timeout=10)

    def without() -> Outcome:
        with Subscription(Feed(plan.wanted, told=told)) as subscription:
            return run_sync(plan, subscription, timeout=10)

    outcome = trio.run(under_trio) if loop else without()
    assert (outcome.kind, outcome.verdict, outcome.frame is not None) == ("matched", "success", True)
    assert said == ["the past cannot be looked at (the log may not be read); what comes from now on counts"]


async def test_the_time_out_cancels_sources(door: Door) -> None:
    ended: list[str] = []

    async def source(_: Any, /, *, task_status: Any) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            ended.append("source")

    outcome = await wait(plan(none_of=["event_type=n"]), sources=[source], timeout=0.1)
    assert (outcome.kind, outcome.exit_code, ended) == ("timed_out", 124, ["source"])


async def test_a_time_out_holds_while_events_flood_in() -> None:
    async def flood(_: Any, /, *, task_status: Any) -> None:
        task_status.started()
        while True:
            tell("a")
            await trio.lowlevel.checkpoint()

    counted = Plan.of(Predicate.parse("event_type=a"), count=10**9)
    with trio.fail_after(10):
        assert (await wait(counted, sources=[flood], timeout=0.2)).kind == "timed_out"
