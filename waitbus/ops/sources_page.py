"""docs/SOURCES.md, made from the declarations alone: `python -m waitbus.ops.sources_page > docs/SOURCES.md` writes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tomli_w

from waitbus.ops.source_facts import example_frame, facts
from waitbus.render import line
from waitbus.sources import known_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from waitbus.sources.spec import SourceSpec

HEAD = """\
# The sources

What each source tells of, and how to wait for it. `waitbus source show NAME` says the same, also of sources that a plugin adds.
This page is made from the declarations by `python -m waitbus.ops.sources_page > docs/SOURCES.md`; a test compares the two.

An event has `source`, `event_type`, `status`, `conclusion` and `summary` besides the fields below.
One that is progress ends a wait only where that asks for a `status`, an `action`, or that very event type.
"""

RULES = {"always": "progress", "without_conclusion": "progress until it has a conclusion", None: ""}


def page(specs: Iterable[SourceSpec] | None = None) -> str:
    """The page of these sources, by default of those that waitbus has itself and knows here."""
    wanted = list(known_sources().values() if specs is None else specs)
    contents = [f"- [{spec.name}](#{spec.name}): {spec.about}" for spec in wanted]
    return "\n".join([HEAD, *contents, *(text for spec in wanted for text in _section(spec))]) + "\n"


def _section(spec: SourceSpec) -> Iterator[str]:
    found = facts(spec)
    yield f"\n## {spec.name}\n\n{spec.about}\n"
    yield from _table(
        ("event type", "what it is"), ((f"`{one['name']}`", RULES[one["progress"]]) for one in found["event_types"])
    )
    yield from _table(("field", "type", "what it holds"), (_field(one) for one in found["fields"]))
    columns = {key: words for key, words in found["vocabulary"].items() if key not in spec.fields}
    for key, words in columns.items():
        yield f"`{key}` is one of {_words(words)}.\n"
    yield f"{_runs(spec)} {_identity(spec)}\n"
    if found["settings"]:
        yield from _table(
            (f"setting of `[sources.{spec.name}]`", "default", "what it does"), map(_setting, found["settings"])
        )
    yield from _example(spec, found)


def _field(one: dict[str, Any]) -> tuple[str, str, str]:
    words = f": {_words(one['words'])}" if one["words"] else ""
    return f"`{one['name']}`", one["type"], f"{one['about']}{words}"


def _setting(one: dict[str, Any]) -> tuple[str, str, str]:
    return f"`{one['name']}`", "needed" if one["required"] else f"`{toml_value(one['default'])}`", one["about"]


def _runs(spec: SourceSpec) -> str:
    if not spec.implementation and not spec.embeddable:
        return "Nothing is run for it: its events come in by themselves."
    where = [f"the daemon, by `[sources.{spec.name}]` with `enabled = true`"] if spec.implementation else []
    where += [f"`waitbus source run {spec.name}`"] if spec.implementation else []
    where += ["a wait itself, while it waits"] if spec.embeddable else []
    return f"It is run by {', or '.join(where)}."


def _identity(spec: SourceSpec) -> str:
    if not spec.natural_key:
        return "Its delivery ids are random: no two of its events are one."
    return f"Its delivery id is `{spec.natural_key}`."


def _example(spec: SourceSpec, found: dict[str, Any]) -> Iterator[str]:
    frame = example_frame(spec)
    if frame is not None:
        yield f"```\n{line(frame)}\n```\n"
        yield f"```json\n{json.dumps(found['example'], indent=2, ensure_ascii=False)}\n```\n"
    if spec.matches:
        yield "```sh\n" + "\n".join(wait_lines(spec)) + "\n```"


def wait_lines(spec: SourceSpec) -> list[str]:
    """Commands that wait for events of the source, one for each of its `matches`."""
    import shlex

    return [f"waitbus wait --source {spec.name} --match {shlex.quote(match)}" for match in spec.matches]


def toml_value(value: Any) -> str:
    """A value as it stands in a config file, on one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(inner)}" for key, inner in value.items()) + "}"
    return tomli_w.dumps({"_": value})[4:].rstrip("\n")


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
