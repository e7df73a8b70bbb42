"""The sources that are known: declarations alone. Nothing here opens, listens or imports a source's code, so that `emit`, `wait`
and `--help` may ask. `contract` says what a running source is, `supervision` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from waitbus.errors import InvalidName, UnknownSource, WaitbusError
from waitbus.event_checks import shown
from waitbus.sources.builtin import BUILT_IN
from waitbus.sources.spec import SourceSpec, from_plain

__all__ = ["SourceSpec", "known_sources", "register_source", "source"]

_registered: dict[str, SourceSpec] = {}


def known_sources() -> Mapping[str, SourceSpec]:
    """Name -> declaration: the built-in sources, those of plugins and of the configuration, those registered in this process.

    It blocks for a moment after something was installed, and never fails: a plugin that is wrong is left out.
    """
    return MappingProxyType({**{spec.name: spec for spec in BUILT_IN}, **_brought(), **_registered})


def _brought() -> dict[str, SourceSpec]:
    from waitbus import declared

    try:
        found = declared.stored()
        if found is None:
            from waitbus.sources import index  # 20 ms; a stored index needs none of it

            found = index.index()
        return {name: from_plain(row["spec"]) for name, row in found["sources"].items()}
    except (WaitbusError, KeyError, TypeError):  # no home directory, say: then there is no configuration either
        return {}


def source(name: str) -> SourceSpec:
    """The declaration of one source.

    Raises:
      UnknownSource: nobody declared that name here.
    """
    specs = known_sources()
    if name not in specs:
        message, hint = refusal(name) or (f"no source {shown(name)} is known here", f"known are {' '.join(specs)}")
        raise UnknownSource(message, hint=hint)
    return specs[name]


def refusal(name: str) -> tuple[str, str] | None:
    """What is wrong with the plugin or the table that was to bring the source, and what to do; None where nothing was."""
    from waitbus.sources import index

    try:
        return next(((message, hint) for refused, message, hint in index.refusals() if refused == name), None)
    except WaitbusError:
        return None


def register_source(spec: SourceSpec) -> None:
    """Declare a source in this process, for as long as it lives; the same declaration twice is one.

    Events of a source that nobody declared are delivered all the same: this adds the words (`source show`, spelling hints) and
    what is progress, no permission.

    Raises:
      InvalidName: it is no declaration, or another source has that name or one of the event types.
    """
    if not isinstance(spec, SourceSpec):
        raise InvalidName(
            f"{shown(spec)} is no declaration of a source",
            hint="make one: waitbus.SourceSpec(name=..., event_types=[...])",
        )
    from waitbus.verdict import declare_progress

    for other in known_sources().values():
        if other == spec:
            return
        if other.name == spec.name:
            raise InvalidName(f"source {spec.name!r} is already declared", hint="choose another name")
        if shared := sorted(set(other.event_types) & set(spec.event_types)):
            raise InvalidName(
                f"event type {shared[0]!r} belongs to source {other.name!r} already", hint="choose another event type"
            )
    _registered[spec.name] = spec
    declare_progress(spec.name, spec.progress_rules())


def is_registered(spec: SourceSpec) -> bool:
    """Whether this process registered the declaration, so that its code is this process's own."""
    return _registered.get(spec.name) == spec
