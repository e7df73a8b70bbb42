"""`waitbus on`: run a command when it happens, once or each time."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import attrs
import trio

from waitbus.cli import output
from waitbus.cli.asking import Asked, asked, beside_options, clause_options, since_options, what_options
from waitbus.cli.command import Usage, command
from waitbus.cli.options import FINITE_DURATION, option, quiet_option, timeout_option
from waitbus.cli.reacting import Child, Command, terminal_is_ours
from waitbus.cli.telling import Teller
from waitbus.cli.waiting import Ear, begun, subscribed
from waitbus.client.beside import states_of
from waitbus.client.waits import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waitbus.client.beside import Beside
    from waitbus.client.plan import Answer, Outcome, Plan
    from waitbus.client.subscription import AsyncSubscription
    from waitbus.client.waits import Source
    from waitbus.predicate import Clause

CHILD = "The command"
STOP_TIMEOUT = 10.0
HUNG_UP = {signal.SIGHUP: ("hung up", 129)}
"""A terminal that is closed, too, ends the child and takes its file away."""


@command(
    "on",
    tail="command",
    examples=[
        ("waitbus on deploy_finished --since 1h -- sh -c 'echo $WAITBUS_EVENT_TYPE: $WAITBUS_CONCLUSION'", 0, "deploy"),
        ("waitbus on --gone build.lock --timeout 5s -- echo nobody builds", 0),
        ("waitbus on --source pytest --match conclusion=failure --loop --timeout 100ms -- ./triage.sh", 124),
    ],
)
@what_options
@beside_options
@clause_options("all_of", "first_of", "fail_on")
@option(
    "--loop/--once",
    "loop",
    default=False,
    group=CHILD,
    help="Run it for each match, one after the other [default: once].",
)
@option("--restart", is_flag=True, group=CHILD, help="With --loop: stop the one that runs, and start anew.")
@option(
    "--stop-timeout",
    type=FINITE_DURATION,
    default=STOP_TIMEOUT,
    metavar="DURATION",
    group=CHILD,
    help=f"From SIGTERM to SIGKILL [default: {STOP_TIMEOUT:g}s].",
)
@since_options
@timeout_option(
    help="Give up after that long, as in 10m; with --loop, that long without a match while nothing runs [default: never]."
)
@quiet_option
def on(command: tuple[str, ...], loop: bool, restart: bool, stop_timeout: float, **given: Any) -> int:
    """Run a command when it happens, and hand it the event.

    What stands behind -- is the command's own. It has the event in the file $WAITBUS_EVENT_FILE (JSON, gone when it ends), and in
    $WAITBUS_EVENT_ID _EVENT_TYPE _SOURCE _OWNER _REPO _HEAD_SHA _STATUS _CONCLUSION _VERDICT _SUMMARY, those that there are.

    The exit code is the command's, 128+n after signal n; with --loop that of how the loop ended. 127: no such command, 126: it
    cannot be run. 124: time was up. 1: --fail-on came.

    What only is so (a port that is open) has no event: then there is no file, and no variable but WAITBUS_VERDICT.
    """
    if restart and not loop:
        raise Usage("--restart without --loop restarts nothing", hint="add --loop")
    wanted = asked(given, states=not loop)
    _refuse_states(wanted, loop)
    plan = wanted.plan()
    if wanted.timeout is None and not loop and not output.is_terminal(sys.stderr):
        output.talk("waitbus: no --timeout, so this may wait for ever; WAITBUS_TIMEOUT sets one for all", dim=True)
    runs = Command(command, stop_timeout, own_group=restart)
    beside = (*wanted.beside, *wanted.embedded())
    return trio.run(_Reaction(wanted, plan, runs, loop=loop, restart=restart, beside=beside).main)


def _refuse_states(wanted: Asked, loop: bool) -> None:
    states = states_of(wanted.beside)
    if loop and states:
        raise Usage(f"{states[0][0].text} is so or is not: with --loop it would never end", hint="leave --loop out")


def _meets_nothing(clause: Clause, answer: Answer) -> None:
    """With --loop there are no clauses that a source could meet."""


class _Reaction:
    """One `on`: a subscription, a plan for each match, and the children."""

    def __init__(
        self, wanted: Asked, plan: Plan, command: Command, *, loop: bool, restart: bool, beside: Sequence[Beside]
    ) -> None:
        self.wanted = wanted
        self.plan = plan
        self.command = command
        self.loop = loop
        self.restart = restart
        self.beside = beside
        self.teller = Teller(wanted, "text")
        self.idle = trio.CancelScope()
        self.running: Child | None = None

    async def main(self) -> int:
        """Under trio: to the end of the command, of the loop, or until a signal comes."""
        code: int | None = None
        async with trio.open_nursery() as nursery:
            ear = Ear(nursery.cancel_scope, HUNG_UP)
            self.command = attrs.evolve(
                self.command, interrupted=lambda: ear.heard == signal.SIGINT and terminal_is_ours()
            )
            await nursery.start(ear.listen)
            code = await self._react()
            nursery.cancel_scope.cancel()
        if code is None:
            return ear.stopped(self.teller)
        return code

    async def _react(self) -> int:
        subscription = subscribed(self.wanted, self.plan.wanted, self.teller)
        try:
            sources = begun(self.beside, self.plan.wanted, self.teller, subscription)
            if self.loop and subscription is not None:
                return await self._each(subscription, sources)
            return await self._once(subscription, sources)
        finally:
            if subscription is not None:
                subscription.close()

    async def _once(self, subscription: AsyncSubscription | None, sources: Sequence[Source]) -> int:
        timeout = self.wanted.timeout
        outcome = await run(self.plan, subscription, timeout=timeout, sources=sources, watch=self.teller.watch)
        if outcome.kind != "matched" or outcome.clause is None:
            return self.teller.ended(outcome, self.plan)
        if outcome.frame is not None:
            self.teller.handled = outcome.frame.seq - 1
        return await self.command.run(outcome.frame, outcome.verdict, said=outcome.said or outcome.clause.text)

    async def _each(self, subscription: AsyncSubscription, sources: Sequence[Source]) -> int:
        async with trio.open_nursery() as nursery:
            if sources:
                # For the whole time: what happens while the command runs is not to be missed.
                await subscription.arm()
                for source in sources:
                    await nursery.start(source, _meets_nothing)
            while True:
                outcome = await self._next(subscription)
                if outcome.kind != "matched" or outcome.frame is None:
                    break
                await self._end_of_last()
                self.running = await nursery.start(self._child, outcome)
                if not self.restart:
                    await self._end_of_last()
            nursery.cancel_scope.cancel()
        return self.teller.ended(outcome, self.plan)

    async def _next(self, subscription: AsyncSubscription) -> Outcome:
        """The next match; its time-out counts while no child runs."""
        self.plan = self.wanted.plan()
        self.teller.again()
        with trio.CancelScope() as self.idle:
            self._count_idle()
            return await run(self.plan, subscription, watch=self.teller.watch)
        return self.plan.time_out()

    def _count_idle(self) -> None:
        timeout, busy = self.wanted.timeout, self.running is not None and not self.running.ended.is_set()
        self.idle.deadline = float("inf") if timeout is None or busy else trio.current_time() + timeout

    async def _child(self, outcome: Outcome, *, task_status: trio.TaskStatus[Child]) -> None:
        assert outcome.frame is not None
        self.teller.handled = outcome.frame.seq - 1
        await self.command.run(outcome.frame, outcome.verdict, task_status=task_status)
        self.teller.handled = outcome.frame.seq
        self.teller.again()
        self._count_idle()

    async def _end_of_last(self) -> None:
        if self.running is not None:
            if self.restart:
                self.running.scope.cancel()
            await self.running.ended.wait()
