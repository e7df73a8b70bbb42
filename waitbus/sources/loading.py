"""From a declaration to what runs, and from `[sources.NAME]` to its settings. The one place where a source's code is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.config import Problem, table_of
from waitbus.errors import ConfigError, SourceUnavailable
from waitbus.sources import known_sources, refusal
from waitbus.sources.contract import SourceSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waitbus.sources.contract import Source
    from waitbus.sources.spec import SourceSpec


@attrs.frozen
class Configured:
    """A table that is switched on, with its settings, or with what is wrong with it."""

    name: str
    spec: SourceSpec | None = None
    settings: SourceSettings | None = None
    wrong: tuple[Problem, ...] = ()

    def make(self) -> Source:
        """The source, ready to run. It imports its code, which may take a while: not on an event loop.

        Raises:
          ConfigError: its table is wrong.
          SourceUnavailable: its code cannot be imported, or cannot be made a source of.
        """
        if self.wrong or self.spec is None or self.settings is None:
            first = self.wrong[0]
            raise ConfigError(first.message, hint=first.hint)
        return make(self.spec, self.settings)


def load(spec: SourceSpec) -> tuple[type[SourceSettings], type[Source]]:
    """The classes that a declaration names: of its settings, and of what runs.

    Raises:
      SourceUnavailable: there is nothing to run, or it cannot be imported.
    """
    return settings_class(spec), _class(spec, spec.implementation, "implementation")


def settings_class(spec: SourceSpec) -> type[SourceSettings]:
    """The class of what may stand in the source's table.

    Raises:
      SourceUnavailable: it cannot be imported, or is no class of settings.
    """
    if _is_theirs(spec):
        raise SourceUnavailable(
            f"source {spec.name} is a plugin: what its settings mean, only its child knows",
            hint=f"its documentation has them; [sources.{spec.name}]",
        )
    if not spec.settings:
        return SourceSettings
    found = _class(spec, spec.settings, "settings")
    if not (isinstance(found, type) and attrs.has(found) and issubclass(found, SourceSettings)):
        raise SourceUnavailable(
            f"source {spec.name}: {spec.settings} is no class of settings",
            hint="it has to be an attrs class below waitbus.sources.contract.SourceSettings",
        )
    return found


def make(spec: SourceSpec, settings: SourceSettings) -> Source:
    """A source of these settings.

    Raises:
      SourceUnavailable: its code cannot be imported, or refuses the settings.
    """
    if _is_theirs(spec):
        from waitbus.sources.plugins import source_for

        return source_for(spec, settings)
    _, kind = load(spec)
    try:
        made: Source = kind(settings)  # type: ignore[call-arg]
    except (Exception, SystemExit) as error:  # the boundary: whatever a source's code does is that source's fault alone
        raise _refusal(spec, f"cannot be made: {_said(error)}", error) from error
    return made


def _is_theirs(spec: SourceSpec) -> bool:
    from waitbus.sources.index import is_theirs

    return is_theirs(spec)


def _class(spec: SourceSpec, place: str, what: str) -> Any:
    module, _, name = place.partition(":")
    if not (module and name):
        if not place:
            raise SourceUnavailable(
                f"source {spec.name} has nothing to run", hint="its events come in by themselves; just wait for them"
            )
        raise SourceUnavailable(f"source {spec.name}: {what} {place!r} is not of its form", hint="write module:Class")
    try:
        return getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # an import runs whatever stands in the module
        raise _refusal(spec, f"cannot be loaded: {_said(error)}", error) from error


def _refusal(spec: SourceSpec, what: str, error: BaseException) -> SourceUnavailable:
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    own_hint = getattr(error, "hint", "")
    if missing:
        hint = f"install what it needs: {missing} is not there"
    else:
        hint = own_hint or f"`waitbus source verify {spec.name}` tries it again"
    return SourceUnavailable(f"source {spec.name} {what}", hint=hint)


def _said(error: BaseException) -> str:
    return getattr(error, "message", "") or str(error) or type(error).__name__


# -- the configuration -------------------------------------------------------------------------------------------------


def configured(tables: Mapping[str, Mapping[str, Any]]) -> list[Configured]:
    """What `[sources.NAME]` switches on. Of a table that is off nothing is imported, and nothing but `enabled` is looked at.

    A table that is wrong is in the list too, with what is wrong: its source is down, and whoever waits for it is told.
    """
    return [one for name, table in tables.items() if (one := _configured(name, table)) is not None]


def _configured(name: str, table: Mapping[str, Any]) -> Configured | None:
    if not is_enabled(table):
        return None
    spec = _spec(name, table)
    if isinstance(spec, Problem):
        return Configured(name, wrong=(spec,))
    settings, wrong = _settings(spec, table)
    return Configured(name, spec, settings, tuple(wrong))


def is_enabled(table: Mapping[str, Any]) -> bool:
    """Whether a table is switched on. What is neither true nor false is: else nobody would be told that it is wrong."""
    return table.get("enabled", False) is not False


def problems(tables: Mapping[str, Any]) -> list[Problem]:
    """All that is wrong with the tables, also with those that are switched off. It imports their classes of settings."""
    found: list[Problem] = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            continue  # said by whoever read the file
        spec = _spec(name, table)
        found += [spec] if isinstance(spec, Problem) else _settings(spec, table)[1]
    return found


def settings_of(spec: SourceSpec, table: Mapping[str, Any]) -> SourceSettings:
    """The settings that a table means.

    Raises:
      ConfigError: a key is not known, or a value is not legal.
      SourceUnavailable: the class of settings cannot be imported.
    """
    settings, wrong = _settings(spec, table)
    if settings is None:
        raise ConfigError(wrong[0].message, hint=wrong[0].hint)
    return settings


def _settings(spec: SourceSpec, table: Mapping[str, Any]) -> tuple[SourceSettings | None, list[Problem]]:
    place, found = f"sources.{spec.name}", list[Problem]()
    if is_enabled(table) and not spec.implementation:
        hint = "its events come in by themselves; leave the table away"
        return None, [Problem(f"{place}.enabled", f"{place}.enabled: {spec.name} has nothing to run", hint)]
    if _is_theirs(spec):
        from waitbus.sources.plugins import their_settings

        return their_settings(spec, table)
    try:
        kind = settings_class(spec)
    except SourceUnavailable as error:
        return None, [Problem(place, f"{place}: {error.message}", error.hint)]
    try:
        return table_of(kind, dict(table), place, found), found
    except Exception as error:  # the boundary: a class of settings is the source's own code
        return None, [
            *found,
            Problem(place, f"{place}: {_said(error)}", f"`waitbus source show {spec.name}` has its settings"),
        ]


def _spec(name: str, table: Mapping[str, Any]) -> SourceSpec | Problem:
    """The declaration for a table; that of a command source is the table itself, which may be in a file that is not in force."""
    spec = known_sources().get(name)
    if spec is not None or "command" not in table:
        return spec or _unknown(name)
    from waitbus.sources.command import command_table

    try:
        return command_table(name, table).spec()
    except ConfigError as error:
        return Problem(f"sources.{name}", error.message, error.hint)


def _unknown(name: str) -> Problem:
    if refused := refusal(name):
        message, hint = refused
        return Problem(
            f"sources.{name}", message if message.startswith("sources.") else f"sources.{name}: {message}", hint
        )
    import difflib

    near = difflib.get_close_matches(name, known_sources(), 1)
    hint = f"did you mean {near[0]!r}?" if near else "`waitbus source list` lists those that are known"
    return Problem(f"sources.{name}", f"sources.{name}: no source {name!r} is known here", hint)
