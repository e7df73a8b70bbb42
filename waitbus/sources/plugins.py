"""From a declaration to the source that runs: our own in this process, everybody else's in a child."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from waitbus import sources
from waitbus.config import Problem
from waitbus.errors import ConfigError
from waitbus.sources import builtin, index, pins
from waitbus.sources.child_lines import of_command, of_plugin
from waitbus.sources.command import COMMON, IMPLEMENTATION, Given, command_table, given
from waitbus.sources.contract import SourceSettings
from waitbus.sources.in_child import SILENCE, InChild, Program
from waitbus.sources.policy import in_force
from waitbus.sources.surroundings import environment, limited, python

if TYPE_CHECKING:
    from waitbus.sources.contract import Source
    from waitbus.sources.spec import SourceSpec


@attrs.frozen(kw_only=True)
class TheirSettings(SourceSettings):
    """The table of a source of somebody else's, as it stands in the file: what its own keys mean only its child knows."""

    table: Mapping[str, Any] = attrs.field(factory=dict)


def their_settings(spec: SourceSpec, table: Mapping[str, Any]) -> tuple[TheirSettings | None, list[Problem]]:
    """The settings of such a source, or what is wrong with its table."""
    try:
        _ = command_table(spec.name, table) if spec.implementation == IMPLEMENTATION else given(spec.name, table)
    except ConfigError as error:
        return None, [Problem(f"sources.{spec.name}", error.message, error.hint)]
    return TheirSettings(enabled=table.get("enabled", False) is not False, table=dict(table)), []


def source_for(spec: SourceSpec, settings: SourceSettings | Mapping[str, Any] | None = None) -> Source:
    """The source behind a declaration: our own, and those registered in this process, run here, all others in a child.

    `settings`: of the former an instance of the settings class; of the latter the table of the configuration, or `TheirSettings`.

    Raises:
      SourceUnavailable: there is nothing to run, or it cannot be loaded.
      ConfigError: the table is not legal.
    """
    if not spec.implementation or spec in builtin.BUILT_IN or sources.is_registered(spec):
        from waitbus.sources import loading

        return loading.make(spec, settings if isinstance(settings, SourceSettings) else SourceSettings())
    table = _table(settings)
    return _command(spec.name, table) if spec.implementation == IMPLEMENTATION else _plugin(spec, table)


def _table(settings: SourceSettings | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(settings, TheirSettings):
        return dict(settings.table)
    if settings is None or isinstance(settings, Mapping):
        return dict(settings or {})
    return attrs.asdict(settings)


# -- in a child --------------------------------------------------------------------------------------------------------


def _command(name: str, table: dict[str, Any]) -> InChild:
    asked = command_table(name, table)
    program = Program(
        command=limited(asked.command, name, asked.memory),
        environment=environment(asked.env),
        read=partial(of_command, source=name, event_type=asked.event_type),
        silence=asked.silence,
    )
    return InChild(name, lambda: program)


def _plugin(spec: SourceSpec, table: dict[str, Any]) -> InChild:
    common = given(spec.name, table)
    own = {key: value for key, value in table.items() if key not in COMMON}
    return InChild(spec.name, partial(_program, spec, common, own))


def _program(spec: SourceSpec, common: Given, own: dict[str, Any]) -> Program:
    """How a plugin's child is started. All of its files are held against its pin first."""
    check(spec.name)
    return Program(
        command=python("waitbus.sources.child_host", spec.name),
        environment=environment(common.env),
        read=partial(of_plugin, source=spec.name),
        hello=_hello(spec, common, own),
        announces=True,
        silence=SILENCE,
    )


def _hello(spec: SourceSpec, common: Given, own: dict[str, Any]) -> bytes:
    about = {
        "implementation": spec.implementation,
        "settings_class": spec.settings,
        "settings": own,
        "memory": common.memory,
    }
    try:
        return json.dumps(about).encode() + b"\n"
    except TypeError as error:  # a date or a time of TOML
        raise ConfigError(f"sources.{spec.name}: {error}", hint="write dates and times as texts") from None


def check(name: str) -> None:
    """Hold an installed plugin against policy and pins; for one that was registered in this process nobody installed it.

    Raises:
      PluginRefused: it may not be used.
      PinsDamaged: nobody knows what may be.
    """
    found = next((entry for entry in index.installed() if entry.name == name), None)
    if found is None:
        return
    one = index.examined(found, pins.read(), in_force())
    if one.judgement.state == "refused":
        raise index.refusal(one)
