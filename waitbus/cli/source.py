"""`waitbus source list|show|verify|run`: what there is to wait for, what each source tells, and whether it can run here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitbus.cli import output
from waitbus.cli.command import Usage, group
from waitbus.cli.completing import source_names
from waitbus.cli.options import argument, json_option, option
from waitbus.errors import EXIT_UNAVAILABLE
from waitbus.ops.source_facts import example_frame, facts
from waitbus.ops.sources_page import RULES, toml_value, wait_lines
from waitbus.render import json_line, line, neutral
from waitbus.sources import index, known_sources, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from waitbus.ops.status import SourceState
    from waitbus.sources.spec import SourceSpec

NAME = argument(
    "name", shell_complete=source_names, note="a source, as in fs or docker; `waitbus source list` lists them"
)


@group("source")
def source() -> None:
    """List the sources, show what one tells, and run one.

    A source turns what happens into events. The daemon runs those that `[sources.NAME]` in config.toml switches on with
    `enabled = true`; a wait runs some by itself; of others the events come in from outside.
    """


# -- list --------------------------------------------------------------------------------------------------------------


@source.command("list", examples=[("waitbus source list", 0), ("waitbus source list --json", 0)])
@json_option
def source_list(as_json: bool) -> None:
    """List the sources, with their event types and how they run here.

    `ok`, `down` or `starting`: the daemon runs it. `enabled`: the configuration switches it on, and no daemon runs it.
    `in waits`: a wait that needs it runs it by itself. `comes in`: nothing is run for it.
    """
    rows = _rows()
    for _, message, hint in index.refusals():
        output.warn(f"{message} ({hint})")
    if as_json:
        for row in rows:
            output.record(row, flush=False)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        output.data(f"{row['name']:<{width}}  {_how(row):<8}  {row['about']}", flush=False)
        output.data(f"{'':<{width}}  {'':<8}  {' '.join(row['event_types'])}", flush=False)


def _rows() -> list[dict[str, Any]]:
    running, enabled = _running(), _enabled()
    return [
        {
            "name": spec.name,
            "about": neutral(spec.about),
            "event_types": list(spec.event_types),
            "runs": bool(spec.implementation),
            "embeddable": spec.embeddable,
            "enabled": spec.name in enabled,
            "state": running[spec.name].state if spec.name in running else None,
            "reason": running[spec.name].reason or None if spec.name in running else None,
        }
        for spec in known_sources().values()
    ]


def _how(row: Mapping[str, Any]) -> str:
    if row["state"] is not None:
        return "ok" if row["state"] == "up" else str(row["state"])
    if row["enabled"]:
        return "enabled"
    return "in waits" if row["embeddable"] else "-" if row["runs"] else "comes in"


def _running() -> dict[str, SourceState]:
    """What the daemon says of its sources; empty without one."""
    from waitbus.ops.question import ask
    from waitbus.ops.status import sources_in
    from waitbus.paths import socket_path

    return {one.name: one for one in sources_in(ask(socket_path()).report)}


def _enabled() -> set[str]:
    from waitbus.config import load
    from waitbus.errors import ConfigError
    from waitbus.sources.loading import is_enabled

    try:
        return {name for name, table in load().sources.items() if is_enabled(table)}
    except ConfigError as error:
        output.warn(f"{error.message} (`waitbus config validate` says more)")
        return set()


# -- show --------------------------------------------------------------------------------------------------------------


@source.command("show", examples=[("waitbus source show process", 0), ("waitbus source show github --json", 0)])
@NAME
@json_option
def source_show(name: str, as_json: bool) -> None:
    """Show what a source tells: event types, fields, words, an example, and how to wait for it."""
    spec = known(name)
    if as_json:
        output.record(facts(spec))
        return
    for text in _page(spec):
        output.data(neutral(text), flush=False)


def known(name: str) -> SourceSpec:
    """The declaration of a source that was named on the command line."""
    from waitbus.cli.command import near

    specs = known_sources()
    if name in specs:
        return specs[name]
    if refused := refusal(name):
        raise Usage(refused[0], hint=refused[1])
    meant = near(name, specs)
    listing = "`waitbus source list` lists them"
    raise Usage(f"no source {name!r} is known here", hint=f"did you mean {meant!r}? {listing}" if meant else listing)


def _page(spec: SourceSpec) -> Iterator[str]:
    found = facts(spec)
    yield f"{spec.name}: {spec.about}"
    yield from _rows_of("event types", [(one["name"], RULES[one["progress"]]) for one in found["event_types"]])
    yield from _rows_of("fields", [(one["name"], f"{one['type']}: {one['about']}") for one in found["fields"]])
    yield from _rows_of("words", [(key, " ".join(words)) for key, words in found["vocabulary"].items()])
    yield from _rows_of("identity", [(spec.natural_key or "random: no two of its events are one", "")])
    yield from _rows_of(f"settings, [sources.{spec.name}]", [_setting(one) for one in found["settings"]])
    frame = example_frame(spec)
    if frame is not None:
        yield from _rows_of("example", [(line(frame), ""), (json_line(found["example"]), "")])
    yield from _rows_of("to wait for it", [(text, "") for text in wait_lines(spec)])


def _setting(one: Mapping[str, Any]) -> tuple[str, str]:
    value = "needed" if one["required"] else f"default {toml_value(one['default'])}"
    return one["name"], f"{one['about']} ({value})"


def _rows_of(heading: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if not any(left for left, _ in rows):
        return
    yield ""
    yield f"{heading}:"
    width = max((len(left) for left, right in rows if right), default=0)
    for left, right in rows:
        yield f"  {left:<{width}}  {right}".rstrip()


# -- verify ------------------------------------------------------------------------------------------------------------


@source.command(
    "verify",
    examples=[("waitbus source verify process", 0), ("waitbus source verify agent --json", 0)],
)
@NAME
@json_option
def source_verify(name: str, as_json: bool) -> int:
    """Check that a source can run here: its settings, its code, and what it needs.

    The exit code is 0 if it can, or if there is nothing to run; 69 if it cannot.
    """
    from waitbus.ops.source_check import check

    checks = check(known(name))
    ok = all(one.ok for one in checks)
    if as_json:
        rows = [{"check": one.what, "ok": one.ok, "detail": one.detail, "hint": one.hint or None} for one in checks]
        output.record({"name": name, "ok": ok, "checks": rows})
        return 0 if ok else EXIT_UNAVAILABLE
    for one in checks:
        if one.ok:
            output.data(neutral(f"ok    {one.what:<9} {one.detail}".rstrip()), flush=False)
    failed = next((one for one in checks if not one.ok), None)
    return 0 if failed is None else output.fail(f"{failed.what}: {failed.detail}", failed.hint, EXIT_UNAVAILABLE)


# -- run ---------------------------------------------------------------------------------------------------------------


@source.command(
    "run",
    examples=[
        ("timeout --preserve-status -s INT 1 waitbus source run fs --set roots=.", 130),
        ("timeout -s INT 1 waitbus source run fs --set roots=. --set recursive=false --json", 124),
    ],
)
@NAME
@option(
    "--set",
    "given",
    multiple=True,
    metavar="KEY=VALUE",
    group="Settings",
    help="A setting, over what stands in [sources.NAME]; a value as in config.toml, or a text.",
)
@json_option
def source_run(name: str, given: tuple[str, ...], as_json: bool) -> int:
    """Run one source in the foreground, until Ctrl-C; its events go into the log.

    Its health is told on stderr; with --json on stdout, one object for each change. When it fails it is tried again.
    Exit 130 after Ctrl-C, 143 after SIGTERM; 2 where its settings are wrong, 69 where it cannot be loaded.
    """
    from waitbus.cli.source_run import run, settings_of

    spec = known(name)
    return run(spec, settings_of(spec, given), as_json)
