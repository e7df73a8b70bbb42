"""`waitbus replay`: what is in the log already, and then an end; or, if asked, what comes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.cli import output
from waitbus.cli.command import Usage, command
from waitbus.cli.completing import bookmark_names
from waitbus.cli.forms import chosen, form_options, printer
from waitbus.cli.options import COUNT, SINCE, argument, option, quiet_option
from waitbus.cli.reading import bookmarked, filter_options, idle_option, passed_by, told, wanted
from waitbus.client import bookmarks
from waitbus.client.history import History
from waitbus.store import shared
from waitbus.wire import frame_of_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from waitbus.cli.forms import Form
    from waitbus.client.start import Start
    from waitbus.events import EventFrame
    from waitbus.predicate import Wanted

MOVE_EVERY = 0.02
"""s. A bookmark is a file that is written anew; for each of 50,000 lines that takes ten times as long as printing them."""


@command(
    "replay",
    examples=[
        ("waitbus replay 1h --text", 0, "deploy"),
        ("waitbus replay --bookmark ci --event-types deploy_finished", 0, "deploy"),
        ("waitbus replay --since 10m --follow --timeout 100ms", 0, "deploy"),
    ],
)
@argument(
    "since",
    type=SINCE,
    required=False,
    note="an event id (which is a cursor), 10m, or a time [default: the log's beginning]",
)
@option("--since", "since_option", type=SINCE, metavar="SINCE", group="Time", help="The same as an option.")
@option(
    "--bookmark",
    metavar="NAME",
    group="Time",
    shell_complete=bookmark_names,
    help="Begin where NAME stands, and move it over what was printed.",
)
@option("--strict-since", "strict", is_flag=True, group="Time", help="Exit 75 where events behind SINCE were pruned.")
@option("--follow", is_flag=True, group="Time", help="Go on with what comes.")
@idle_option("With --follow: end after so long without an event.")
@option("--limit", type=COUNT, metavar="N", group="Which", help="At most N events.")
@option(
    "--coalesce/--faithful",
    group="Which",
    help="Only the newest event of each run, job, alert, ... [default: all of them].",
)
@filter_options
@form_options(default="json")
@quiet_option
def replay(
    since: Start | None,
    since_option: Start | None,
    bookmark: str | None,
    strict: bool,
    follow: bool,
    timeout: float | None,
    limit: int | None,
    coalesce: bool,
    form: Form | None,
    as_json: bool,
    as_text: bool,
    **which: Any,
) -> None:
    """Print the events behind a place in the log, up to its end, and stop there.

    A bookmark moves after events are printed: after a crash some may be printed again, none is left out. The last
    line on stderr has the cursor to go on from, and, where nothing was printed, why: caught_up, filtered, gap or
    unknown_consumer. A cursor of another log (other_log) is an error.
    """
    if since is not None and since_option is not None:
        raise Usage("SINCE and --since are both given", hint="leave one of them out")
    asked = wanted(**which)
    reader = _Replay(asked, bookmark, follow, limit)
    reader.print = printer(
        chosen(form, as_json, as_text, "json"), lambda seq: shared().payload(seq), flush=reader.flushes
    )
    history = reader.begin(since or since_option, strict)
    if reader.show(coalesced(history) if coalesce else events(history)) and follow:
        reader.follow(history, strict, timeout)


def events(history: History) -> Iterator[EventFrame]:
    for row in history.forwards():
        yield frame_of_row(row, history.tag)


def coalesced(history: History) -> Iterator[EventFrame]:
    """The newest event of each thing, in the order of the log. It is read twice, so that only the things are kept in memory."""
    from waitbus.verdict import entity_of

    newest = {entity: frame.seq for frame in events(history) if (entity := entity_of(frame))}
    history.passed = 0
    for frame in events(history):
        entity = entity_of(frame)
        if entity is None or newest.get(entity, frame.seq) == frame.seq:
            yield frame


@attrs.define
class _Replay:
    """One reader: what it wants, how it keeps its place, and how much it has printed."""

    wanted: Wanted | None
    bookmark: str | None
    follows: bool
    limit: int | None
    print: Callable[[EventFrame], None] = attrs.field(init=False)
    history: History = attrs.field(init=False)
    unknown: bool = False
    printed: int = 0
    last: str | None = None
    """The event id that was printed and that the bookmark has not moved to."""
    moved: float = 0.0

    @property
    def flushes(self) -> bool:
        return self.follows or self.bookmark is not None

    def begin(self, start: Start | None, strict: bool) -> History:
        """The history to print; a bookmark that is not there yet begins with all of it."""
        name = self.bookmark if start is None else None
        if self.bookmark is not None:
            start = bookmarked(self.bookmark, start)
            self.unknown = start is None
        self.history = History(shared(), start, self.wanted, strict=strict, bookmark=name, told=told)
        if self.unknown:
            output.talk(
                f"no bookmark {self.bookmark!r} yet (unknown_consumer); beginning with the first event that is kept"
            )
        return self.history

    def show(self, frames: Iterator[EventFrame]) -> bool:
        """Print them, and say how it ended; whether there may be more to print."""
        try:
            for frame in frames:
                self.one(frame)
                if self.limit is not None and self.printed == self.limit:
                    output.talk(f"stopped at {frame.event_id}: --limit {self.limit} reached")
                    return False
        finally:
            self.move()  # however it ended: what was printed was printed
        if self.bookmark is not None:
            # What was passed over was not wanted: it need not be looked at again, nor be kept for this bookmark.
            bookmarks.write(self.bookmark, self.history.cursor)
        output.talk(f"caught up at {self.history.cursor}{self.why()}")
        return True

    def one(self, frame: EventFrame) -> None:
        self.print(frame)
        self.printed += 1
        self.last = frame.event_id
        if time.monotonic() - self.moved >= MOVE_EVERY:
            self.move()

    def move(self) -> None:
        """Move the bookmark to what was printed last."""
        if self.bookmark is not None and self.last is not None:
            bookmarks.write(self.bookmark, self.last)
            self.last, self.moved = None, time.monotonic()

    def why(self) -> str:
        """Why nothing was printed."""
        if self.printed:
            return ""
        if self.history.passed:
            return f": {passed_by(self.history.passed)}"
        if self.history.gap is not None:
            return ": gap, all events behind SINCE were pruned"
        return ": unknown_consumer, and the log is empty" if self.unknown else ": caught_up, nothing is behind SINCE"

    def follow(self, history: History, strict: bool, idle: float | None) -> None:
        """Go on live from where the history ended."""
        from waitbus.cli.tap import live
        from waitbus.client.start import Start

        start = Start(event_id=history.cursor)
        left = None if self.limit is None else self.limit - self.printed
        live(self.wanted, start, self.print, bookmark=self.bookmark, strict=strict, idle=idle, count=left)
