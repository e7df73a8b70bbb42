"""What is written (`EventInsert`) and what is read (`EventFrame`)."""

from __future__ import annotations

import itertools
import os
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import attrs

from waitbus import event_checks as check
from waitbus.event_checks import (
    COLUMN_FIELDS,
    DELIVERY_ID_MAX,
    FIELDS_MAX,
    INT_FIELDS,
    NAME,
    NAME_MAX,
    OWNER_MAX,
    PAYLOAD_MAX,
    RECEIVED_AT_MIN,
    SUMMARY_MAX,
    TEXT_FIELDS,
    WELL_KNOWN,
    encodable,
)
from waitbus.event_ids import (
    SEQ_MAX,
    TAG_BITS,
    EventId,
    log_id,
    make_event_id,
    parse_event_id,
)
from waitbus.summary import made_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import cattrs
    from typing_extensions import Unpack

__all__ = [
    "COLUMN_FIELDS",
    "DELIVERY_ID_MAX",
    "FIELDS_MAX",
    "INT_FIELDS",
    "NAME",
    "NAME_MAX",
    "OWNER_MAX",
    "PAYLOAD_MAX",
    "RECEIVED_AT_MIN",
    "SEQ_MAX",
    "SUMMARY_MAX",
    "TAG_BITS",
    "TEXT_FIELDS",
    "WELL_KNOWN",
    "EmitResult",
    "EventFrame",
    "EventId",
    "EventInsert",
    "Fields",
    "Row",
    "converter",
    "encodable",
    "log_id",
    "make_event_id",
    "new_delivery_id",
    "parse_event_id",
]


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


@attrs.frozen(kw_only=True, init=False, slots=False)
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
        if well_known and not well_known.keys() <= WELL_KNOWN:
            slip = min(well_known.keys() - WELL_KNOWN)
            raise TypeError(f"EventInsert() has no keyword {slip!r}; keys of your own go into fields={{{slip!r}: ...}}")
        kept, fields_json = check.fields(fields, well_known) if fields or well_known else ({}, "{}")
        if delivery_id is None:
            delivery_id = new_delivery_id()
        else:
            delivery_id = check.text("delivery_id", delivery_id, DELIVERY_ID_MAX)
        # A name that was seen before costs no call. The class is frozen for everybody else; attrs' own __init__ is three times
        # as slow.
        known = check.known_names
        self.__dict__.update(
            source=source if source.__class__ is str and source in known else check.name("source", source),
            event_type=event_type
            if event_type.__class__ is str and event_type in known
            else check.name("event_type", event_type),
            owner="local" if owner == "local" else check.text("owner", owner, OWNER_MAX),
            repo=source if repo is None else check.text("repo", repo, OWNER_MAX),
            delivery_id=delivery_id,
            received_at=time.time_ns() if received_at is None else check.received_at(received_at),
            status=None if status is None else check.text("status", status, NAME_MAX),
            conclusion=None if conclusion is None else check.text("conclusion", conclusion, NAME_MAX),
            fields=kept,
            payload_json=check.payload(payload_json),
            ingest_method="api" if ingest_method == "api" else check.text("ingest_method", ingest_method, NAME_MAX),
            fields_json=fields_json,
        )
        self.__dict__["summary"] = made_summary(self) if summary is None else check.summary(summary)

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is no attribute: the well-known fields, which 0.2 has as columns.
        if name in WELL_KNOWN:
            return self.fields.get(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@attrs.frozen(kw_only=True, slots=False)  # attrs fills a frozen class with slots at half the speed
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


@attrs.define(eq=False, repr=False)
class EmitResult:
    """What an append did: `inserted` is False where the delivery id was known, and `event` is then the first one."""

    inserted: bool
    _event: EventFrame | Callable[[], EventFrame] = attrs.field(alias="event")

    @property
    def event(self) -> EventFrame:
        """The event as a reader sees it. Made when it is first looked at: that is a third of an emit, and few look."""
        if not isinstance(self._event, EventFrame):
            self._event = self._event()
        return self._event

    def __repr__(self) -> str:
        return f"EmitResult(inserted={self.inserted}, event={self.event!r})"


# Random for this process, and counted: four times as fast as random bytes for each. The pid parts a child that was forked
# without Python knowing.
_process = os.urandom(6).hex()
_count = itertools.count()


def new_delivery_id() -> str:
    """A delivery id that nobody else has: time first, so that the index grows at its end."""
    return f"{time.time_ns() // 1_000_000:012x}-{os.getpid():x}-{_process}-{next(_count):x}"


def _after_fork() -> None:
    global _process
    _process = os.urandom(6).hex()


os.register_at_fork(after_in_child=_after_fork)


@cache
def converter() -> cattrs.Converter:
    """The one cattrs converter, made when first needed: it costs more to import than an emit costs to run."""
    import cattrs

    return cattrs.Converter(forbid_extra_keys=True, prefer_attrib_converters=True)
