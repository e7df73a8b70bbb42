"""`waitbus wait`: block until it happens; the answer is the exit code and the event."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NoReturn

import click

from waitbus.cli import output
from waitbus.cli.asking import SEVERAL, Asked, asked, beside_options, clause_options, since_options, what_options
from waitbus.cli.command import Usage, command
from waitbus.cli.options import COUNT, json_option, lines_option, option, quiet_option, timeout_option
from waitbus.cli.telling import Teller
from waitbus.client.feed import Feed
from waitbus.client.subscription import Subscription
from waitbus.client.waits import run_sync

if TYPE_CHECKING:
    from waitbus.cli.forms import Form
    from waitbus.client.plan import Outcome, Plan

STOPPED = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}


@command(
    "wait",
    examples=[
        ("waitbus wait deploy_finished --since 1h", 0, "deploy"),
        ("waitbus wait --source pytest --match conclusion=failure --timeout 100ms", 124),
        ("waitbus wait --source fs --root src --glob '*.py' --timeout 100ms", 124, "files"),
        ("waitbus wait --gone build.lock --port localhost:15432 --timeout 100ms", 124),
        (
            "waitbus wait --all-of 'agent:event_type=deploy_finished' --fail-on 'pytest:conclusion=failure' --since 1h",
            0,
            "deploy",
        ),
    ],
)
@what_options
@beside_options
@clause_options("all_of", "first_of", "none_of", "fail_on")
@option("--count", type=COUNT, default=1, metavar="N", group=SEVERAL, help="Wait for N events of one kind.")
@option("--in-order", is_flag=True, group=SEVERAL, help="--all-of, one after the other as they are written.")
@option("--fail-fast", is_flag=True, group=SEVERAL, help="--all-of: end as soon as one has failed.")
@since_options
@timeout_option()
@json_option
@option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "cloudevent"]),
    group="Output",
    help="How to print the event [default: text].",
)
@lines_option
@option(
    "--exit-status/--no-exit-status",
    "honour",
    default=True,
    group="Output",
    help="Exit 1 for a failure [default], or 0 for any match.",
)
@quiet_option
def wait(as_json: bool, form: Form | None, lines: str | None, **given: Any) -> int:
    """Wait until it happens, and get the answer as an exit code.

    Exit 0: it came, and was no failure. 1: it came and was one, or --fail-on or --none-of came. 2: asked wrongly. 75: a gap under
    --strict-since. 124: time was up. 130, 143: stopped from outside. A term on the conclusion asks for it: a match is 0.

    Nothing that is committed after this command was started is missed, although `armed` comes later.
    """
    agent = lines == "agent"
    if agent and (as_json or form not in (None, "text")):
        raise Usage("--lines agent and JSON are two forms", hint="leave one of them out")
    chosen: Form = "json" if as_json else form or "text"
    if as_json and form not in (None, "json"):
        raise Usage(f"--json and --format {form} are two forms", hint="leave one of them out")
    output.speak_json(chosen == "json")
    return _wait(asked(given), chosen, agent)


def _wait(asked: Asked, form: Form, agent: bool) -> int:
    plan = asked.plan()
    teller = Teller(asked, form, agent=agent)
    if asked.timeout is None and not output.is_terminal(_stderr()):
        output.talk("waitbus: no --timeout, so this may wait for ever; WAITBUS_TIMEOUT sets one for all", dim=True)
    beside = (*asked.beside, *asked.embedded())
    if beside or plan.is_composed:
        from waitbus.cli.waiting import under_trio

        return under_trio(asked, plan, teller, beside)
    with _Signals():
        try:
            return teller.end(_alone(asked, plan, teller), plan)
        except Stopped as stop:
            if stop.number == signal.SIGINT:
                output.end_of_line()
            return teller.stopped(*STOPPED[signal.Signals(stop.number)])


def _alone(asked: Asked, plan: Plan, teller: Teller) -> Outcome:
    """One predicate and no source of its own: no event loop is needed, which is a third of the start and half of the memory."""
    feed = Feed(plan.wanted, asked.start, strict=asked.strict, told=teller.notice)
    teller.attach(feed.session)
    subscription = Subscription(feed)
    try:
        return run_sync(plan, subscription, timeout=asked.timeout, watch=teller.watch)
    finally:
        subscription.close()


class Stopped(BaseException):
    """A signal asked us to end. No `Exception`: nobody on the way is to take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Signals:
    """SIGINT and SIGTERM end the wait with a line; a second one ends the process as usual. What was ignored stays so."""

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in STOPPED}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: object) -> NoReturn:
        for each, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)


def _stderr() -> Any:
    import sys

    return sys.stderr
