"""What the commands that read events share: which events, from where on, and what is said while they come."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from waitbus.cli import output
from waitbus.cli.command import Usage
from waitbus.cli.completing import source_names
from waitbus.cli.options import Quantity, option
from waitbus.errors import InvalidCursor
from waitbus.events import NAME, NAME_MAX
from waitbus.predicate import Predicate, Term, Wanted
from waitbus.quantities import DURATION_MAX_S, say_count

if TYPE_CHECKING:
    import click

    from waitbus.client.session import Gap, Note
    from waitbus.client.start import Start

F = TypeVar("F", bound=Callable[..., Any])

_FILTER = re.compile(r"[^/\s*]+/(?:\*|[^/\s*]+)\Z")
_SECONDS = re.compile(r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]{1,2})?|[0-9]+\.")


# -- which -------------------------------------------------------------------------------------------------------------


def filter_options(function: F) -> F:
    """`--filters`, `--event-types`, `--source`, `--match`: passed under these names, to be given to `wanted`."""
    for add in (
        option(
            "--match",
            metavar="TERM",
            multiple=True,
            group="Which",
            help="Only events that have KEY=VALUE, KEY!=VALUE, ...; all of these.",
        ),
        option(
            "--source",
            metavar="NAME",
            multiple=True,
            group="Which",
            shell_complete=source_names,
            help="Only this source; any of these.",
        ),
        option(
            "--event-types",
            metavar="TYPE",
            multiple=True,
            group="Which",
            help="Only these types, parted by commas or repeated.",
        ),
        option(
            "--filters",
            metavar="OWNER/REPO",
            multiple=True,
            group="Which",
            help="Only owner/repo or owner/*, parted by commas or repeated.",
        ),
    ):
        function = add(function)
    return function


def wanted(
    filters: Iterable[str], event_types: Iterable[str], source: Iterable[str], match: Iterable[str]
) -> Wanted | None:
    """What the options ask for; None for every event.

    Raises:
      Usage, InvalidPredicate: an option is not of its form.
    """
    for name in source:
        doubt_source(name)
    predicate = Predicate.parse(list(match), source=list(source), repo=_repositories(filters), what="--match")
    types = event_type_names(event_types, "--event-types")
    if not predicate.terms and not types:
        return None
    found = Predicate((*predicate.terms, *(Term("event_type", "=", name) for name in types)))
    from waitbus.doubts import doubts

    for doubt in doubts(found, (), {}, {}):
        output.doubt(doubt)
    return Wanted.of([found])


def _repositories(filters: Iterable[str]) -> list[str]:
    found = [part.strip() for text in filters for part in text.split(",")]
    for part in found:
        if part != "*" and not _FILTER.match(part):
            raise Usage(f"--filters {part!r} is not a repository", hint="write owner/repo, owner/*, or * for all")
    return [] if "*" in found else found


def event_type_names(texts: Iterable[str], option: str) -> list[str]:
    """The names in the values of an option, each once.

    Raises:
      Usage: one of them cannot be an event type.
    """
    found = [part.strip() for text in texts for part in text.split(",")]
    for part in found:
        if not NAME.match(part) or len(part) > NAME_MAX:
            raise Usage(
                f"{option} {part!r} is not an event type", hint="a name is a-z, then a-z, 0-9 and _, as in workflow_run"
            )
    return list(dict.fromkeys(found))


def doubt_source(source: str) -> None:
    """Warn of a source that looks like a slip of the hand.

    Raises:
      Usage: no source can have that name.
    """
    from waitbus.cli.spelling import near_source

    if not NAME.match(source.strip()) or len(source.strip()) > NAME_MAX:
        raise Usage(f"--source {source!r} is not a name", hint="a name is a-z, then a-z, 0-9 and _, as in pytest")

    meant = near_source(source.strip())
    if meant:
        output.warn(f"no source {source!r} is known here; did you mean {meant!r}?")


# -- from where, and for how long --------------------------------------------------------------------------------------


class _Idle(Quantity):
    """A duration; also what 0.2's `replay --timeout` took, a plain float, 0 among them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and _SECONDS.fullmatch(value.strip()) and float(value) <= DURATION_MAX_S:
            return float(value)
        return super().convert(value, param, ctx)


IDLE = _Idle("duration", "parse_duration")


def idle_option(help: str) -> Callable[[F], F]:
    """`--timeout` as the longest silence: seconds, or None. Not the variable WAITBUS_TIMEOUT, which is about waits."""
    return option("--timeout", type=IDLE, metavar="DURATION", group="Time", help=help)


def bookmarked(name: str, start: Start | None) -> Start | None:
    """Where to begin: at `start` if it is given, else at the bookmark; None if there is no such bookmark yet.

    Raises:
      InvalidName, InvalidCursor: the name is none; the bookmark holds no cursor and would be needed.
    """
    from waitbus.client import bookmarks
    from waitbus.client.start import Start

    try:
        kept = bookmarks.read(name)
    except InvalidCursor:
        if start is None:
            raise
        return start
    return start or (None if kept is None else Start(event_id=kept))


# -- what is said ------------------------------------------------------------------------------------------------------


def told(notice: Note | Gap) -> None:
    """Say what a reader should know of its source of events: gaps as warnings; that a daemon comes or goes is invisible."""
    from waitbus.client.feed import describe
    from waitbus.client.session import Gap

    if isinstance(notice, Gap):
        output.warn(f"{describe(notice)} ({notice.reason if notice.reason == 'other_log' else 'gap'})")
    elif notice.kind == "doubt":
        output.doubt(notice.text)
    elif notice.kind not in ("no_daemon", "lost", "back"):
        output.talk(f"waitbus: {notice.text}", dim=True)


def passed_by(count: int) -> str:
    """Why a reader who has a filter saw nothing."""
    return f"filtered, {say_count(count, 'other event')} passed by"
