"""Composed waits, and those that run sources of their own: one nursery with the reader, the sources and an ear for signals; the
first outcome cancels it, and the time-out is the cancel scope around it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from waitbus.cli import output
from waitbus.client.drive import loop_key
from waitbus.client.feed import Feed
from waitbus.client.subscription import AsyncSubscription
from waitbus.client.waits import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waitbus.cli.asking import Asked
    from waitbus.cli.telling import Teller
    from waitbus.client.beside import Beside
    from waitbus.client.plan import Outcome, Plan
    from waitbus.client.waits import Source
    from waitbus.predicate import Wanted

STOPPED = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}


class Ear:
    """Hears SIGINT, SIGTERM and those of `besides`, but for what is ignored, and cancels `scope` then; `heard` is the signal."""

    def __init__(self, scope: trio.CancelScope, besides: dict[signal.Signals, tuple[str, int]] | None = None) -> None:
        self._scope = scope
        self._stopped = {**STOPPED, **(besides or {})}
        self.heard: signal.Signals | None = None

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        wanted = [number for number in self._stopped if signal.getsignal(number) is not signal.SIG_IGN]
        with trio.open_signal_receiver(*wanted) as signals:
            task_status.started()
            async for number in signals:
                self.heard = signal.Signals(number)
                self._scope.cancel()
                return

    def stopped(self, teller: Teller) -> int:
        """Say that a signal ended it."""
        assert self.heard is not None
        if self.heard == signal.SIGINT:
            output.end_of_line()
        return teller.stopped(*self._stopped[self.heard])


def under_trio(asked: Asked, plan: Plan, teller: Teller, beside: Sequence[Beside]) -> int:
    """Wait under trio, with what the wait looks after by itself; gives the exit code."""

    async def main() -> int:
        outcome: Outcome | None = None
        async with trio.open_nursery() as nursery:
            ear = Ear(nursery.cancel_scope)
            await nursery.start(ear.listen)
            outcome = await _wait(asked, plan, teller, beside)
            nursery.cancel_scope.cancel()
        if outcome is not None:
            return teller.end(outcome, plan)
        return ear.stopped(teller)

    return trio.run(main)


async def _wait(asked: Asked, plan: Plan, teller: Teller, beside: Sequence[Beside]) -> Outcome:
    subscription = subscribed(asked, plan.wanted, teller)
    try:
        sources = begun(beside, plan.wanted, teller, subscription)
        return await run(plan, subscription, timeout=asked.timeout, sources=sources, watch=teller.watch)
    finally:
        if subscription is not None:
            subscription.close()


def subscribed(asked: Asked, wanted: Wanted, teller: Teller) -> AsyncSubscription | None:
    """The events of a wait; None where nothing of the log is waited for, so that it need not be there."""
    if not wanted.alternatives:
        return None
    feed = Feed(wanted, asked.start, strict=asked.strict, told=teller.notice, key=loop_key)
    teller.attach(feed.session)
    return AsyncSubscription(feed)


def begun(
    beside: Sequence[Beside], wanted: Wanted, teller: Teller, subscription: AsyncSubscription | None
) -> list[Source]:
    """The sources of one wait; says what is asked again and again.

    Raises:
      WaitbusError: one of them cannot be run.
    """
    if not beside:
        return []
    from waitbus.sources.ready import asking
    from waitbus.sources.watched import Watched

    teller.watched = [one for one in beside if isinstance(one, Watched)]
    session = None if subscription is None else subscription.session
    sources = [one.source(wanted, teller.notice, session) for one in beside]
    if polled := asking(beside):
        output.talk(f"waitbus: {polled}", dim=True)
    return sources
