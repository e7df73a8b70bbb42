"""An event as one flat object, and as a CloudEvent (CNCF CloudEvents 1.0, JSON format). Pure.

The flat object has the keys of 0.2's `Event` first, in its order, so that a program that read `emit` or `read-events` goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitbus.quantities import say_time

if TYPE_CHECKING:
    from waitbus.events import EventFrame

FLAT_FIELDS = (
    *(
        "run_id",
        "workflow_name",
        "head_branch",
        "head_sha",
        "status",
        "conclusion",
        "job_id",
        "job_name",
        "parent_run_id",
    ),
    *("alert_name", "alert_severity", "alert_fingerprint"),
    *("msg_to", "msg_from", "msg_correlation_id", "msg_reply_to", "msg_thread", "msg_body"),
)
"""The columns of 0.2 that are fields here, null where the event has none."""

_CONTEXT = ("event_id", "source", "event_type", "received_at")
"""What stands in a CloudEvent's context attributes, and so not in its data again."""


def flat(frame: EventFrame, payload_json: str | None) -> dict[str, Any]:
    """The event with its well-known fields at top level; `fields` has all of them besides, `payload_json` is text or None."""
    fields = frame.fields
    return {
        "event_id": frame.event_id,
        "delivery_id": frame.delivery_id,
        "source": frame.source,
        "event_type": frame.event_type,
        "owner": frame.owner,
        "repo": frame.repo,
        "received_at": frame.received_at,
        "payload_json": payload_json,
        "ingest_method": fields.get("ingest_method"),
        **{key: fields.get(key) for key in FLAT_FIELDS},
        "seq": frame.seq,
        "summary": frame.summary,
        "fields": dict(frame.fields),
    }


def cloudevent(frame: EventFrame, payload_json: str | None) -> dict[str, Any]:
    """The event as a CloudEvent: `time` is RFC 3339 in UTC, `data` all that has no attribute of its own."""
    event = flat(frame, payload_json)
    return {
        "id": frame.event_id,
        "source": f"urn:waitbus:source:{frame.source}",
        "specversion": "1.0",
        "type": frame.event_type,
        "time": say_time(frame.received_at),
        "datacontenttype": "application/json",
        "data": {key: value for key, value in event.items() if key not in _CONTEXT},
    }
