"""A source's declaration: what it says of itself to everybody, before any code of it is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.errors import InvalidName
from waitbus.event_checks import shown
from waitbus.events import INT_FIELDS, NAME, NAME_MAX

if TYPE_CHECKING:
    from waitbus.verdict import ProgressRule


_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", list: "texts", tuple: "texts"}


# A converter leaves what is of the wrong kind to the validator behind it, which knows the name of the field.


def _words(given: Iterable[str]) -> tuple[str, ...]:
    return given if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)  # type: ignore[return-value]


def _set(given: Iterable[str]) -> frozenset[str]:
    words = _words(given)
    return frozenset(words) if _are_texts(words) else words  # type: ignore[return-value]


def _read_only(given: Any) -> Any:
    return MappingProxyType(dict(given)) if isinstance(given, Mapping) else given


def _vocabulary(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    return MappingProxyType({key: _words(words) for key, words in given.items()})


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple | frozenset) and all(isinstance(word, str) for word in value)


def _texts(_: SourceSpec, field: attrs.Attribute[Any], value: object) -> None:
    _check_texts(field.name, value)


def _check_texts(what: str, value: object) -> None:
    if not _are_texts(value):
        given = list(value) if isinstance(value, tuple) else value
        raise InvalidName(f"{what} {shown(given)} is no list of texts", hint='write ["..."], also for a single one')


def _table(_: SourceSpec, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        given = dict(value) if isinstance(value, Mapping) else value
        raise InvalidName(f"{field.name} {shown(given)} is no mapping of names", hint='write {"...": ...}')


def _tables_of_texts(spec: SourceSpec, field: attrs.Attribute[Any], value: Mapping[str, object]) -> None:
    _table(spec, field, value)
    for key, words in value.items():
        _check_texts(f"{field.name} of {key!r}:", words)


def _text(_: SourceSpec, field: attrs.Attribute[str], value: object) -> None:
    if not isinstance(value, str):
        raise InvalidName(f"{field.name} {shown(value)} is no text", hint="put it in quotes")


def _check_name(what: str, value: object) -> None:
    if not isinstance(value, str) or not NAME.match(value) or len(value) > NAME_MAX:
        raise InvalidName(
            f"{what} {shown(value)} is not a name",
            hint=f"a name is a-z, then a-z, 0-9 and _, {NAME_MAX} characters at most",
        )


def _name(_: SourceSpec, field: attrs.Attribute[str], value: str) -> None:
    _check_name(field.name, value)


def _event_types(spec: SourceSpec, _: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if not value:
        raise InvalidName(f"source {spec.name!r} declares no event type", hint="a source has one at least")
    for event_type in value:
        _check_name("event_type", event_type)


def _subset(spec: SourceSpec, field: attrs.Attribute[frozenset[str]], value: frozenset[str]) -> None:
    if unknown := sorted(value - set(spec.event_types)):
        raise InvalidName(
            f"source {spec.name!r}: {field.name} names {unknown[0]!r}, which is none of its event types",
            hint=f"its event types are {' '.join(spec.event_types)}",
        )


@attrs.frozen(kw_only=True)
class SourceSpec:
    """A source's declaration.

    Raises:
      InvalidName: a name is not `[a-z][a-z0-9_]*`, a value is of the wrong kind, or `progress`/`concludes` names a type that is
        not declared.
    """

    name: str = attrs.field(validator=_name)
    event_types: tuple[str, ...] = attrs.field(converter=_words, validator=[_texts, _event_types])
    about: str = attrs.field(default="", validator=_text)
    """One sentence for `source list`."""
    progress: frozenset[str] = attrs.field(factory=frozenset, converter=_set, validator=[_texts, _subset])
    """Event types that are progress whatever they carry: they end a wait only where it names them."""
    concludes: frozenset[str] = attrs.field(factory=frozenset, converter=_set, validator=[_texts, _subset])
    """Event types that are progress for as long as they have no conclusion."""
    fields: Mapping[str, str] = attrs.field(factory=dict, converter=_read_only, validator=_table, hash=False)
    """Key of `fields` -> what it holds, in a few words, with its unit."""
    types: Mapping[str, str] = attrs.field(factory=dict, converter=_read_only, validator=_table, hash=False)
    """Key of `fields` -> `integer`, `number`, `boolean`, `text` or `texts`, where neither the key nor the example says it."""
    natural_key: str = attrs.field(default="", validator=_text)
    """The form of its delivery ids, in which two watchers of one thing agree."""
    vocabulary: Mapping[str, tuple[str, ...]] = attrs.field(
        factory=dict, converter=_vocabulary, validator=_tables_of_texts, hash=False
    )
    """Key -> the words it may have, where they are few: `action`, `status`, `conclusion`, ..."""
    example: Mapping[str, Any] = attrs.field(factory=dict, converter=_read_only, validator=_table, hash=False)
    """The keywords of one `EventInsert` that shows what its events are like."""
    matches: tuple[str, ...] = attrs.field(default=(), converter=_words, validator=_texts)
    """Terms that people would write behind `--match`; the example matches one of them at least."""
    embeddable: bool = False
    """Whether a wait may run the source by itself where nobody else does."""
    implementation: str = attrs.field(default="", validator=_text)
    """`module:Class` of its `contract.Source`, made from its settings; empty where nothing is run (rows come in otherwise)."""
    settings: str = attrs.field(default="", validator=_text)
    """`module:Class` of what may stand in its table of the configuration, a `contract.SourceSettings`. The module is imported by
    `config` and `source show` too: what may be missing or is large is imported elsewhere."""

    def type_of(self, key: str) -> str:
        """What a key of `fields` holds: `integer`, `number`, `boolean`, `text`, `texts`."""
        if key in self.types:
            return str(self.types[key])
        if key in INT_FIELDS:
            return "integer"
        given = {**self.example.get("fields", {}), **self.example}
        return _TYPES.get(type(given.get(key)), "text")

    def progress_rules(self) -> dict[str, ProgressRule]:
        """The declaration in the words of `verdict`."""
        rules: dict[str, ProgressRule] = dict.fromkeys(self.concludes, "without_conclusion")
        return rules | dict.fromkeys(self.progress, "always")


def from_plain(given: Mapping[str, Any]) -> SourceSpec:
    """A declaration from what `declaring.plain` made of it.

    Raises:
      InvalidName, TypeError: it is none.
    """
    for key, kind in _KINDS.items():
        if not isinstance(given[key], kind):
            raise TypeError(key)
    return SourceSpec(**given)


_KINDS: dict[str, type] = {
    **dict.fromkeys(("name", "about", "natural_key", "implementation", "settings"), str),
    **dict.fromkeys(("event_types", "progress", "concludes", "matches"), list),
    **dict.fromkeys(("fields", "types", "vocabulary", "example"), dict),
    "embeddable": bool,
}
