"""The configuration explained, from the classes of `waitbus.config` and nothing else, so that no word of it can drift.

`json_schema` is for editors and checkers, `toml_example` for people: every setting with its sentence and its default, all
commented out but for the headers, so that no file of ours holds a default fast that changes in a later version.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import attrs
import tomli_w

from waitbus.config import Bytes, Config, Seconds, settings

WIDTH = 100
HEAD = """\
# The configuration of waitbus. Every setting is shown with its default; remove the # to change one.
# Durations: 500ms, 30s, 1h30m, 30d, or a number of seconds. Sizes: 500k, 64MiB, 1GiB, or a number of bytes.
# `waitbus config validate` checks this file, `waitbus config show` tells what is in force and why.
"""


# -- TOML --------------------------------------------------------------------------------------------------------------


def toml_example() -> str:
    """A config file that changes nothing: all settings, all at their defaults, all commented out."""
    return "\n".join([HEAD, *_table_example(Config, "")])


def _table_example(kind: type, place: str) -> Iterator[str]:
    rows = settings(kind).items()
    for name, setting in rows:
        if not _is_table(setting):
            yield f"{_comment(_sentence(setting))}\n#{line(name, plain(setting.default, setting.type))}"
    for name, setting in rows:
        if _is_table(setting):
            full = f"{place}.{name}" if place else name
            yield f"{_comment(_sentence(setting))}\n[{full}]\n"
            if attrs.has(setting.type or str):
                yield from _table_example(setting.type or str, full)


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
    return text


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
        **_table_schema(Config),
    }


def _table_schema(kind: type) -> dict[str, Any]:
    properties = {name: _setting_schema(setting) for name, setting in settings(kind).items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _setting_schema(setting: attrs.Attribute[Any]) -> dict[str, Any]:
    about = {"description": _sentence(setting)}
    if attrs.has(setting.type or str):
        return about | _table_schema(setting.type or str)
    default = {} if _is_table(setting) else {"default": plain(setting.default, setting.type)}
    return about | _kind_schema(setting) | default


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
    if _is_table(setting):
        nested = kind == dict[str, dict[str, Any]]
        return {"type": "object", "additionalProperties": {"type": "object"} if nested else True}
    return {"type": "string"}


def _sentence(setting: attrs.Attribute[Any]) -> str:
    about: str = setting.metadata["about"]
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
    return f"{about} A number, or none." if none else about


def _is_table(setting: attrs.Attribute[Any]) -> bool:
    return isinstance(setting.default, attrs.Factory)  # type: ignore[arg-type]


def _is_optional(kind: Any) -> bool:
    return type(None) in getattr(kind, "__args__", ())


def _holds(kind: Any, wanted: Any) -> bool:
    return bool(kind == wanted or wanted in getattr(kind, "__args__", ()))
