"""Making the index of `waitbus.declared`: which plugins are installed, which of them may be used, and what they declare.

All of it is done once, and again when something that it was made from has changed: files are hashed, a child is asked for each
declaration, a first use is pinned and told.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from waitbus import config, declared, paths, whole
from waitbus.errors import ConfigError, PluginBroken, PluginRefused, WaitbusError
from waitbus.sources import builtin, declaration, declaring, pins
from waitbus.sources.command import IMPLEMENTATION, command_table
from waitbus.sources.discovery import Entry, entries
from waitbus.sources.policy import Policy, policy
from waitbus.sources.record import Content, content, has_module
from waitbus.sources.spec import SourceSpec, from_plain

if TYPE_CHECKING:
    from waitbus.declared import Index

log = logging.getLogger("waitbus.sources")

RACY = 0.05
"""s: what changed so shortly before it was looked at may change again with the same time. Then the index is not kept."""
WATCHED_MAX = 64
"""Files of one plugin whose change makes the index anew; all of them are hashed before its code is run."""
INDEXES_MAX = 16

_made: Index | None = None


def index() -> Index:
    """The index in force, made anew where it is not fresh. It blocks for as long as that takes, once after an installation."""
    global _made
    if _made is None or not declared.is_fresh(_made):
        _made = declared.stored() or _new()
    return _made


def refusals() -> list[tuple[str, str, str]]:
    """(name, message, hint) of every plugin and table that was not taken in; the name is empty where all are concerned."""
    return [(row["name"], row["message"], row["hint"]) for row in index()["refused"]]


def is_theirs(spec: SourceSpec) -> bool:
    """Whether a plugin or the configuration brings the source, so that its code is imported in no process of ours."""
    if spec in builtin.BUILT_IN:
        return False
    return spec.implementation == IMPLEMENTATION or spec.name in index()["sources"]


# -- one plugin --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Examined:
    """An installed plugin, its files, and what the pins say."""

    entry: Entry
    found: Content
    judgement: pins.Judgement


def installed() -> list[Entry]:
    """Every source that an installed package brings, whether it may be used or not."""
    return list(entries(declared.folders()))


def examined(entry: Entry, known: Iterable[pins.Pin], rules: Policy) -> Examined:
    """Everything but its code: policy, files, pins."""
    if reason := rules.refusal(entry):
        return Examined(entry, Content(), pins.Judgement("refused", reason, "see [plugins] in `waitbus config show`"))
    found = content(entry.info)
    judgement = pins.judge(known, entry, found, rules)
    if judgement.state != "refused" and not found.editable and not has_module(found, entry.info, entry.module):
        reason = f"its entry point names {entry.module}, which is none of its files"
        judgement = pins.Judgement("refused", reason, f"report it to the author of {entry.distribution}")
    return Examined(entry, found, judgement)


# -- all of them -------------------------------------------------------------------------------------------------------


def _new() -> Index:
    whose, began = declared.of(), time.time_ns()
    base = {path: declared.facts(path) for path in (*declared.folders(), str(paths.config_path()))}
    made: Index = {"of": whose, "watched": base, "sources": {}, "refused": []}
    rules, table = _configured(made)
    if rules is not None:
        _add_plugins(made, rules)
    made["watched"][str(pins.pins_path())] = declared.facts(str(pins.pins_path()))
    _add_commands(made, table)
    youngest = max((facts[0] for facts in made["watched"].values() if facts), default=0)
    if youngest < began - RACY * 1e9:
        _keep(made)
    return made


def _configured(made: Index) -> tuple[Policy | None, dict[str, Any]]:
    try:
        table = config.read(paths.config_path())
        return policy(_table(table, "plugins")), _table(table, "sources")
    except ConfigError as error:
        made["refused"].append(_refused("", "config", error.message, error.hint))
        return None, {}


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{key}: {value!r} is not a table", hint=f"write [{key}] above its keys")
    return value


def _add_plugins(made: Index, rules: Policy) -> None:
    found = installed()
    if not found:
        return
    try:
        known = pins.read()
    except WaitbusError as error:
        made["refused"] += [_refused(entry.name, entry.distribution, error.message, error.hint) for entry in found]
        return
    for entry in found:
        one = examined(entry, known, rules)
        made["watched"].update(_facts([entry.info / "RECORD", *one.found.files]))
        try:
            _add(made, one, rules)
        except WaitbusError as error:
            made["refused"].append(_refused(entry.name, entry.distribution, error.message, error.hint))


def _add(made: Index, one: Examined, rules: Policy) -> None:
    entry, judgement = one.entry, one.judgement
    if judgement.state == "refused":
        raise refusal(one)
    if judgement.state in ("new", "new_version"):
        _pin(one, rules)
    answer = declaration.ask(entry)
    _refuse_what_is_taken(made, from_plain(answer.spec), entry)
    made["watched"].update(_facts(answer.files))
    made["sources"][entry.name] = {
        "spec": answer.spec,
        "origin": "plugin",
        "distribution": entry.distribution,
        "version": entry.version,
        "editable": one.found.editable,
    }


def refusal(one: Examined) -> WaitbusError:
    """The error that says why a plugin is not used."""
    entry = one.entry
    return PluginRefused(
        f"plugin {entry.name!r} of {entry.distribution} {entry.version} is not used: {one.judgement.reason}",
        hint=one.judgement.hint,
    )


def _pin(one: Examined, rules: Policy) -> None:
    """Pin what is used for the first time; whoever does so first tells it."""
    entry = one.entry
    how = "first use" if one.judgement.state == "new" else "new version"
    with pins.changing() as known:
        again = pins.judge(known, entry, one.found, attrs.evolve(rules, trust="distribution"))
        if again.state == "refused":  # another distribution was faster
            raise refusal(attrs.evolve(one, judgement=again))
        if again.state == "pinned":
            return
        known[:] = pins.with_pin(known, pins.pin_of(entry, one.found, how))
    what = "for the first time" if how == "first use" else "in a new version"
    log.warning(
        "source %r of %s %s is used %s, and trusted from now on (`waitbus allowlist list`; plugins.deny forbids it)",
        *(entry.name, entry.distribution, entry.version, what),
    )


def _refuse_what_is_taken(made: Index, spec: SourceSpec, entry: Entry) -> None:
    others = [*builtin.BUILT_IN, *(from_plain(row["spec"]) for row in made["sources"].values())]
    for other in others:
        if other.name == spec.name:
            reason = f"another source is called {spec.name!r}"
        elif shared := sorted(set(other.event_types) & set(spec.event_types)):
            reason = f"event type {shared[0]!r} belongs to source {other.name!r}"
        else:
            continue
        raise PluginBroken(
            f"plugin {entry.name!r} of {entry.distribution} {entry.version} cannot be used: {reason}",
            hint=f"remove {entry.distribution}, or forbid it: plugins.deny in the configuration",
        )


def _add_commands(made: Index, tables: dict[str, Any]) -> None:
    for name, table in tables.items():
        if not isinstance(table, dict) or "command" not in table:
            continue
        try:
            spec = command_table(name, table).spec()
            _refuse_taken_name(made, name)
        except WaitbusError as error:
            made["refused"].append(_refused(name, "config", error.message, error.hint))
        else:
            made["sources"][name] = {"spec": declaring.plain(spec), "origin": "command"}


def _refuse_taken_name(made: Index, name: str) -> None:
    if name in made["sources"] or any(spec.name == name for spec in builtin.BUILT_IN):
        raise ConfigError(f"sources.{name}: another source is called {name!r}", hint="choose another name")


def _refused(name: str, distribution: str, message: str, hint: str) -> dict[str, str]:
    return {"name": name, "distribution": distribution, "message": message, "hint": hint}


# -- the file ----------------------------------------------------------------------------------------------------------


def _facts(files: Iterable[object]) -> dict[str, list[int] | None]:
    sources = [str(file) for file in files if str(file).endswith((".py", "RECORD"))]
    return {path: declared.facts(path) for path in sources[:WATCHED_MAX]}


def _keep(made: Index) -> None:
    path = declared.index_path(made["of"])
    try:
        paths.own_directory(path.parent)
        whole.write(path, json.dumps(made).encode())
        for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-INDEXES_MAX]:
            old.unlink(missing_ok=True)
    except (OSError, WaitbusError, TypeError, ValueError):
        return  # then the next process makes it anew
