"""`config.toml`: one attrs class for each table, defaults in the class, environment over file over default.

A value that is not legal, a table or a key that nobody knows, is an error with its place and its remedy: a setting that is
silently ignored is worse than none.
"""

from __future__ import annotations

import errno
import math
import os
import tomllib
from datetime import date
from datetime import time as dt_time
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, NewType, TypeVar, get_origin

import attrs

from waitbus import whole
from waitbus.errors import ConfigError, InvalidValue
from waitbus.event_checks import shown
from waitbus.paths import config_path
from waitbus.quantities import HEARTBEAT_MIN, parse_duration, parse_finite_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import cattrs


T = TypeVar("T")

_GOOD = "`waitbus config schema --format toml-example` prints a good one"

Seconds = NewType("Seconds", float)
"""A duration in s; in the file a number or a text such as `30d`, or `none` where it may be None."""

Bytes = NewType("Bytes", int)
"""A size in bytes; in the file a number or a text such as `1GiB`."""


def _positive(_: object, __: object, value: float | None) -> None:
    if value is not None and value <= 0:
        raise InvalidValue(f"{value:g} is not above 0", hint="write a larger one")


@attrs.frozen
class AtLeast:
    """A validator that can be asked for its bound: `config schema` tells it."""

    floor: float

    def __call__(self, _: object, __: object, value: float) -> None:
        if value < self.floor:
            raise InvalidValue(f"{value:g} is below {self.floor:g}", hint=f"write {self.floor:g} or more")


def _upper(text: str) -> str:  # mypy takes no method as a converter
    return text.upper()


def _about(sentence: str) -> dict[str, str]:
    """A sentence about a setting, where `config schema` finds it."""
    return {"about": sentence}


@attrs.frozen
class RetentionTable:
    """What the log keeps. Whatever the first of the two caps lets go is pruned, oldest first, in small chunks."""

    max_age: Seconds | None = attrs.field(
        default=Seconds(30 * 86400.0), metadata=_about("Rows older than this are pruned.")
    )
    max_size: Bytes | None = attrs.field(
        default=Bytes(1024**3), metadata=_about("The oldest rows are pruned while the log takes more than this.")
    )
    payload_days: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(_positive),
        metadata=_about("After so many days the raw payload of an event is dropped; the event itself stays."),
    )


@attrs.frozen
class Config:
    """All that can be set. Durations are in s, sizes in bytes."""

    log_level: str = attrs.field(
        default="INFO",
        converter=_upper,
        validator=attrs.validators.in_(("DEBUG", "INFO", "WARNING", "ERROR")),
        metadata=_about("What the daemon logs to stderr."),
    )
    heartbeat_sec: float = attrs.field(
        default=60.0,
        validator=AtLeast(HEARTBEAT_MIN),
        metadata=_about(
            "Seconds between two heartbeats of the daemon; silence of 2.5 heartbeats makes a client read the log itself."
        ),
    )
    stall_timeout: Seconds = attrs.field(
        default=Seconds(300.0),
        metadata=_about("A subscriber that takes no byte for so long is closed; one that only reads slowly never is."),
    )
    drain_timeout: Seconds = attrs.field(
        default=Seconds(5.0), metadata=_about("How long a daemon that ends goes on delivering what was committed.")
    )
    synchronous: str = attrs.field(
        default="NORMAL",
        converter=_upper,
        validator=attrs.validators.in_(("NORMAL", "FULL")),
        metadata=_about(
            "NORMAL survives a crash of any program; FULL, at about 5 times the cost of an emit, of the machine too."
        ),
    )
    retention: RetentionTable = attrs.field(factory=RetentionTable, metadata=_about("What the log keeps."))
    sources: dict[str, dict[str, Any]] = attrs.field(
        factory=dict, metadata=_about("Settings of sources, a table for each: [sources.NAME].")
    )
    plugins: dict[str, Any] = attrs.field(
        factory=dict,
        metadata=_about(
            "Which plugins are used, and how they are trusted: autoload, allow, deny, trust, require_attestation, index_url."
        ),
    )
    mcp: dict[str, Any] = attrs.field(factory=dict, metadata=_about("Settings of the MCP server."))
    prometheus: dict[str, Any] = attrs.field(factory=dict, metadata=_about("Settings of the metrics page."))


ENVIRONMENT = {"WAITBUS_LOG_LEVEL": "log_level", "WAITBUS_HEARTBEAT_SEC": "heartbeat_sec"}
"""Variables that win over the file."""

OF_OLD = frozenset(
    {
        *("fs_watch_path", "metrics_port", "metrics_snapshot_period_sec", "stall_threshold_min"),
        *("mcp_event_types", "mcp_filter", "mcp_since", "prom_owner", "prom_repo"),
    }
)
"""Keys that a file written for 0.2 may have and that mean nothing here; `config validate` names them."""


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration in force: the file at `path` (default: the one of `WAITBUS_CONFIG_DIR`), under the environment.

    Raises:
      ConfigError: the file is no TOML, or a value in it or in the environment is not legal.
    """
    path = config_path() if path is None else path
    table = read(path)
    for key in OF_OLD:
        table.pop(key, None)
    config = structured(table, os.fspath(path))
    return _with_environment(config, environment)


def structured(table: Mapping[str, Any], where: str) -> Config:
    """A `Config` from plain values; `where` is what an error names."""
    found: list[Problem] = []
    config = table_of(Config, table, "", found)
    if config is None:
        raise ConfigError(f"{where}: {found[0].message}", hint=found[0].hint)
    return config


class Problem(NamedTuple):
    """One thing that is wrong, at a dotted place ("" is the file itself)."""

    place: str
    message: str
    hint: str


def problems(table: Mapping[str, Any]) -> list[Problem]:
    """All that is wrong with plain values, where `structured` names the first."""
    found: list[Problem] = []
    table_of(Config, table, "", found)
    return found


def read(path: Path) -> dict[str, Any]:
    """The plain values of a file; none, if there is no file.

    Raises:
      ConfigError: it cannot be read, or is not TOML.
    """
    return parsed(text_of(path), path)


def text_of(path: Path) -> str:
    """What stands in a file; nothing, if there is no file.

    Raises:
      ConfigError: it cannot be read, or is no text.
    """
    try:
        return whole.read(path).decode()
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ConfigError(f"{path} has more than {whole.SMALL:,} bytes", hint=_GOOD) from None
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="mend its rights, or set WAITBUS_CONFIG_DIR"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}", hint="save it as UTF-8"
        ) from None


def parsed(text: str, path: Path) -> dict[str, Any]:
    """The plain values of a text, the one of the file `path`.

    Raises:
      ConfigError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint=_GOOD) from None
    except (ValueError, RecursionError):
        raise ConfigError(
            f"{path} has a number or a nesting that is longer than anybody reads",
            hint=_GOOD,
        ) from None


def _with_environment(config: Config, environment: Mapping[str, str]) -> Config:
    changes: dict[str, Any] = {}
    for variable, key in ENVIRONMENT.items():
        if value := environment.get(variable):
            table: dict[str, Any] = {key: value if key == "log_level" else _number_in(variable, value)}
            changes[key] = getattr(structured(table, variable), key)
    return attrs.evolve(config, **changes) if changes else config


def _number_in(variable: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{variable} {value!r} is not a number of seconds", hint="write 60 or 0.5")
    return number


# -- plain values to settings ------------------------------------------------------------------------------------------


def table_of(kind: type[T], values: Any, place: str, found: list[Problem]) -> T | None:
    """The settings of one table as its class, from plain values; None where `found` has got what is wrong."""
    wrong = len(found)
    # Not cattrs as a whole: it stops at the first fault of each class, and says it in its own words.
    if not isinstance(values, dict):
        found.append(Problem(place, f"{place}: {_as_toml(values)} is not a table", f"write [{place}] above its keys"))
        return None
    known = settings(kind)
    given: dict[str, Any] = {}
    for key, value in values.items():
        where = f"{place}.{key}" if place else key
        if key not in known:
            found.append(_unknown_key(key, where, known))
        elif value == {} and is_table(known[key]):
            continue  # an empty table says nothing, and `init` writes only such: it is not to cost the import of cattrs
        elif attrs.has(type_ := known[key].type or str):
            given[key] = table_of(type_, value, where, found)
        else:
            try:
                given[key] = _value(value, known[key])
            except InvalidValue as error:
                found.append(Problem(where, f"{where}: {error.message}", error.hint))
    for key, setting in known.items():
        if setting.default is attrs.NOTHING and key not in values:
            where = f"{place}.{key}" if place else key
            found.append(Problem(where, f"{where} is not given", f"write {key} = ..., {_lowered(setting)}"))
    return None if len(found) > wrong else _made(kind, given, place, found)


def _made(kind: type[T], given: dict[str, Any], place: str, found: list[Problem]) -> T | None:
    try:
        return kind(**given)
    except InvalidValue as error:  # settings that are legal each, and not together
        found.append(Problem(place, f"{place}: {error.message}", error.hint))
        return None


def _lowered(setting: attrs.Attribute[Any]) -> str:
    about: str = setting.metadata.get("about", "it has no default")
    return about[:1].lower() + about[1:].rstrip(".")


def is_table(setting: attrs.Attribute[Any]) -> bool:
    """Whether a setting is a table of its own in the file."""
    return attrs.has(setting.type or str) or get_origin(setting.type) is dict


def settings(kind: type) -> dict[str, attrs.Attribute[Any]]:
    """The settings of a table by name, each with its real `type`, `default`, `validator` and `metadata["about"]`."""
    return {field.name: field for field in attrs.fields(attrs.resolve_types(kind))}


def _value(value: Any, setting: attrs.Attribute[Any]) -> Any:
    made = _read(value, setting)
    options = getattr(setting.validator, "options", None)
    if options is not None:
        found = next((one for one in options if str(one).lower() == str(made).lower()), None)
        if found is None:
            raise InvalidValue(f"{_as_toml(value)} is none of {', '.join(map(str, options))}", hint="write one of them")
        return found
    if setting.validator is not None:
        _validate(setting, made)
    return made


def _validate(setting: attrs.Attribute[Any], value: Any) -> None:
    try:
        setting.validator(None, setting, value)  # type: ignore[misc]
    except InvalidValue:
        raise
    except (TypeError, ValueError):  # those of attrs, whose sentences are not for people
        raise InvalidValue(f"{_as_toml(value)} is not legal", hint=_lowered(setting)) from None


def _read(value: Any, setting: attrs.Attribute[Any]) -> Any:
    from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError

    if value in (0, "0", "0s") and value is not False and setting.type == Seconds and setting.validator is not None:
        return 0.0  # for its own validator to judge: elsewhere a duration is more than nothing
    try:
        return _converter().structure(value, setting.type or str)
    except (BaseValidationError, StructureHandlerNotFoundError, TypeError):  # of a kind that only another's source has
        raise InvalidValue(f"{_as_toml(value)} is not legal", hint=_lowered(setting)) from None


@cache
def _converter() -> cattrs.Converter:
    from waitbus.events import converter

    made = converter().copy()
    readers: dict[Any, Callable[[Any], Any]] = {
        Seconds: _seconds,
        Seconds | None: _seconds_or_none,
        Bytes: _size,
        Bytes | None: _size_or_none,
        float: _number,
        float | None: _number_or_none,
        bool: _yes_or_no,
        int: _whole,
        int | None: _whole_or_none,
        str | None: _text_or_none,
        tuple[str, ...]: _texts,
        list[str]: lambda value: list(_texts(value)),
        dict[str, str]: _words,
    }
    for kind, read in readers.items():
        _register(made, kind, read)
    _register(made, str, _text)
    _register(made, dict[str, Any], _table)
    _register(made, dict[str, dict[str, Any]], _tables)
    return made


def _register(converter: cattrs.Converter, kind: Any, read: Callable[[Any], Any]) -> None:
    def hook(value: Any, _: Any) -> Any:
        return read(value)

    if isinstance(kind, type):
        converter.register_structure_hook(
            kind, hook
        )  # cattrs' own reading of float and str stands before every predicate
    else:
        converter.register_structure_hook_func(lambda other: bool(other == kind), hook)


def _seconds(value: Any) -> float:
    return parse_finite_duration(_written(value))


def _seconds_or_none(value: Any) -> float | None:
    return parse_duration(_written(value))


def _size(value: Any) -> int:
    return parse_size(_written(value))


def _size_or_none(value: Any) -> int | None:
    return None if value == "none" else _size(value)


def _number_or_none(value: Any) -> float | None:
    return None if value == "none" else _number(value)


def _number(value: Any) -> float:
    if value == "none":
        raise InvalidValue("'none' is not possible here", hint="write a number")
    return float(_finite(value, "write a number, without quotes"))


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"{_as_toml(value)} is neither true nor false", hint="write true or false, without quotes")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValue(f"{_as_toml(value)} is not a whole number", hint="write a whole number, without quotes")
    return value


def _whole_or_none(value: Any) -> int | None:
    return None if value == "none" else _whole(value)


def _text_or_none(value: Any) -> str | None:
    return None if value == "none" else _text(value)


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts; one text is a list of one."""
    several = value if isinstance(value, list) else [value]
    return tuple(_text(one) for one in several)


def _words(value: Any) -> dict[str, str]:
    return {name: _text(inner) for name, inner in _table(value).items()}


def _written(value: Any) -> str:
    """A number as a person would have written it, without an exponent."""
    return value if isinstance(value, str) else f"{_finite(value):f}".rstrip("0").rstrip(".")


def _finite(value: Any, hint: str = 'write a number, or a text such as "30d" where a unit is meant') -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidValue(f"{_as_toml(value)} is not a number", hint=hint)
    return value


def _as_toml(value: Any) -> str:
    """A value as the file has it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, date | dt_time) else shown(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidValue(f"{_as_toml(value)} is not a text", hint="put it in quotes")
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidValue(f"{_as_toml(value)} is not a table", hint="write its name in brackets above its keys")
    return value


def _tables(value: Any) -> dict[str, dict[str, Any]]:
    tables = _table(value)
    for name, inner in tables.items():
        if not isinstance(inner, dict):
            raise InvalidValue(
                f"{name} = {_as_toml(inner)} is not a table", hint="write its name in brackets above its keys"
            )
    return tables


def _unknown_key(key: str, full: str, known: Iterable[str]) -> Problem:
    import difflib

    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return Problem(full, f"unknown key {full!r}", hint)
