"""A config file judged, and the settings in force with where each came from."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from waitbus.config import ENVIRONMENT, OF_OLD, Config, Problem, load, parsed, problems, read, settings, text_of
from waitbus.errors import ConfigError, SourceUnavailable
from waitbus.ops.config_schema import plain
from waitbus.sources import known_sources, loading
from waitbus.sources.plugins import TheirSettings
from waitbus.sources.policy import policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# -- judged ------------------------------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """A problem and the line of the file it stands on, where that can be told."""

    problem: Problem
    line: int | None


@attrs.frozen
class Judgement:
    """What is wrong with a file, and which of its keys only meant something to 0.2. The environment has no say in it."""

    path: Path
    exists: bool
    findings: tuple[Finding, ...] = ()
    of_old: tuple[str, ...] = ()


def judge(path: Path) -> Judgement:
    """Judge the file at `path`; one that is not there has no fault."""
    try:
        text = text_of(path)
        values = parsed(text, path)
    except ConfigError as error:
        found = re.search(r"\(at line (\d+)", error.message)
        problem = Problem("", error.message.removeprefix(f"{path} ").removeprefix("is "), error.hint)
        return Judgement(path, True, (Finding(problem, int(found[1]) if found else None),))
    if not values and not path.exists():
        return Judgement(path, False)
    of_old = tuple(key for key in values if key in OF_OLD)
    wrong = problems({key: value for key, value in values.items() if key not in OF_OLD})
    tables = values.get("sources")
    wrong += loading.problems(tables) if isinstance(tables, dict) else []
    wrong += _of_plugins(values.get("plugins"))
    return Judgement(path, True, tuple(Finding(one, line_of(text, one.place)) for one in wrong), of_old)


def _of_plugins(table: object) -> list[Problem]:
    try:
        _ = policy(table, {}) if isinstance(table, dict) else None
    except ConfigError as error:
        return [Problem("plugins", error.message, error.hint)]
    return []


_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of(text: str, place: str) -> int | None:
    """The line (from 1) on which a dotted place is set; of a table, its header.

    tomllib does not tell where a value stood. This finds it in every file that people write; in one that hides a line that
    looks like a key inside of a multi-line text it may point there.
    """
    table = ""
    for number, row in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(row):
            table = _dotted(header[1])
            if f"{table}.".startswith(f"{place}."):
                return number
        elif (key := _KEY.match(row)) and f"{table}.{_dotted(key[1])}.".lstrip(".").startswith(f"{place}."):
            return number
    return None


def _dotted(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


# -- in force ----------------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """One setting in force. `value` is as a file would have it; `origin` is `default`, `file`, or the variable's name."""

    name: str
    value: Any
    origin: str


def in_force(path: Path) -> list[Setting]:
    """Every setting, tables opened.

    Raises:
      ConfigError: the file or the environment has an illegal value, so that nothing is in force.
    """
    config, given = load(path), read(path)
    variables = {key: variable for variable, key in ENVIRONMENT.items() if os.environ.get(variable)}
    return list(_settings(config, given, variables, ""))


def _settings(table: Any, given: dict[str, Any], variables: dict[str, str], place: str) -> Iterator[Setting]:
    for name, setting in settings(type(table)).items():
        full, value = f"{place}{name}", getattr(table, name)
        if attrs.has(type(value)):
            yield from _settings(value, given.get(name, {}), {}, f"{full}.")
        else:
            origin = variables.get(name) or ("file" if name in given else "default")
            shown = _with_defaults(value) if full == "sources" else plain(value, setting.type)
            yield Setting(full, shown, origin)


def _with_defaults(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The tables of sources with all that is in force for each; one that is wrong, or unknown, as it stands in the file."""
    found: dict[str, Any] = {}
    for name, table in tables.items():
        spec = known_sources().get(name)
        try:
            made = None if spec is None else loading.settings_of(spec, table)
        except (ConfigError, SourceUnavailable):
            made = None
        found[name] = table if made is None or isinstance(made, TheirSettings) else plain(made, type(made))
    return found


def defaults() -> dict[str, Any]:
    """Every default, as a file would have it."""
    values: dict[str, Any] = plain(Config(), Config)
    return values
