"""What is written (`EventInsert`), what is read (`EventFrame`), and the event id that is also the cursor.

An event id is a ULID: 10 characters of commit time in ms, 6 of the log's tag, 10 of the seq. To clients it is opaque and
sorts as the log does; to us it *is* the pair (log, seq), so that a cursor needs no look-up and a foreign one is told at once.
"""

from __future__ import annotations

import json
import os
import re
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import attrs

from waitbus.errors import InvalidCursor, InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    import cattrs
    from typing_extensions import Unpack

Scalar = str | int | float | bool | None
FieldValue = Scalar | list[Scalar]

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

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
"""Source and event type names."""


class WellKnownFields(TypedDict, total=False):
    """The fields with fixed types; each is a keyword of `EventInsert`."""

    run_id: int | None
    job_id: int | None
    parent_run_id: int | None
    run_attempt: int | None
    workflow_name: str | None
    head_branch: str | None
    head_sha: str | None
    job_name: str | None
    alert_name: str | None
    alert_severity: str | None
    alert_fingerprint: str | None
    msg_to: str | None
    msg_from: str | None
    msg_correlation_id: str | None
    msg_reply_to: str | None
    msg_thread: str | None
    msg_body: str | None


class Fields(dict[str, Any]):
    """A flat JSON object that answers None for a well-known key which the event does not have."""

    def __missing__(self, key: str) -> None:
        if key in WELL_KNOWN or key in COLUMN_FIELDS:
            return
        raise KeyError(key)


@attrs.frozen(kw_only=True, init=False)
class EventInsert:
    """An event to be written.

    Times are ns since the epoch. `fields` is flat: strings, numbers, booleans, or lists of those; the well-known keys may be
    given as keywords (`head_sha=...`). `delivery_id` is the idempotency key: a second event with it is not written.

    Raises:
      InvalidEvent: a name, a type or a size is not legal; the message says which.
    """

    source: str
    event_type: str
    owner: str
    repo: str
    delivery_id: str
    received_at: int
    status: str | None
    conclusion: str | None
    summary: str
    fields: dict[str, Any]
    payload_json: str = attrs.field(repr=False)
    ingest_method: str
    fields_json: str = attrs.field(repr=False, eq=False)

    def __init__(
        self,
        *,
        source: str,
        event_type: str,
        owner: str = "local",
        repo: str | None = None,
        delivery_id: str | None = None,
        received_at: int | None = None,
        status: str | None = None,
        conclusion: str | None = None,
        summary: str | None = None,
        fields: Mapping[str, Any] | None = None,
        payload_json: str = "{}",
        ingest_method: str = "api",
        **well_known: Unpack[WellKnownFields],
    ) -> None:
        _check_name("source", source)
        _check_name("event_type", event_type)
        owner = _text("owner", owner, OWNER_MAX)
        repo = source if repo is None else _text("repo", repo, OWNER_MAX)
        status = _optional("status", status)
        conclusion = _optional("conclusion", conclusion)
        checked, fields_json = _checked_fields(fields, well_known)
        if summary is None:
            from waitbus.render import made_summary

            summary = made_summary(source, event_type, owner, repo, status, conclusion, checked)
        self.__attrs_init__(
            source=source,
            event_type=event_type,
            owner=owner,
            repo=repo,
            delivery_id=new_delivery_id() if delivery_id is None else _text("delivery_id", delivery_id, DELIVERY_ID_MAX),
            received_at=time.time_ns() if received_at is None else _checked_time(received_at),
            status=status,
            conclusion=conclusion,
            summary=_text("summary", summary, None)[:SUMMARY_MAX],
            fields=checked,
            payload_json=_checked_payload(payload_json),
            ingest_method=_text("ingest_method", ingest_method, NAME_MAX),
            fields_json=fields_json,
        )

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is no attribute: the well-known fields, which 0.2 has as columns.
        if name in WELL_KNOWN:
            return self.fields.get(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@attrs.frozen(kw_only=True)
class EventFrame:
    """An event as it is read: from the socket or from the log, the same either way.

    `fields` holds the source's own keys and the seven that are columns (`COLUMN_FIELDS`); a well-known key that the event
    does not have reads as None. `received_at` is ns since the epoch; `seq` is the order of commit, the only order.
    """

    event_id: str
    event_type: str
    owner: str
    repo: str
    received_at: int
    delivery_id: str
    summary: str
    fields: Fields = attrs.field(factory=Fields)
    kind: Literal["event", "truncated"] = "event"
    seq: int = 0
    source: str = ""

    @property
    def status(self) -> str | None:
        """`completed`, `in_progress`, ... or None."""
        return self.fields.get("status")

    @property
    def conclusion(self) -> str | None:
        """`success`, `failure`, ... or None."""
        return self.fields.get("conclusion")

    def to_dict(self) -> dict[str, Any]:
        """The frame as JSON has it: plain types, in the order of protocol 1."""
        return {
            "event_id": self.event_id,
            "event_type": self.event_type,
            "owner": self.owner,
            "repo": self.repo,
            "received_at": self.received_at,
            "delivery_id": self.delivery_id,
            "summary": self.summary,
            "fields": dict(self.fields),
            "kind": self.kind,
            "seq": self.seq,
            "source": self.source,
        }


class Row(NamedTuple):
    """An event as the log keeps it; `fields` is JSON text with the source's own keys, `at_ms` the time of commit."""

    seq: int
    at_ms: int
    delivery_id: str
    source: str
    event_type: str
    owner: str
    repo: str
    status: str | None
    conclusion: str | None
    received_at: int
    ingest_method: str
    summary: str
    fields: str


@attrs.frozen
class EmitResult:
    """What an append did: `inserted` is False where the delivery id was known, and `event` is then the first one."""

    inserted: bool
    event: EventFrame


# -- event ids ---------------------------------------------------------------------------------------------------------

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")

TAG_BITS = 30
SEQ_MAX = (1 << 50) - 1


@attrs.frozen
class EventId:
    """The parts of an event id: commit time in ms since the epoch, the log's tag, the seq (0: before the first event)."""

    at_ms: int
    tag: int
    seq: int


def make_event_id(at_ms: int, tag: int, seq: int) -> str:
    """The ULID of an event: within one log it increases strictly with `seq`."""
    return tag_and_time(at_ms, tag) + _base32(seq, 5)


def tag_and_time(at_ms: int, tag: int) -> str:
    """The first 16 characters of an event id; a page of events shares few of them."""
    return _base32(at_ms, 5) + _base32(tag, 3)


def parse_event_id(text: str) -> EventId:
    """The parts of an event id.

    Raises:
      InvalidCursor: it is not 26 characters of Crockford's base 32.
    """
    if not _ULID.match(text):
        raise InvalidCursor(
            f"{text!r} is not an event id", hint="an event id has 26 characters, as `waitbus cursor` prints"
        )
    return EventId(_number(text[:10]), _number(text[10:16]), _number(text[16:]))


def log_id(tag: int) -> str:
    """The log's tag as it stands in its event ids: 6 characters."""
    return _base32(tag, 3)


def _base32(value: int, pairs: int) -> str:
    out = []
    for _ in range(pairs):
        out.append(_PAIRS[value & 1023])
        value >>= 10
    out.reverse()
    return "".join(out)


def _number(text: str) -> int:
    value = 0
    for digit in text:
        value = value << 5 | _VALUES[digit]
    return value


def new_delivery_id() -> str:
    """A delivery id that nobody else has: time first, so that the index grows at its end."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


# One encoder made once: json.dumps with options makes a new one at each call, which costs more than the encoding.
_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


# -- checks ------------------------------------------------------------------------------------------------------------


def _check_name(what: str, value: object) -> None:
    if not isinstance(value, str) or not NAME.match(value):
        raise InvalidEvent(
            f"{what} {_shown(value)} is not a name", hint="a name is a-z, then a-z, 0-9 and _, as in deploy_finished"
        )
    if len(value) > NAME_MAX:
        raise InvalidEvent(f"{what} {_shown(value)} has {len(value)} characters", hint=f"{NAME_MAX} at most")


def _text(what: str, value: object, limit: int | None) -> str:
    if not isinstance(value, str) or not value:
        empty = what != "summary"
        if not isinstance(value, str) or empty:
            raise InvalidEvent(f"{what} {_shown(value)} is not a text", hint=f"give {what} a string that is not empty")
    if limit is not None and len(value) > limit:
        raise InvalidEvent(f"{what} has {len(value)} characters", hint=f"{limit} at most")
    return encodable(value)


def _optional(what: str, value: object) -> str | None:
    return None if value is None else _text(what, value, NAME_MAX)


def encodable(text: str) -> str:
    """The text without lone surrogates (bytes of a command line that are no UTF-8), which no JSON and no SQLite can hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text


def _checked_time(value: object) -> int:
    if type(value) is not int or value < RECEIVED_AT_MIN or value >= 1 << 63:
        raise InvalidEvent(
            f"received_at {_shown(value)} is not a time in ns since the epoch",
            hint="time.time_ns() gives one; seconds and milliseconds are too small",
        )
    return value


def _checked_fields(fields: Mapping[str, Any] | None, well_known: Any) -> tuple[dict[str, Any], str]:
    if not fields and not well_known:
        return {}, "{}"
    merged = {key: value for key, value in {**(fields or {}), **well_known}.items() if value is not None}
    for key, value in merged.items():
        _check_field(key, value)
    try:
        text = _as_json(merged)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        text = json.dumps(merged, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise InvalidEvent("a number in fields is NaN or infinite", hint="JSON has no such number") from None
    if len(text) > FIELDS_MAX:
        raise InvalidEvent(f"fields has {len(text)} characters", hint=f"{FIELDS_MAX} at most; the rest belongs in payload_json")
    return merged, text


def _check_field(key: object, value: object) -> None:
    if not isinstance(key, str) or not key:
        raise InvalidEvent(f"{_shown(key)} is not a key of fields", hint="keys are strings")
    if key in COLUMN_FIELDS:
        raise InvalidEvent(f"fields.{key} is reserved", hint=f"give {key} by itself, outside fields")
    if key in INT_FIELDS:
        if type(value) is not int or value <= 0 or value >= 1 << 63:
            raise InvalidEvent(f"{key} {_shown(value)} is not a positive integer", hint=f"{key} is a number of the upstream's")
    elif key in TEXT_FIELDS:
        if not isinstance(value, str):
            raise InvalidEvent(f"{key} {_shown(value)} is not a string", hint="quote it")
    elif not _is_flat(value):
        raise InvalidEvent(
            f"fields.{key} {_shown(value)} is not flat",
            hint="a field is a string, a number, true, false, or a list of those; deeper things belong in payload_json",
        )


def _is_flat(value: object) -> bool:
    if isinstance(value, list):
        return all(item is None or isinstance(item, (str, int, float)) for item in value)
    return isinstance(value, (str, int, float))


def _checked_payload(text: object) -> str:
    if text == "{}":
        return "{}"
    if not isinstance(text, str):
        raise InvalidEvent(f"payload_json {_shown(text)} is not a text", hint="json.dumps(...) makes one")
    if len(text) > PAYLOAD_MAX:
        raise InvalidEvent(f"payload_json has {len(text)} characters", hint=f"{PAYLOAD_MAX} at most")
    try:
        json.loads(text, parse_constant=_no_constant)
        text.encode()
    except RecursionError:
        raise InvalidEvent("payload_json is nested too deeply", hint="flatten it") from None
    except ValueError as error:
        raise InvalidEvent(f"payload_json is not JSON: {error}", hint='JSON text, as in {"version": "1.4.2"}') from None
    return text


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@cache
def converter() -> cattrs.Converter:
    """The one cattrs converter, made when first needed: it costs more to import than an emit costs to run."""
    import cattrs

    return cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=True)
