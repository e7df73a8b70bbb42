"""`waitbus broadcast tap`: events as they come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from waitbus.cli import output
from waitbus.cli.command import command
from waitbus.cli.completing import bookmark_names
from waitbus.cli.forms import chosen, form_options, printer
from waitbus.cli.options import COUNT, SINCE, option, quiet_option
from waitbus.cli.reading import filter_options, idle_option, told, wanted
from waitbus.client.feed import Feed
from waitbus.client.start import Start
from waitbus.client.subscription import Subscription
from waitbus.errors import EXIT_TIMEOUT
from waitbus.store import shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.cli.forms import Form
    from waitbus.events import EventFrame
    from waitbus.predicate import Wanted


@command(
    "tap",
    examples=[
        ("waitbus broadcast tap --since 1h --count 1", 0, "deploy"),
        ("waitbus broadcast tap --filters 'octo/*' --text --timeout 100ms", 0),
    ],
)
@option(
    "--since",
    type=SINCE,
    metavar="SINCE",
    group="Time",
    help="Begin behind an event id, or 10m ago, or at a time [default: now].",
)
@option(
    "--bookmark",
    metavar="NAME",
    group="Time",
    shell_complete=bookmark_names,
    help="Begin where NAME stands, if it does, and move it over what was printed.",
)
@option(
    "--strict-since",
    "strict",
    is_flag=True,
    group="Time",
    help="Exit 75 where events were pruned before they were read.",
)
@idle_option("End after so long without an event.")
@option("--count", type=COUNT, metavar="N", group="Which", help="End after N events.")
@filter_options
@form_options(default="json")
@quiet_option
def tap(
    since: Start | None,
    bookmark: str | None,
    strict: bool,
    timeout: float | None,
    count: int | None,
    form: Form | None,
    as_json: bool,
    as_text: bool,
    **which: Any,
) -> int:
    """Print events as they come, until it is interrupted.

    A daemon is not needed, and a restart of it is invisible. Exit 0 after N events (--count) or a silence (--timeout)
    that was asked for alone; 124 if it fell silent before N events.
    """
    show = printer(chosen(form, as_json, as_text, "json"), lambda seq: shared().payload(seq))
    return live(wanted(**which), since, show, bookmark=bookmark, strict=strict, idle=timeout, count=count, armed=True)


def live(
    wanted: Wanted | None,
    start: Start | None,
    show: Callable[[EventFrame], None],
    *,
    bookmark: str | None = None,
    strict: bool = False,
    idle: float | None = None,
    count: int | None = None,
    armed: bool = False,
) -> int:
    """Show events as they come; ends after `count` of them, or `idle` seconds without one. Returns the exit code."""
    # A Start of its own: NOW itself would mean that no place was named, and a bookmark be preferred.
    begin = None if start is None else Start(start.event_id, start.at_ns, start.told)
    feed = Feed(wanted, begin, bookmark=bookmark, strict=strict, told=told)
    with Subscription(feed) as subscription:
        if armed:
            output.talk("armed")
        shown = 0
        while count is None or shown < count:
            if idle is not None:
                subscription.deadline = time.monotonic() + idle
            frame = next(subscription, None)
            if frame is None:
                return _silent(idle or 0.0, count, shown)
            show(frame)
            shown += 1
    return 0


def _silent(idle: float, count: int | None, shown: int) -> int:
    from waitbus.quantities import say_duration

    missing = "" if count is None else f" ({shown} of {count})"
    output.talk(f"no event for {say_duration(idle)}{missing}")
    return 0 if count is None else EXIT_TIMEOUT
