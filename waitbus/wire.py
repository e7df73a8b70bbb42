"""The wire, without a socket in it: a 4-byte big-endian length, then one JSON object of 1..65536 bytes.

Protocol 1 is what clients written for 0.2 speak (docs/CONTRACTS.md has its rules). A client that puts an `ext` object into its
subscribe frame gets more: `match` (the daemon wakes it only for what it waits for), `since` (a position instead of an id),
`lean` (no nulls, no doubled keys, `seq` everywhere, control frames `gap` and `replay_complete`), `status` (one report, then EOF).
"""

from __future__ import annotations

import json
import re
import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.errors import ProtocolError, VersionRefused
from waitbus.events import (
    COLUMN_FIELDS,
    NAME,
    NAME_MAX,
    SEQ_MAX,
    EventFrame,
    Fields,
    Row,
    make_event_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_FRAME = 65536
FILTERS_MAX = 64
ALTERNATIVES_MAX = 64
TERMS_MAX = 64
EXTENSIONS = ("match", "since", "lean", "status")
ASIDE = frozenset({'event_type="source_down"', 'event_type="source_up"', '@source="waitbus"'})
"""Terms of the alternative by which a wait hears of the health of its sources (`client.aside`): it asked for something else."""

V1_FIELDS = (
    "source",
    "event_type",
    "owner",
    "repo",
    "run_id",
    "workflow_name",
    "head_branch",
    "head_sha",
    "status",
    "conclusion",
    "ingest_method",
    "job_id",
    "job_name",
    "parent_run_id",
    "alert_name",
    "alert_severity",
    "alert_fingerprint",
    "msg_to",
    "msg_from",
    "msg_correlation_id",
    "msg_reply_to",
    "msg_thread",
    "msg_body",
)
"""The 23 keys of `fields` in protocol 1, always present, in this order."""

_FILTER = re.compile(r"(?:[A-Za-z0-9_.-]+/(?:[A-Za-z0-9_.-]+|\*)|\*)\Z")
_SINCE = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z")
_LENGTH = struct.Struct(">I")
_length_at = _LENGTH.unpack_from
_required = itemgetter(
    "event_id", "delivery_id", "summary", "source", "event_type", "owner", "repo", "ingest_method", "fields"
)
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


# -- framing -----------------------------------------------------------------------------------------------------------


def pack(message: Mapping[str, Any]) -> bytes:
    """One frame. The message is ours and known to fit."""
    return pack_text(_compact(message))


def pack_text(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
    return _LENGTH.pack(len(data)) + data


class Decoder:
    """Bytes in, objects out; half a frame is kept for the next bytes, and never more than one frame's worth."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The complete frames so far.

        Raises:
          ProtocolError: a length of 0 or above 65536, or a frame that is not one JSON object.
        """
        data = self._rest + data
        start, size = 0, len(data)
        try:
            while size - start >= 4:
                (length,) = _length_at(data, start)
                if not 1 <= length <= MAX_FRAME:
                    raise ProtocolError(f"a frame of {length} bytes", hint=f"a frame has 1 to {MAX_FRAME} bytes")
                end = start + 4 + length
                if end > size:
                    return
                body, start = data[start + 4 : end], end
                yield decode(body)
        finally:
            self._rest = data[start:]


_decoder: Any = json.JSONDecoder()  # typeshed does not know its scanner
_scan = _decoder.scan_once


def decode(body: bytes) -> dict[str, Any]:
    """The object in a frame's body.

    Raises:
      ProtocolError: it is not one JSON object in UTF-8.
    """
    try:
        text = body.decode()  # bytes would be taken for UTF-16 where they look like it
        # As json.loads does, without the third of its time that it spends on blanks around the value; nobody's frames have any.
        try:
            message, end = _scan(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):
            message = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError("a frame that is not JSON", hint="a frame is one JSON object in UTF-8") from None
    if not isinstance(message, dict):
        raise ProtocolError("a frame that is not a JSON object", hint="a frame is one JSON object in UTF-8")
    return message


# -- from client to daemon ---------------------------------------------------------------------------------------------


@attrs.frozen
class Position:
    """A place in a log: `log_id` is the 6 characters of its tag, `seq` the last event seen."""

    log_id: str
    seq: int


@attrs.frozen
class Subscribe:
    """What a client asked for. `since` is an event id; `position`, or `at_ns`, its form in the extension.

    `told`: `at_ns` is a moment of the client's own clock, as it was just read.
    """

    filters: tuple[str, ...] = ("*",)
    event_types: frozenset[str] | None = None
    since: str | None = None
    extended: bool = False
    lean: bool = False
    status: bool = False
    match: tuple[tuple[str, ...], ...] | None = None
    position: Position | None = None
    at_ns: int | None = None
    told: bool = False

    def admits(self, row: Row) -> bool:
        """Whether the filters and event types of protocol 1 let the event through."""
        if self.event_types is not None and row.event_type not in self.event_types:
            return False
        return "*" in self.filters or f"{row.owner}/{row.repo}" in self.filters or f"{row.owner}/*" in self.filters

    @property
    def admits_all(self) -> bool:
        """Whether they let every event through."""
        return self.event_types is None and "*" in self.filters

    @property
    def unfiltered(self) -> bool:
        return self.admits_all and self.match is None


def parse_subscribe(message: Mapping[str, Any]) -> Subscribe:
    """The subscribe frame, by the rules of protocol 1.

    Raises:
      VersionRefused: `proto` is not the integer 1.
      ProtocolError: anything else is wrong; protocol 1 answers with EOF.
    """
    proto = message.get("proto")
    if proto is not None and (type(proto) is not int or proto != 1):
        raise VersionRefused(f"proto {proto!r}", hint="this daemon speaks protocol 1")
    if message.get("envelope") not in (None, "diffs"):
        raise ProtocolError(f"envelope {message['envelope']!r}", hint='only "diffs" is known')
    since = message.get("since")
    if since is not None and not (isinstance(since, str) and _SINCE.match(since)):
        raise ProtocolError(f"since {since!r} is not an event id", hint="26 characters of Crockford's base 32")
    base = Subscribe(_filters(message.get("filters")), _event_types(message.get("event_types")), since)
    ext = message.get("ext")
    return base if ext is None else _extended(base, ext)


def _filters(value: Any) -> tuple[str, ...]:
    if value is None or value == []:
        return ("*",)
    if not isinstance(value, list) or len(value) > FILTERS_MAX:
        raise ProtocolError("filters", hint=f"a list of at most {FILTERS_MAX}")
    for one in value:
        if not isinstance(one, str) or not _FILTER.match(one):
            raise ProtocolError(f"filter {one!r}", hint="owner/repo, owner/* or *")
    return tuple(value)


def _event_types(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ProtocolError("event_types", hint="a list of names")
    # A type that nobody declared is legal: a member is dropped only where no event could ever have it.
    kept = frozenset(one for one in value if isinstance(one, str) and len(one) <= NAME_MAX and NAME.match(one))
    if not kept:
        raise ProtocolError("no event type is left", hint="leave event_types away for all")
    return kept


def _extended(base: Subscribe, ext: Any) -> Subscribe:
    if not isinstance(ext, dict):
        raise ProtocolError("ext", hint="an object")
    position, at_ns = _ext_since(ext.get("since"))
    return attrs.evolve(
        base,
        extended=True,
        lean=ext.get("lean") is True,
        status=ext.get("status") is True,
        match=_ext_match(ext.get("match")),
        position=position,
        at_ns=at_ns,
        told=at_ns is not None and ext["since"].get("told") is True,
    )


def _ext_match(value: Any) -> tuple[tuple[str, ...], ...] | None:
    if value is None:
        return None
    well_formed = (
        isinstance(value, list)
        and len(value) <= ALTERNATIVES_MAX
        and all(
            isinstance(one, list) and len(one) <= TERMS_MAX and all(isinstance(term, str) for term in one)
            for one in value
        )
    )
    if not well_formed:
        raise ProtocolError("match", hint=f"a list of at most {ALTERNATIVES_MAX} lists of at most {TERMS_MAX} terms")
    return tuple(tuple(one) for one in value)


def _ext_since(value: Any) -> tuple[Position | None, int | None]:
    if value is None:
        return None, None
    if isinstance(value, dict):
        seq, name, ns = value.get("seq"), value.get("log_id"), value.get("time")
        if type(seq) is int and seq >= 0 and isinstance(name, str):
            return Position(name, seq), None
        if type(ns) is int and ns >= 0:
            return None, ns
    raise ProtocolError(f"since {value!r}", hint='{"seq": n, "log_id": "..."} or {"time": ns, "told": false}')


def subscribe_frame(ext: Mapping[str, Any]) -> bytes:
    """What our own client sends: protocol 1 with an `ext` object."""
    return pack({"proto": 1, "ext": ext})


# -- from daemon to client: control frames -----------------------------------------------------------------------------


def version_rejected() -> bytes:
    return pack(
        {
            "reason": "version",
            "remediation": "This daemon speaks broadcast wire protocol v1; "
            "send 'proto': 1 (or omit it) in the subscribe envelope.",
            "supported": [1],
            "kind": "subscribe_rejected",
        }
    )


def ack(*, caught_up_at: str | None, heartbeat_sec: float, extra: Mapping[str, Any] | None = None) -> bytes:
    """The first frame of an accepted subscription; `extra` is what a client with `ext` gets besides."""
    message = {
        "proto": 1,
        "caught_up_at": caught_up_at,
        "heartbeat_sec": max(1, int(heartbeat_sec)),
        "max_frame_bytes": MAX_FRAME,
        **(extra or {}),
        "kind": "subscribe_ack",
    }
    return pack(message)


def heartbeat(ts: int, uptime_sec: int, seq: int | None = None) -> bytes:
    """`seq`: up to here the subscriber has been served, though a filter may have hidden all of it (lean only)."""
    message: dict[str, Any] = {"ts": ts, "uptime_sec": uptime_sec}
    if seq is not None:
        message["seq"] = seq
    message["kind"] = "daemon_heartbeat"
    return pack(message)


def gap(reason: str, first: int, last: int, name: str) -> bytes:
    """Events `first`..`last` (seqs) cannot be given: `pruned`, `other_log` or `unknown`. `name` is this log's id."""
    return pack({"reason": reason, "from": first, "to": last, "log_id": name, "kind": "gap"})


def replay_complete(seq: int) -> bytes:
    return pack({"seq": seq, "kind": "replay_complete"})


# -- events as clients read them ---------------------------------------------------------------------------------------


def frame_of_lean(message: Mapping[str, Any]) -> EventFrame:
    """The `EventFrame` in a lean event.

    Raises:
      ProtocolError: a key is missing, or of another type.
    """
    try:
        required = _required(message)
    except KeyError as error:
        raise ProtocolError(f"an event without {error}") from None
    event_id, delivery_id, summary, source, event_type, owner, repo, ingest_method, own = required
    for text in required[:-1]:
        if text.__class__ is not str:
            raise ProtocolError(f"an event with {str(text)[:40]!r} for a text")
    if own.__class__ is not dict:
        raise ProtocolError("an event without fields")
    # Key by key: a loop over COLUMN_FIELDS takes twice as long, and this is done for every event there is.
    fields = Fields(own)
    fields["source"] = source
    fields["event_type"] = event_type
    fields["owner"] = owner
    fields["repo"] = repo
    fields["status"] = message.get("status")
    fields["conclusion"] = message.get("conclusion")
    fields["ingest_method"] = ingest_method
    return EventFrame(
        event_id=event_id,
        event_type=event_type,
        owner=owner,
        repo=repo,
        received_at=integer(message, "received_at"),
        delivery_id=delivery_id,
        summary=summary,
        fields=fields,
        seq=integer(message, "seq"),
        source=source,
    )


def integer(message: Mapping[str, Any], key: str) -> int:
    """A number from 0 on that SQLite can hold.

    Raises:
      ProtocolError: it is none.
    """
    value = message.get(key)
    if value.__class__ is not int or not 0 <= value < 1 << 63 or (key != "received_at" and value > SEQ_MAX):
        raise ProtocolError(f"{message.get('kind')} with {key} {str(value)[:40]!r}")
    return value


def frame_of_row(row: Row, tag: int) -> EventFrame:
    """The same, from the log."""
    fields = Fields(json.loads(row.fields))
    for key in COLUMN_FIELDS:
        fields[key] = getattr(row, key)
    return EventFrame(
        event_id=make_event_id(row.at_ms, tag, row.seq),
        event_type=row.event_type,
        owner=row.owner,
        repo=row.repo,
        received_at=row.received_at,
        delivery_id=row.delivery_id,
        summary=row.summary,
        fields=fields,
        seq=row.seq,
        source=row.source,
    )
