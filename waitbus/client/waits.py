"""Waits: a plan fed by one subscription. The nursery holds the reader and the embedded sources, the first outcome cancels it, and
the time-out is the scope around it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs

from waitbus.client.beside import checked, implied, states_of
from waitbus.client.feed import Feed
from waitbus.client.loops import running_trio
from waitbus.client.plan import Answer, Outcome, Plan
from waitbus.client.steps import Note
from waitbus.client.subscription import (
    AsyncSubscription,
    Match,
    Subscription,
    Texts,
    path_of,
    refuse_in_loop,
    seconds_of,
)
from waitbus.errors import InvalidWait, LogError, PathError, TrioNeeded
from waitbus.predicate import Predicate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Any

    from anyio.abc import TaskGroup

    from waitbus.client.beside import Beside
    from waitbus.client.start import Start
    from waitbus.events import EventFrame
    from waitbus.predicate import Clause

    Meet = Callable[[Clause, Answer], None]
    """How a source says that the state of things has met a clause."""
    Watch = Callable[[Plan], None]


class Source(Protocol):
    """A source that a wait runs for itself, for as long as it waits. It may end; its failure is the wait's."""

    def __call__(self, meet: Meet, /, *, task_status: Any) -> Awaitable[object]:
        """Call `task_status.started()` once nothing that happens from then on can be missed."""


async def run(
    plan: Plan,
    subscription: AsyncSubscription | None,
    *,
    timeout: float | None = None,
    sources: Iterable[Source] = (),
    watch: Watch | None = None,
) -> Outcome:
    """Feed `plan` from `subscription` until it decides or `timeout` (s, of awake time) is over.

    Without a subscription (nothing of the log is waited for) the sources alone decide. `sources` run in the same nursery for as
    long. `watch` is called when all is armed and after every event that the plan looked at.
    """
    import anyio

    timeout = seconds_of(timeout)
    wait = _Wait(plan, subscription, timeout, sources, watch)
    with anyio.move_on_after(timeout):
        async with anyio.create_task_group() as wait.nursery:
            await wait.guarded(wait.decided)
    if wait.failure is not None:
        raise wait.failure
    return plan.time_out() if wait.outcome is None else wait.outcome


@attrs.define
class _Wait:
    """One `run`: the nursery of the reader and the sources, and what ended it."""

    plan: Plan
    subscription: AsyncSubscription | None
    timeout: float | None
    sources: Iterable[Source]
    watch: Watch | None
    nursery: TaskGroup = attrs.field(init=False)
    outcome: Outcome | None = None
    failure: Exception | None = None
    armed: bool = False
    """The sources have begun, too."""

    async def guarded(self, work: Source, *, task_status: Any = None) -> None:
        # The first failure is raised as it is, outside of the nursery: callers are promised types, not groups of them.
        try:
            await work(self.meet, task_status=task_status)
        except Exception as error:
            self.failure = self.failure or error
            self.nursery.cancel_scope.cancel()

    async def decided(self, _: Meet, *, task_status: Any) -> None:
        subscription, plan = self.subscription, self.plan
        if subscription is not None:
            subscription.session.hurry(self.timeout)
            await subscription.arm()
        for source in self.sources:
            await self.nursery.start(self.guarded, source)
        self.armed = True
        if self.outcome is not None:
            return
        if self.watch is not None:
            self.watch(plan)
        if subscription is not None:
            await self.read(subscription)

    async def read(self, subscription: AsyncSubscription) -> None:
        plan = self.plan
        self.decide(_begin(plan, subscription) if plan.states else None)
        while self.outcome is None:
            self.decide(await _read(plan, subscription, self.watch))

    def meet(self, clause: Clause, answer: Answer) -> None:
        self.decide(self.plan.meet(clause, answer))
        if self.watch is not None and self.outcome is None and self.armed:
            self.watch(self.plan)

    def decide(self, found: Outcome | None) -> None:
        if found is not None and self.outcome is None:
            self.outcome = found
            self.nursery.cancel_scope.cancel()


def _begin(plan: Plan, subscription: AsyncSubscription | Subscription) -> Outcome | None:
    """Let the states look at the past. A sandbox may have the socket and no log: what comes from now on has to do there."""
    try:
        return plan.begin(subscription.session.log, time.monotonic())
    except (LogError, PathError) as error:
        subscription.tell(
            Note("past", f"the past cannot be looked at ({error.message}); what comes from now on counts")
        )
        return None


async def _read(plan: Plan, subscription: AsyncSubscription, watch: Watch | None) -> Outcome | None:
    import anyio

    frame, wake_at = None, plan.wake_at
    with anyio.move_on_after(None if wake_at is None else max(0.0, wake_at - time.monotonic())):
        frame = await subscription.__anext__()
    return _look(plan, subscription, frame, watch)


def _look(
    plan: Plan, subscription: AsyncSubscription | Subscription, frame: EventFrame | None, watch: Watch | None
) -> Outcome | None:
    now = time.monotonic()
    outcome = plan.tick(now) if frame is None else plan.feed(frame, subscription.document(frame), now)
    if watch is not None and outcome is None:
        watch(plan)
    return outcome


def run_sync(
    plan: Plan, subscription: Subscription, *, timeout: float | None = None, watch: Watch | None = None
) -> Outcome:
    """`run` in this thread, without embedded sources, and without the 100 ms and 10 MB that a loop costs."""
    timeout = seconds_of(timeout)
    end = float("inf") if timeout is None else time.monotonic() + timeout
    subscription.deadline = end
    subscription.session.hurry(timeout)
    subscription.arm()
    if not subscription.armed:
        return plan.time_out()
    if watch is not None:
        watch(plan)
    outcome = _begin(plan, subscription) if plan.states else None
    while outcome is None:
        wake_at = plan.wake_at
        subscription.deadline = end if wake_at is None else min(end, wake_at)
        outcome = _look(plan, subscription, next(subscription, None), watch)
        if outcome is None and time.monotonic() >= end:
            return plan.time_out()
    return outcome


def plan_of(
    match: Match,
    source: Texts,
    to: str | None,
    all_of: Iterable[str] | None,
    first_of: Iterable[str | Clause] | None,
    none_of: Iterable[str] | None,
    fail_on: Iterable[str] | None,
    timeout: float | None,
    count: int,
    in_order: bool,
    fail_fast: bool,
    sources: Sequence[Beside] = (),
) -> Plan:
    """The plan of a library call's keywords."""
    plain = match is not None or source is not None or to is not None
    states = states_of(sources)
    if not plain and not states and not any((all_of, first_of, none_of, fail_on)):
        first_of = implied(sources)
        if not first_of:
            raise InvalidWait(
                "nothing to wait for", hint="give match, source, to, all_of, first_of, none_of, fail_on or sources"
            )
    return Plan.of(
        Predicate.parse(match, source=source, to=to) if plain else None,
        all_of=all_of or (),
        first_of=first_of or (),
        none_of=none_of or (),
        fail_on=fail_on or (),
        states=states,
        count=count,
        in_order=in_order,
        fail_fast=fail_fast,
        has_timeout=timeout is not None,
    )


def decide(
    match: Match = None,
    *,
    source: Texts = None,
    to: str | None = None,
    all_of: Iterable[str] | None = None,
    first_of: Iterable[str] | None = None,
    none_of: Iterable[str] | None = None,
    fail_on: Iterable[str] | None = None,
    timeout: float | None = None,
    since: str | Start | None = None,
    count: int = 1,
    in_order: bool = False,
    fail_fast: bool = False,
    sources: Iterable[Beside] = (),
    socket_path: Path | str | None = None,
) -> Outcome:
    """Wait in this thread, and answer how it ended: which event, which clause, which verdict, which exit code.

    `timeout` is in s. `sources` are what the wait watches by itself, for as long as it waits: `watch_files`, `watch_process`,
    `ready_port` and the like. Raises what `wait_for` raises.
    """
    refuse_in_loop("decide", "adecide")
    beside = checked(sources)
    if beside:
        return _under_trio(
            partial(
                adecide, match, source=source, to=to, all_of=all_of, first_of=first_of, none_of=none_of, fail_on=fail_on,
                timeout=timeout, since=since, count=count, in_order=in_order, fail_fast=fail_fast, sources=beside,
                socket_path=socket_path,
            )
        )  # fmt: skip
    plan = plan_of(match, source, to, all_of, first_of, none_of, fail_on, timeout, count, in_order, fail_fast)
    subscription = Subscription(Feed(plan.wanted, since, path=path_of(socket_path)))
    try:
        return run_sync(plan, subscription, timeout=timeout)
    finally:
        subscription.close()


async def adecide(
    match: Match = None,
    *,
    source: Texts = None,
    to: str | None = None,
    all_of: Iterable[str] | None = None,
    first_of: Iterable[str] | None = None,
    none_of: Iterable[str] | None = None,
    fail_on: Iterable[str] | None = None,
    timeout: float | None = None,
    since: str | Start | None = None,
    count: int = 1,
    in_order: bool = False,
    fail_fast: bool = False,
    sources: Iterable[Beside] = (),
    socket_path: Path | str | None = None,
) -> Outcome:
    """`decide`, for trio and asyncio. With `sources` for trio alone.

    Raises:
      TrioNeeded: `sources` are given, and asyncio runs here.
    """
    from waitbus.client.drive import loop_key

    beside = checked(sources)
    if beside and running_trio() is None:
        raise TrioNeeded(
            "sources of a wait run under trio, and another event loop runs here",
            hint="call `waitbus.decide(..., sources=...)` in a thread, as by anyio.to_thread.run_sync",
        )
    plan = plan_of(match, source, to, all_of, first_of, none_of, fail_on, timeout, count, in_order, fail_fast, beside)
    wanted = plan.wanted
    subscription = AsyncSubscription(Feed(wanted, since, path=path_of(socket_path), key=loop_key))
    try:
        running = [one.source(wanted, subscription.tell, subscription.session) for one in beside]
        return await run(plan, subscription if wanted.alternatives else None, timeout=timeout, sources=running)
    finally:
        subscription.close()


def _under_trio(call: Callable[[], Awaitable[Outcome]]) -> Outcome:
    import trio

    return trio.run(call)


def wait_for(
    match: Match = None,
    *,
    source: Texts = None,
    to: str | None = None,
    all_of: Iterable[str] | None = None,
    first_of: Iterable[str] | None = None,
    none_of: Iterable[str] | None = None,
    fail_on: Iterable[str] | None = None,
    timeout: float | None = None,
    since: str | Start | None = None,
    sources: Iterable[Beside] = (),
    socket_path: Path | str | None = None,
) -> EventFrame | None:
    """The event that ends the wait, None if `timeout` (s) is over first. `decide` answers more.

    `match`, `source` and `to` say which event; `all_of`, `first_of`, `none_of`, `fail_on` are clauses
    (`"pytest:conclusion=failure"`). Events behind `since` count, so "is it so already?" and "when will it be so?" are one
    question. `sources` are watched for as long as it waits; what only is so (a port that is open) has no event: `decide` tells it
    from a time-out.

    Raises:
      InvalidPredicate, InvalidWait, InvalidCursor: what was asked for is not of its form.
      RunningLoopError: an event loop runs in this thread; `await_for` is what to call there.
      SourceUnavailable, Offline: one of `sources` cannot be run.
      LogError: there is no daemon, and the log cannot be read.
    """
    refuse_in_loop("wait_for", "await_for")
    outcome = decide(
        match, source=source, to=to, all_of=all_of, first_of=first_of, none_of=none_of, fail_on=fail_on,
        timeout=timeout, since=since, sources=sources, socket_path=socket_path,
    )  # fmt: skip
    return outcome.frame


async def await_for(
    match: Match = None,
    *,
    source: Texts = None,
    to: str | None = None,
    all_of: Iterable[str] | None = None,
    first_of: Iterable[str] | None = None,
    none_of: Iterable[str] | None = None,
    fail_on: Iterable[str] | None = None,
    timeout: float | None = None,
    since: str | Start | None = None,
    sources: Iterable[Beside] = (),
    socket_path: Path | str | None = None,
) -> EventFrame | None:
    """`wait_for`, for trio and asyncio."""
    outcome = await adecide(
        match, source=source, to=to, all_of=all_of, first_of=first_of, none_of=none_of, fail_on=fail_on,
        timeout=timeout, since=since, sources=sources, socket_path=socket_path,
    )  # fmt: skip
    return outcome.frame
