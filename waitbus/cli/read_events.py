"""`waitbus read-events list|watch`: the newest events of a repository, or of everything, and what comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from waitbus.cli import output
from waitbus.cli.command import Usage, group
from waitbus.cli.completing import bookmark_names, source_names
from waitbus.cli.forms import chosen, form_options, printer, text_line
from waitbus.cli.options import COUNT, SINCE, option, quiet_option
from waitbus.cli.reading import doubt_source, event_type_names, idle_option, passed_by, told
from waitbus.client.history import History
from waitbus.paths import here
from waitbus.predicate import Predicate, Term, Wanted
from waitbus.store import shared
from waitbus.wire import frame_of_row

if TYPE_CHECKING:
    from waitbus.cli.forms import Form
    from waitbus.client.start import Start
    from waitbus.events import EventFrame

F = TypeVar("F", bound=Callable[..., Any])

ROWS = 10
"""Events that `list` shows if nobody says how many."""
JOB = "workflow_job"


@group("read-events")
def read_events() -> None:
    """Look at the newest events, and at what comes."""


def _shared_options(function: F) -> F:
    for add in (
        quiet_option,
        form_options(default="text"),
        option(
            "--bookmark",
            metavar="NAME",
            group="Time",
            shell_complete=bookmark_names,
            help="When watching: begin where NAME stands, and move it.",
        ),
        option(
            "--since", type=SINCE, metavar="SINCE", group="Time", help="Only behind an event id, 10m ago, or a time."
        ),
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
            shell_complete=source_names,
            multiple=True,
            group="Which",
            help="Only this source, in every repository; any of these.",
        ),
        option(
            "--event-type",
            metavar="TYPE",
            multiple=True,
            group="Which",
            help="Only these types, parted by commas or repeated.",
        ),
        option(
            "--all-events", is_flag=True, group="Which", help="Every repository, not only the one of this directory."
        ),
        option(
            "--repo",
            metavar="REPO",
            group="Which",
            help="Only this repository: name or owner/name [default: the git origin here, if there is one].",
        ),
        option("--owner", metavar="OWNER", group="Which", help="Only this owner's."),
    ):
        function = add(function)
    return function


@read_events.command(
    "list",
    examples=[
        ("waitbus read-events list", 0, "deploy"),
        ("waitbus read-events list --last-n 3 --source agent --json", 0, "deploy"),
        ("waitbus read-events list --owner octo --repo hello --include-jobs", 0),
    ],
)
@option("--latest", is_flag=True, group="Which", help="Only the newest.")
@option("--last-n", type=COUNT, metavar="N", group="Which", help=f"The newest N [default: {ROWS}].")
@option("--include-jobs", is_flag=True, group="Which", help="Show the jobs of a workflow run below it.")
@option("--watch", is_flag=True, group="Time", help="The same as `waitbus read-events watch`.")
@_shared_options
def list_events(latest: bool, last_n: int | None, include_jobs: bool, watch: bool, **given: Any) -> int:
    """Print the newest events, newest first.

    With --json it is an array of objects, each with the event's columns, well-known fields and payload at top level,
    `fields`, and under --include-jobs `jobs`. An empty answer says why on stderr: caught_up, filtered or gap.
    """
    modes = [name for name, on in (("--latest", latest), ("--last-n", last_n), ("--watch", watch)) if on]
    if len(modes) > 1:
        raise Usage(f"{modes[0]} and {modes[1]} are both given", hint="leave one of them out")
    if watch:
        return _watch(**given)
    return _list(1 if latest else last_n or ROWS, include_jobs, **given)


@read_events.command(
    "watch",
    examples=[
        ("waitbus read-events watch --since 1h --count 1", 0, "deploy"),
        ("waitbus read-events watch --source agent --json --timeout 100ms", 0),
    ],
)
@option("--count", type=COUNT, metavar="N", group="Which", help="End after N events.")
@idle_option("End after so long without an event; 124 if N did not come.")
@option(
    "--include-jobs", is_flag=True, hidden=True, group="Which", help="Accepted: jobs are events, and come as they are."
)
@_shared_options
def watch_events(include_jobs: bool, **given: Any) -> int:
    """Print events as they come, one a line, until it is interrupted."""
    return _watch(**given)


# -- list --------------------------------------------------------------------------------------------------------------


def _list(
    count: int,
    include_jobs: bool,
    *,
    since: Start | None,
    bookmark: str | None,
    form: Form | None,
    as_json: bool,
    as_text: bool,
    **which: Any,
) -> int:
    if bookmark is not None:
        raise Usage(
            "--bookmark is about watching", hint="add --watch, or read forwards: `waitbus replay --bookmark NAME`"
        )
    form = chosen(form, as_json, as_text, "text")
    terms = _terms(**which) + ([Term("event_type", "!=", JOB)] if include_jobs else [])
    history = History(shared(), since, _wanted(terms), told=told)
    frames = [frame_of_row(row, history.tag) for row in islice(history.backwards(), count)]
    jobs = _jobs(frames) if include_jobs else {}
    if form == "text":
        _print_text(frames, jobs)
    else:
        output.array([_as_object(frame, form, jobs if include_jobs else None) for frame in frames])
    if not frames:
        output.talk(f"no events ({_why(history)})")
    return 0


def _why(history: History) -> str:
    if history.passed:
        return passed_by(history.passed)
    if history.gap is not None:
        return "gap, all events behind --since were pruned"
    return "caught_up, nothing is behind --since" if history.head else "caught_up, the log is empty"


def _jobs(frames: list[EventFrame]) -> dict[int, list[EventFrame]]:
    """Run id -> the newest event of each of its jobs, in the order in which the jobs were first heard of."""
    jobs: dict[int, dict[object, EventFrame]] = {
        frame.fields["run_id"]: {} for frame in frames if frame.fields["run_id"]
    }
    if jobs:
        history = History(shared(), None, Wanted.of([Predicate((Term("event_type", "=", JOB),))]))
        for row in history.forwards():
            frame = frame_of_row(row, history.tag)
            run = frame.fields["parent_run_id"] or frame.fields["run_id"]
            if run in jobs:
                jobs[run][frame.fields["job_id"] or frame.event_id] = frame
    return {run: list(found.values()) for run, found in jobs.items()}


def _jobs_of(frame: EventFrame, jobs: dict[int, list[EventFrame]]) -> list[EventFrame]:
    return jobs.get(frame.fields["run_id"], []) if frame.event_type == "workflow_run" else []


def _print_text(frames: list[EventFrame], jobs: dict[int, list[EventFrame]]) -> None:
    base, now = here(), time.time_ns()
    for frame in frames:
        output.data(_row(frame, base, now), flush=False)
        for job in _jobs_of(frame, jobs):
            output.data("    " + _row(job, base, now), flush=False)


def _row(frame: EventFrame, base: str, now: int) -> str:
    event_id, _, line = text_line(frame, base).partition("  ")
    return f"{event_id}  {_when(frame.received_at, now)}  {frame.source}  {line}"


def _when(at_ns: int, now: int) -> str:
    import sys

    from waitbus.quantities import say_duration, say_time

    if not output.is_terminal(sys.stdout) or at_ns > now:
        return say_time(at_ns)[:19] + "Z"
    return f"{say_duration((now - at_ns) / 1e9, parts=1)} ago"


def _as_object(frame: EventFrame, form: Form, jobs: dict[int, list[EventFrame]] | None) -> dict[str, Any]:
    from waitbus.cloudevents import cloudevent, flat

    make = cloudevent if form == "cloudevent" else flat
    made = make(frame, shared().payload(frame.seq))
    if jobs is not None and form == "json":
        made["jobs"] = [flat(job, shared().payload(job.seq)) for job in _jobs_of(frame, jobs)]
    return made


# -- watch -------------------------------------------------------------------------------------------------------------


def _watch(
    *,
    since: Start | None,
    bookmark: str | None,
    form: Form | None,
    as_json: bool,
    as_text: bool,
    count: int | None = None,
    timeout: float | None = None,
    **which: Any,
) -> int:
    from waitbus.cli.tap import live

    show = printer(chosen(form, as_json, as_text, "text"), lambda seq: shared().payload(seq))
    return live(_wanted(_terms(**which)), since, show, bookmark=bookmark, idle=timeout, count=count, armed=True)


# -- which -------------------------------------------------------------------------------------------------------------


def _terms(
    *,
    owner: str | None,
    repo: str | None,
    all_events: bool,
    event_type: tuple[str, ...],
    source: tuple[str, ...],
    match: tuple[str, ...],
) -> list[Term]:
    for name in source:
        doubt_source(name)
    predicate = Predicate.parse(list(match), source=list(source), what="--match")
    types = [Term("event_type", "=", name) for name in event_type_names(event_type, "--event-type")]
    anywhere = all_events or bool(source)
    return [*_place(owner, repo, anywhere), *predicate.terms, *types]


def _wanted(terms: list[Term]) -> Wanted | None:
    return Wanted.of([Predicate(tuple(terms))]) if terms else None


def _place(owner: str | None, repo: str | None, anywhere: bool) -> list[Term]:
    if repo is not None and "/" in repo:
        own, _, repo = repo.partition("/")
        if owner not in (None, own):
            raise Usage(f"--owner {owner!r} and --repo '{own}/{repo}' name two owners", hint="leave --owner out")
        owner = own
    for name, value in (("--owner", owner), ("--repo", repo)):
        if value is not None and (not value.strip() or set(value) & set("/* ")):
            raise Usage(f"{name} {value!r} is not a name", hint="as in --owner octo --repo hello, or --repo octo/hello")
    if owner is not None:
        return [Term("@repo", "=", f"{owner}/{repo or '*'}")]
    if repo is not None:
        return [Term("repo", "=", repo)]
    return [] if anywhere else _here()


def _here() -> list[Term]:
    from waitbus.ops.origin import origin

    found = origin()
    if found is None:
        return []
    place = "/".join(found)
    output.talk(f"only {place}, the git origin here; --all-events shows everything", dim=True)
    return [Term("@repo", "=", place)]
