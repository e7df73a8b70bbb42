"""`config.toml`: one attrs class for each table, defaults in the class, environment over file over default.

A value that is not legal, a table or a key that nobody knows, is an error with its place and its remedy: a setting that is
silently ignored is worse than none.
"""

from __future__ import annotations

import os
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any, NewType

import attrs

from waitbus.errors import ConfigError, InvalidValue
from waitbus.paths import config_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import cattrs


Seconds = NewType("Seconds", float)
"""A duration in s; in the file a number or a text such as `30d` or `none`."""

Bytes = NewType("Bytes", int)
"""A size in bytes; in the file a number or a text such as `1GiB`."""


def _positive(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and value <= 0:
        raise InvalidValue(f"{attribute.name} {value!r} is not above 0", hint="write a larger one")


def _upper(text: str) -> str:  # mypy takes no method as a converter
    return text.upper()


@attrs.frozen
class RetentionTable:
    """What the log keeps: rows for `max_age`, at most `max_size` of them, their payloads for `payload_days` days."""

    max_age: Seconds | None = Seconds(30 * 86400.0)
    max_size: Bytes | None = Bytes(1024**3)
    payload_days: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))


@attrs.frozen
class Config:
    """All that can be set. Durations are in s, sizes in bytes."""

    log_level: str = attrs.field(default="INFO", validator=attrs.validators.in_(("DEBUG", "INFO", "WARNING", "ERROR")))
    heartbeat_sec: float = attrs.field(default=60.0, validator=_positive)
    stall_timeout: Seconds = Seconds(300.0)
    drain_timeout: Seconds = Seconds(5.0)
    synchronous: str = attrs.field(default="NORMAL", converter=_upper, validator=attrs.validators.in_(("NORMAL", "FULL")))
    retention: RetentionTable = attrs.field(factory=RetentionTable)
    sources: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    plugins: dict[str, Any] = attrs.field(factory=dict)
    mcp: dict[str, Any] = attrs.field(factory=dict)
    prometheus: dict[str, Any] = attrs.field(factory=dict)


ENVIRONMENT = {"WAITBUS_LOG_LEVEL": "log_level", "WAITBUS_HEARTBEAT_SEC": "heartbeat_sec"}
"""Variables that win over the file."""

OF_OLD = frozenset({"metrics_snapshot_period_sec", "metrics_port", "stall_threshold_min", "fs_watch_path"})
"""Keys that a file written for 0.2 may have and that mean nothing here; `config validate` names them."""


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration in force: the file at `path` (default: the one of `WAITBUS_CONFIG_DIR`), under the environment.

    Raises:
      ConfigError: the file is no TOML, or a value in it or in the environment is not legal.
    """
    path = config_path() if path is None else path
    table = _read(path)
    for key in OF_OLD:
        table.pop(key, None)
    config = structured(table, os.fspath(path))
    return _with_environment(config, environment)


def structured(table: Mapping[str, Any], where: str) -> Config:
    """A `Config` from plain values; `where` is what an error names."""
    if not table:
        return Config()
    import cattrs

    try:
        return _converter().structure(table, Config)
    except cattrs.ClassValidationError as error:
        message, hint = _first(error, "")
        raise ConfigError(f"{where}: {message}", hint=hint) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="mend its rights, or set WAITBUS_CONFIG_DIR") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="`waitbus config schema --format toml-example` prints a good one") from None


def _with_environment(config: Config, environment: Mapping[str, str]) -> Config:
    changes: dict[str, Any] = {}
    for variable, key in ENVIRONMENT.items():
        if value := environment.get(variable):
            table: dict[str, Any] = {key: value.upper() if key == "log_level" else _number(variable, value)}
            changes[key] = getattr(structured(table, variable), key)
    return attrs.evolve(config, **changes) if changes else config


def _number(variable: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{variable} {value!r} is not a number of seconds", hint="write 60 or 0.5") from None


@cache
def _converter() -> cattrs.Converter:
    from waitbus.events import converter
    from waitbus.quantities import parse_duration, parse_size

    made = converter().copy()

    def seconds(value: Any, _: object) -> Any:
        return parse_duration(value if isinstance(value, str) else _plain_number(value))

    def size(value: Any, _: object) -> Any:
        if value == "none":
            return None
        return parse_size(value if isinstance(value, str) else _plain_number(value))

    made.register_structure_hook_func(lambda kind: kind in (Seconds, Seconds | None), seconds)
    made.register_structure_hook_func(lambda kind: kind in (Bytes, Bytes | None), size)
    made.register_structure_hook_func(lambda kind: kind is float, lambda value, _: float(_plain_number(value)))
    made.register_structure_hook_func(lambda kind: kind is str, _text)
    return made


def _plain_number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(f"{value!r} is not a number", hint="write a number, or a text such as \"30d\"")
    return repr(value)


def _text(value: Any, _: object) -> str:
    if not isinstance(value, str):
        raise InvalidValue(f"{value!r} is not a text", hint="put it in quotes")
    return value


def _first(error: BaseException, place: str) -> tuple[str, str]:
    """The first leaf of a tree of validation errors, with the dotted place it stands at."""
    from cattrs import AttributeValidationNote, ForbiddenExtraKeysError

    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            place = f"{place}.{note.name}" if place else note.name
    if isinstance(error, BaseExceptionGroup):
        return _first(error.exceptions[0], place)
    if isinstance(error, ForbiddenExtraKeysError):
        return _unknown_key(sorted(error.extra_fields)[0], place, error.cl)
    if isinstance(error, InvalidValue):
        return f"{place}: {error.message}" if place not in error.message else error.message, error.hint
    return f"{place}: {error}", "`waitbus config schema` tells what may stand there"


def _unknown_key(key: str, place: str, table: Any) -> tuple[str, str]:
    import difflib

    known = [field.name for field in attrs.fields(table)]
    near = difflib.get_close_matches(key, known, 1)
    full = f"{place}.{key}" if place else key
    return f"unknown key {full!r}", f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
