"""Waits: a plan fed by one subscription. The nursery holds the reader and the embedded sources, the first outcome cancels it, and
the time-out is the scope around it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from waitbus.client.feed import Feed
from waitbus.client.plan import Outcome, Plan
from waitbus.client.subscription import AsyncSubscription, Subscription, Texts, refuse_in_loop
from waitbus.errors import InvalidWait
from waitbus.predicate import Predicate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from waitbus.client.start import Start
    from waitbus.events import EventFrame

    Source = Callable[[], Awaitable[object]]



async def run(
    plan: Plan,
    subscription: AsyncSubscription,
    *,
    timeout: float | None = None,
    sources: Iterable[Source] = (),
    watch: Callable[[Plan], None] | None = None,
) -> Outcome:
    """Feed `plan` from `subscription` until it decides or `timeout` (s, of awake time) is over.

    `sources` run in the same nursery for as long; they may end, and their failure is the wait's. `watch` is called when it is
    armed and after every event that the plan looked at.
    """
    import anyio

    outcome: Outcome | None = None
    failure: Exception | None = None

    async def guarded(work: Source) -> None:
        # The first failure is raised as it is, outside of the nursery: callers are promised types, not groups of them.
        nonlocal failure
        try:
            await work()
        except Exception as error:
            failure = failure or error
            nursery.cancel_scope.cancel()

    async def read() -> None:
        nonlocal outcome
        await subscription.arm()
        for source in sources:
            nursery.start_soon(guarded, source)
        if watch is not None:
            watch(plan)
        outcome = await _read(plan, subscription, watch)
        nursery.cancel_scope.cancel()

    with anyio.move_on_after(timeout):
        async with anyio.create_task_group() as nursery:
            await guarded(read)
    if failure is not None:
        raise failure
    return plan.time_out() if outcome is None else outcome


async def _read(plan: Plan, subscription: AsyncSubscription, watch: Callable[[Plan], None] | None) -> Outcome:
    import anyio

    while True:
        frame, wake_at = None, plan.wake_at
        with anyio.move_on_after(None if wake_at is None else max(0.0, wake_at - time.monotonic())):
            frame = await subscription.__anext__()
        outcome = _look(plan, subscription, frame)
        if watch is not None:
            watch(plan)
        if outcome is not None:
            return outcome


def _look(plan: Plan, subscription: AsyncSubscription | Subscription, frame: EventFrame | None) -> Outcome | None:
    now = time.monotonic()
    if frame is None:
        return plan.tick(now)
    return plan.feed(frame, subscription.document(frame), now)


def run_sync(plan: Plan, subscription: Subscription, *, timeout: float | None = None) -> Outcome:
    """`run` in this thread, without embedded sources."""
    end = float("inf") if timeout is None else time.monotonic() + timeout
    subscription.deadline = end
    subscription.arm()
    while True:
        wake_at = plan.wake_at
        subscription.deadline = end if wake_at is None else min(end, wake_at)
        outcome = _look(plan, subscription, next(subscription, None))
        if outcome is not None:
            return outcome
        if time.monotonic() >= end:
            return plan.time_out()


def plan_of(
    match: Texts,
    source: Texts,
    to: str | None,
    all_of: Iterable[str] | None,
    first_of: Iterable[str] | None,
    none_of: Iterable[str] | None,
    fail_on: Iterable[str] | None,
    timeout: float | None,
    count: int,
    in_order: bool,
    fail_fast: bool,
) -> Plan:
    """The plan of a library call's keywords."""
    plain = match is not None or source is not None or to is not None
    if not plain and not any((all_of, first_of, none_of, fail_on)):
        raise InvalidWait("nothing to wait for", hint="give match, source, to, all_of, first_of, none_of or fail_on")
    return Plan.of(
        Predicate.parse(match, source=source, to=to) if plain else None,
        all_of=all_of or (),
        first_of=first_of or (),
        none_of=none_of or (),
        fail_on=fail_on or (),
        count=count,
        in_order=in_order,
        fail_fast=fail_fast,
        has_timeout=timeout is not None,
    )


def decide(
    match: Texts = None,
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
    socket_path: Path | str | None = None,
) -> Outcome:
    """Wait in this thread, and answer how it ended: which event, which clause, which verdict, which exit code.

    `timeout` is in s. Raises what `wait_for` raises.
    """
    refuse_in_loop("decide", "adecide")
    plan = plan_of(match, source, to, all_of, first_of, none_of, fail_on, timeout, count, in_order, fail_fast)
    subscription = Subscription(Feed(plan.wanted, since, path=_path(socket_path)))
    try:
        return run_sync(plan, subscription, timeout=timeout)
    finally:
        subscription.close()


async def adecide(
    match: Texts = None,
    *,
    source: Texts = None,
    to: str | None = None,
    all_of: Iterable[str] | None = None,
    first_of: Iterable[str] | None = None,
    none_of: Iterable[str] | None = None,
    fail_on: Iterable[str] | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - the same keywords as `decide`
    since: str | Start | None = None,
    count: int = 1,
    in_order: bool = False,
    fail_fast: bool = False,
    socket_path: Path | str | None = None,
) -> Outcome:
    """`decide`, for trio and asyncio."""
    from waitbus.client.drive import loop_key

    plan = plan_of(match, source, to, all_of, first_of, none_of, fail_on, timeout, count, in_order, fail_fast)
    subscription = AsyncSubscription(Feed(plan.wanted, since, path=_path(socket_path), key=loop_key()))
    try:
        return await run(plan, subscription, timeout=timeout)
    finally:
        subscription.close()


def wait_for(
    match: Texts = None,
    *,
    source: Texts = None,
    to: str | None = None,
    all_of: Iterable[str] | None = None,
    first_of: Iterable[str] | None = None,
    none_of: Iterable[str] | None = None,
    fail_on: Iterable[str] | None = None,
    timeout: float | None = None,
    since: str | Start | None = None,
    socket_path: Path | str | None = None,
) -> EventFrame | None:
    """The event that ends the wait, None if `timeout` (s) is over first. `decide` answers more.

    `match`, `source` and `to` say which event; `all_of`, `first_of`, `none_of`, `fail_on` are clauses
    (`"pytest:conclusion=failure"`). Events behind `since` count, so "is it so already?" and "when will it be so?" are one question.

    Raises:
      InvalidPredicate, InvalidWait, InvalidCursor: what was asked for is not of its form.
      RunningLoopError: an event loop runs in this thread; `await_for` is what to call there.
      LogError: there is no daemon, and the log cannot be read.
    """
    refuse_in_loop("wait_for", "await_for")
    outcome = decide(
        match, source=source, to=to, all_of=all_of, first_of=first_of, none_of=none_of, fail_on=fail_on,
        timeout=timeout, since=since, socket_path=socket_path,
    )  # fmt: skip
    return outcome.frame


async def await_for(
    match: Texts = None,
    *,
    source: Texts = None,
    to: str | None = None,
    all_of: Iterable[str] | None = None,
    first_of: Iterable[str] | None = None,
    none_of: Iterable[str] | None = None,
    fail_on: Iterable[str] | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - the same keywords as `wait_for`
    since: str | Start | None = None,
    socket_path: Path | str | None = None,
) -> EventFrame | None:
    """`wait_for`, for trio and asyncio."""
    outcome = await adecide(
        match, source=source, to=to, all_of=all_of, first_of=first_of, none_of=none_of, fail_on=fail_on,
        timeout=timeout, since=since, socket_path=socket_path,
    )  # fmt: skip
    return outcome.frame


def _path(path: Path | str | None) -> Path | None:
    from pathlib import Path

    return None if path is None else Path(path)
