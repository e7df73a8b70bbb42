"""The configuration explained, from the classes of `waitbus.config` and those of the sources, so that no word of it can drift.

`json_schema` is for editors and checkers, `toml_example` for people: every setting with its sentence and its default, all
commented out but for the headers, so that no file of ours holds a default fast that changes in a later version.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_origin

import attrs
import tomli_w

from waitbus.config import Bytes, Config, Seconds, is_table, settings
from waitbus.errors import SourceUnavailable
from waitbus.sources import SourceSpec, known_sources
from waitbus.sources.loading import settings_class

WIDTH = 100
HEAD = """\
# The configuration of waitbus. Every setting is shown with its default; remove the # to change one.
# Durations: 500ms, 30s, 1h30m, 30d, or a number of seconds. Sizes: 500k, 64MiB, 1GiB, or a number of bytes.
# `waitbus config validate` checks this file, `waitbus config show` tells what is in force and why.
"""


# -- TOML --------------------------------------------------------------------------------------------------------------


def toml_example() -> str:
    """A config file that changes nothing: all settings, all at their defaults, all commented out."""
    return "\n".join([HEAD, *_table_example(Config, ""), *_sources_example()])


def _table_example(kind: type, place: str) -> Iterator[str]:
    rows = settings(kind).items()
    for name, setting in rows:
        if not is_table(setting):
            yield f"{_comment(sentence(setting))}\n#{line(name, plain(setting.default, setting.type))}"
    for name, setting in rows:
        if is_table(setting):
            full = f"{place}.{name}" if place else name
            yield f"{_comment(sentence(setting))}\n[{full}]\n"
            if attrs.has(setting.type or str):
                yield from _table_example(setting.type or str, full)


def _sources_example() -> Iterator[str]:
    """The tables of sources that can be run, in comments altogether: an empty table would be a table all the same."""
    for name, kind in source_tables().items():
        yield f"# [sources.{name}]"
        for key, setting in settings(kind).items():
            about = textwrap.fill(sentence(setting), WIDTH, initial_indent="# # ", subsequent_indent="# # ")
            yield f"{about}\n{_default_line(key, setting)}"
        yield ""


def _default_line(name: str, setting: attrs.Attribute[Any]) -> str:
    if setting.default is attrs.NOTHING:
        return f"# {name} ="
    return textwrap.indent(line(name, default_of(setting)), "# ").rstrip("\n")


def default_of(setting: attrs.Attribute[Any]) -> Any:
    """A setting's default as a file would have it; None where it has none."""
    default: Any = setting.default
    if default is attrs.NOTHING:
        return None
    return plain(default.factory() if isinstance(default, attrs.Factory) else default, setting.type)  # type: ignore[arg-type]


def source_tables() -> dict[str, type]:
    """Name -> class of settings, of every source that can be run and whose class can be had here."""
    found: dict[str, type] = {}
    for name, spec in known_sources().items():
        with contextlib.suppress(SourceUnavailable):
            if spec.implementation:
                found[name] = settings_class(spec)
    return found


def _comment(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def line(name: str, value: Any) -> str:
    """`name = value` as TOML, where `name` may be dotted; a table has its header instead."""
    if isinstance(value, dict):
        return tomli_w.dumps({name: value})
    return f"{name}{tomli_w.dumps({'_': value})[1:]}"


def plain(value: Any, kind: Any) -> Any:
    """A setting's value as a person would write it in the file: `"30d"` rather than 2592000.0."""
    if attrs.has(type(value)):
        table = {name: (getattr(value, name), setting) for name, setting in settings(type(value)).items()}
        return {name: plain(inner, setting.type) for name, (inner, setting) in table.items()}
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return list(value)
    if _holds(kind, Seconds):
        return write_duration(value)
    if _holds(kind, Bytes):
        return write_size(value)
    return value


def write_duration(seconds: float) -> str:
    """A duration in the grammar of `parse_duration`, which reads it back: `30d`, `1h30m`, `1.5s`."""
    left, text = round(seconds * 1000), ""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def write_size(size: int) -> str:
    """A size in the grammar of `parse_size`, which reads it back: `1GiB`, `1500k`, `4097`."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return f"{size // 1000}k" if size % 1000 == 0 else str(size)


# -- JSON Schema -------------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of the config file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "waitbus config.toml",
        **_table_schema(Config, {"sources": _sources_schema()}),
    }


def _sources_schema() -> dict[str, Any]:
    tables = source_tables()
    off = {"type": "object", "additionalProperties": False, "properties": {"enabled": {"const": False}}}

    def schema(name: str, spec: SourceSpec) -> dict[str, Any]:
        # Where its class cannot be had here, whatever it needs is somewhere else.
        return _table_schema(tables[name]) if name in tables else {"type": "object"} if spec.implementation else off

    return {
        "description": sentence(settings(Config)["sources"]),
        "type": "object",
        "additionalProperties": False,
        "properties": {name: schema(name, spec) for name, spec in known_sources().items()},
    }


def _table_schema(kind: type, instead: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    properties = {name: instead.get(name) or _setting_schema(setting) for name, setting in settings(kind).items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _setting_schema(setting: attrs.Attribute[Any]) -> dict[str, Any]:
    about = {"description": sentence(setting)}
    if attrs.has(setting.type or str):
        return about | _table_schema(setting.type or str)
    has_default = setting.default is not attrs.NOTHING and not is_table(setting)
    return about | _kind_schema(setting) | ({"default": default_of(setting)} if has_default else {})


def _kind_schema(setting: attrs.Attribute[Any]) -> dict[str, Any]:
    kind = setting.type
    options = getattr(setting.validator, "options", None)
    if options is not None:
        return {"type": "string", "enum": list(options)}
    if _holds(kind, float) and not (_holds(kind, Seconds) or _holds(kind, Bytes)):
        floor = getattr(setting.validator, "floor", None)
        number = {"type": "number", **({"exclusiveMinimum": 0} if floor is None else {"minimum": floor})}
        return {"anyOf": [number, {"const": "none"}]} if _is_optional(kind) else number
    if _holds(kind, Seconds) or _holds(kind, Bytes):
        text: dict[str, Any] = (
            {"type": "string"} if _is_optional(kind) else {"type": "string", "not": {"const": "none"}}
        )
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, text]}
    if kind is bool:
        return {"type": "boolean"}
    if _holds(kind, int):
        whole: dict[str, Any] = {"type": "integer"}
        return {"anyOf": [whole, {"const": "none"}]} if _is_optional(kind) else whole
    if get_origin(kind) in (tuple, list):
        return {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}
    if is_table(setting):
        nested = kind == dict[str, dict[str, Any]]
        return {"type": "object", "additionalProperties": {"type": "object"} if nested else True}
    return {"type": "string"}


def sentence(setting: attrs.Attribute[Any]) -> str:
    """What a setting means, with what may be written."""
    about: str = setting.metadata.get("about", "")
    units = {Seconds: "A duration", Bytes: "A size"}
    unit = next((words for kind, words in units.items() if _holds(setting.type, kind)), "")
    none = _is_optional(setting.type)
    if unit:
        return f"{about} {unit}{', or none' if none else ''}."
    options = getattr(setting.validator, "options", None)
    if options is not None:
        return f"{about} One of {', '.join(options)}."
    floor = getattr(setting.validator, "floor", None)
    if floor is not None:
        return f"{about} At least {floor:g}."
    if none:
        return (
            f"{about} {'A number' if _holds(setting.type, float) or _holds(setting.type, int) else 'A text'}, or none."
        )
    return about


def _is_optional(kind: Any) -> bool:
    return type(None) in getattr(kind, "__args__", ())


def _holds(kind: Any, wanted: Any) -> bool:
    return bool(kind == wanted or wanted in getattr(kind, "__args__", ()))
