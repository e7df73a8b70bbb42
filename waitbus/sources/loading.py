"""From a declaration to what runs. The one place where a source's code is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.errors import SourceUnavailable
from waitbus.sources.contract import SourceSettings

if TYPE_CHECKING:
    from waitbus.sources.contract import Source
    from waitbus.sources.spec import SourceSpec


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
    if not spec.settings:
        return SourceSettings
    found = _class(spec, spec.settings, "settings")
    if not (attrs.has(found) and issubclass(found, SourceSettings)):
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
    _, kind = load(spec)
    try:
        made: Source = kind(settings)  # type: ignore[call-arg]
    except Exception as error:  # the boundary: a source's own code, whatever it does, is that source's fault alone
        raise _refusal(spec, f"cannot be made: {_said(error)}", error) from error
    return made


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
    except Exception as error:  # an import runs whatever stands in the module
        raise _refusal(spec, f"cannot be loaded: {_said(error)}", error) from error


def _refusal(spec: SourceSpec, what: str, error: Exception) -> SourceUnavailable:
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    own_hint = getattr(error, "hint", "")
    if missing:
        hint = f"install what it needs: {missing} is not there"
    else:
        hint = own_hint or f"`waitbus source verify {spec.name}` tries it again"
    return SourceUnavailable(f"source {spec.name} {what}", hint=hint)


def _said(error: Exception) -> str:
    return getattr(error, "message", "") or str(error) or type(error).__name__
