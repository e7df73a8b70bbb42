"""What an event may hold. Each check answers the value as it is kept, or raises InvalidEvent with the value in it.

A lone surrogate (a byte of a command line or of a file name that is no UTF-8) is no character: neither SQLite nor JSON can hold
one. It is kept as its escape, `\\udcff`, so that two names that differ stay two names. All else is kept as it is.
"""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from waitbus.errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY_MAX = 400
FIELDS_MAX = 256 * 1024
PAYLOAD_MAX = 32 * 1024 * 1024
NAME_MAX = 64
OWNER_MAX = 200
DELIVERY_ID_MAX = 512
RECEIVED_AT_MIN = 10**15
"""ns; anything smaller is a time in seconds or milliseconds by mistake (as in 0.2)."""

COLUMN_FIELDS = ("source", "event_type", "owner", "repo", "status", "conclusion", "ingest_method")
"""The seven keys of `fields` that are columns of the log: readable there, reserved for writers."""

INT_FIELDS = frozenset({"run_id", "job_id", "parent_run_id", "run_attempt"})
TEXT_FIELDS = frozenset(
    {
        "workflow_name",
        "head_branch",
        "head_sha",
        "job_name",
        "alert_name",
        "alert_severity",
        "alert_fingerprint",
        "msg_to",
        "msg_from",
        "msg_correlation_id",
        "msg_reply_to",
        "msg_thread",
        "msg_body",
    }
)
WELL_KNOWN = INT_FIELDS | TEXT_FIELDS
_TYPES: dict[str, Any] = {
    **dict.fromkeys(COLUMN_FIELDS, type(None)),
    **dict.fromkeys(INT_FIELDS, int),
    **dict.fromkeys(TEXT_FIELDS, str),
}
"""The keys that are not the writer's own, each with the type it has to have: the reserved ones with none that is ever given."""

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
"""Source and event type names."""

_INT63 = 1 << 63
_INT_MAX = 10**300
"""Beyond this an integer becomes an infinity wherever it is read as a float, and Python itself will not print it."""

known_names: set[str] = set()
"""Names that were found to be good."""
_KNOWN_MAX = 1000


def name(what: str, value: object) -> str:
    """A source or an event type."""
    if isinstance(value, str):
        if len(value) <= NAME_MAX and NAME.match(value):
            if len(known_names) < _KNOWN_MAX:
                known_names.add(value)
            return value
        if NAME.match(value):
            raise InvalidEvent(f"{what} {shown(value)} has {len(value)} characters", hint=f"shorten it to {NAME_MAX}")
    raise InvalidEvent(
        f"{what} {shown(value)} is not a name", hint="a name is a-z, then a-z, 0-9 and _, as in deploy_finished"
    )


def text(what: str, value: object, limit: int) -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        raise InvalidEvent(f"{what} {shown(value)} is not a text", hint=f"give {what} a string that is not empty")
    if not value:
        raise InvalidEvent(f"{what} is empty", hint=f"give {what} a value, or leave it out")
    if len(value) > limit:
        raise InvalidEvent(f"{what} has {len(value)} characters", hint=f"shorten it to {limit}")
    return value if value.isascii() else encodable(value)


def summary(value: object) -> str:
    """Any text, cut to what is kept of a summary."""
    if not isinstance(value, str):
        raise InvalidEvent(f"summary {shown(value)} is not a text", hint="give summary a string, or leave it away")
    value = value[:SUMMARY_MAX]
    return value if value.isascii() else encodable(value)[:SUMMARY_MAX]


def encodable(value: str) -> str:
    """The text with lone surrogates written out."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def received_at(value: object) -> int:
    """A time in ns since the epoch."""
    if type(value) is not int or not RECEIVED_AT_MIN <= value < _INT63:
        raise InvalidEvent(
            f"received_at {shown(value)} is not a time in ns since the epoch",
            hint="time.time_ns() gives one; seconds and milliseconds are too small",
        )
    return value


def payload(value: object) -> str:
    """JSON text, kept as it is written."""
    if value == "{}":
        return "{}"
    if not isinstance(value, str):
        raise InvalidEvent(f"payload_json {shown(value)} is not a text", hint="json.dumps(...) makes one")
    if len(value) > PAYLOAD_MAX:
        raise InvalidEvent(f"payload_json has {len(value)} characters", hint=f"shorten it to {PAYLOAD_MAX}")
    try:
        # As JSONDecoder.decode does, without its two searches for blanks around the value; hardly anybody's JSON has any.
        try:
            end = _scan(value, 0)[1]
        except StopIteration:
            end = -1
        if end != len(value):
            _decoder.decode(value)
        if not value.isascii():
            value.encode()
    except RecursionError:
        raise InvalidEvent("payload_json is nested too deeply", hint="flatten it") from None
    except UnicodeEncodeError:
        raise InvalidEvent("payload_json holds a lone surrogate", hint=r"write it as JSON does, \udcff") from None
    except ValueError as error:
        raise InvalidEvent(
            f"payload_json is not JSON: {not_json(error)}", hint='write JSON, as in {"version": "1.4.2"}'
        ) from None
    return value


def not_json(error: ValueError) -> str:
    """Why a text is no JSON that can be read. What Python says of a long number is advice to a programmer."""
    said = str(error)
    return "a number has more than 4,300 digits" if "set_int_max_str_digits" in said else said


def _no_constant(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON number")


# Made once, as the encoder below: json.loads with an option makes a decoder at each call, which is half of its cost.
_decoder: Any = json.JSONDecoder(parse_constant=_no_constant)  # typeshed does not know its scanner
_scan = _decoder.scan_once


# -- fields ------------------------------------------------------------------------------------------------------------


def fields(given: Mapping[str, Any] | None, well_known: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A flat object as it is kept, and as JSON; a key with None is left out. Written by hand: half the cost of the encoder."""
    if not given:
        given = well_known
    elif not hasattr(given, "items"):
        raise InvalidEvent(f"fields {shown(given)} is not a mapping", hint='as in fields={"exit_code": 2}')
    elif well_known:
        given = {**given, **well_known}
    kept: dict[str, Any] = {}
    pieces = []
    types = _TYPES
    for key, value in given.items():
        if value is None:
            continue
        if key.__class__ is not str or not key or not key.isascii():
            key = _key(key)
        wanted = types.get(key)
        if wanted is not None and (value.__class__ is not wanted or (wanted is int and not 0 < value < _INT63)):
            _well_known(key, value)
        if value.__class__ is str:
            if not value.isascii():
                value = encodable(value)
            written = encode_basestring(value)
        elif value.__class__ is int and -_INT_MAX < value < _INT_MAX:
            written = str(value)
        else:
            value, written = _other(key, value)
        kept[key] = value
        pieces.append(f"{encode_basestring(key)}:{written}")
    json_text = f"{{{','.join(pieces)}}}"
    if len(kept) < len(pieces):  # keys that differ only in how they are written
        json_text = _as_json(kept)
    if len(json_text) > FIELDS_MAX:
        raise InvalidEvent(
            f"fields has {len(json_text)} characters",
            hint=f"shorten it to {FIELDS_MAX}; the rest belongs in payload_json",
        )
    return kept, json_text


def _key(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise InvalidEvent(f"{shown(key)} is not a key of fields", hint="keys are strings that are not empty")
    return encodable(_plain(key))


def _well_known(key: str, value: object) -> None:
    """Raise, unless `value` is of a type that only looks like another (a member of a str enumeration)."""
    if key in INT_FIELDS:
        if type(value) is not int or not 0 < value < _INT63:
            raise InvalidEvent(
                f"{key} {shown(value)} is not a positive integer",
                hint=f"give the number that {key} has upstream, from 1 on",
            )
    elif key in TEXT_FIELDS:
        if not isinstance(value, str):
            raise InvalidEvent(f"{key} {shown(value)} is not a string", hint="quote it")
    else:
        raise InvalidEvent(f"fields.{key} is reserved", hint=f"give {key} by itself, outside fields")


def _other(key: str, value: object) -> tuple[Any, str]:
    """What is neither a plain str nor a plain int: floats, booleans, lists, and enumerations of str or int."""
    if isinstance(value, list):
        value = [_scalar(key, item) for item in value]
    else:
        value = _scalar(key, value)
    return value, _as_json(value)


def _scalar(key: str, value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return encodable(_plain(value))
    if isinstance(value, int):
        if not -_INT_MAX < value < _INT_MAX:
            raise InvalidEvent(f"fields.{key} is a number of {value.bit_length()} bits", hint="give it as a text")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidEvent(f"fields.{key} is {value}", hint="JSON has no such number; give it as a text")
        return float(value)
    raise InvalidEvent(
        f"fields.{key} {shown(value)} is not flat",
        hint="a field is a string, a number, true, false, or a list of those; deeper things belong in payload_json",
    )


def _plain(value: str) -> str:
    return str.__str__(value)  # a member of a str enumeration is kept as its value


# One encoder made once: json.dumps with options makes a new one at each call, which costs more than the encoding.
_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def shown(value: object) -> str:
    """A value as an error names it: as Python writes it, cut where it is long."""
    if isinstance(value, str) and len(value) > 70:
        value = value[:70] + "..."
    try:
        shown = repr(value)
    except Exception:  # somebody's own, and broken
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."
