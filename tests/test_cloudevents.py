"""The flat object of an event, and its CloudEvent."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests import schemas
from waitbus.cloudevents import cloudevent, flat
from waitbus.events import COLUMN_FIELDS, EventFrame, Fields

OLD = {
    *(
        "event_id",
        "delivery_id",
        "source",
        "event_type",
        "owner",
        "repo",
        "received_at",
        "payload_json",
        "ingest_method",
    ),
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
    *("alert_name", "alert_severity", "alert_fingerprint", "msg_to", "msg_from", "msg_correlation_id", "msg_reply_to"),
    *("msg_thread", "msg_body"),
}
"""What 0.2 printed."""


def frame(received_at: int = 1738324800123456789, **fields: object) -> EventFrame:
    columns = dict.fromkeys(COLUMN_FIELDS) | {"source": "ci", "event_type": "built", "owner": "o", "repo": "r"}
    return EventFrame(
        event_id="01M7XJ614PK8CHXM5935SQP1H1", event_type="built", owner="o", repo="r", received_at=received_at,
        delivery_id="d", summary="s", fields=Fields({**columns, "ingest_method": "api", **fields}), seq=7, source="ci",
    )  # fmt: skip


def test_the_flat_object_has_every_key_of_0_2() -> None:
    event = flat(frame(run_id=5, env="x"), "{}")
    assert event.keys() >= OLD
    assert (event["run_id"], event["job_id"], event["seq"], event["fields"]["env"]) == (5, None, 7, "x")


def test_a_cloudevent_has_the_attributes_of_1_0_and_the_rest_as_data() -> None:
    event = schemas.conform("cloudevent", cloudevent(frame(head_sha="abc"), '{"a": 1}'))
    assert event["id"] == "01M7XJ614PK8CHXM5935SQP1H1"
    assert (event["source"], event["type"], event["specversion"]) == ("urn:waitbus:source:ci", "built", "1.0")
    assert event["time"] == "2025-01-31T12:00:00.123456Z"
    assert event["datacontenttype"] == "application/json"
    assert event["data"].keys() >= OLD - {"event_id", "source", "event_type", "received_at"}
    assert (event["data"]["head_sha"], event["data"]["payload_json"]) == ("abc", '{"a": 1}')


@given(st.integers(10**15, 2**63 - 1), st.text(max_size=20))
def test_every_event_has_a_cloudevent_that_is_json(received_at: int, text: str) -> None:
    event = schemas.conform("cloudevent", cloudevent(frame(received_at, note=text), None))
    assert json.loads(json.dumps(event)) == event
