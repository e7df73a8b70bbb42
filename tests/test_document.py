"""What predicates see of an event, and that nothing is read before it is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.documents import COLUMNS, document
from waitbus.document import PAYLOAD_MAX, Document
from waitbus.events import EventFrame, Fields

FIELDS: dict[str, Any] = {"name": "db", "a.b": 1, "l": [1, "two", None], "nodeid": "t.py::x", "zero": 0, "empty": ""}
PAYLOAD = {"action": "completed", "labels": {"com.docker.compose.project": "api", "a": {"b": 1}}, "list": [{"x": 1}, 2]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source", "pytest"),
        ("fields.source", "pytest"),
        ("conclusion", "failure"),
        ("fields.conclusion", "failure"),
        ("seq", 7),
        ("fields.seq", None),
        ("kind", "event"),
        ("name", "db"),
        ("fields.name", "db"),
        ("a.b", 1),
        ("fields.a.b", 1),
        ("l.0", 1),
        ("fields.l.-2", "two"),
        ("l.-1", None),
        ("l.3", None),
        ("l.-4", None),
        ("l.x", None),
        ("l.²", None),
        ("l.99999999999999999999", None),
        ("l.0.x", None),
        ("zero", 0),
        ("empty", ""),
        ("name.x", None),
        ("missing", None),
        ("payload.action", "completed"),
        ("payload.labels.com.docker.compose.project", "api"),
        ("payload.labels.a.b", 1),
        ("payload.list.0.x", 1),
        ("payload.list.-1", 2),
        ("payload.action.x", None),
        ("action", None),
    ],
)
def test_where_a_key_leads(key: str, value: object) -> None:
    """Columns at top level, `payload.` into the payload, everything else into the fields."""
    assert document(json.dumps(PAYLOAD), FIELDS).lookup(key) == value


def test_a_frame_is_seen_as_its_row_is() -> None:
    """Both transports give a predicate the same document."""
    columns = {key: COLUMNS[key] for key in ("source", "event_type", "owner", "repo", "status", "conclusion")}
    frame = EventFrame(
        **{key: COLUMNS[key] for key in ("event_id", "seq", "event_type", "owner", "repo", "received_at")},
        **{key: COLUMNS[key] for key in ("delivery_id", "summary", "kind", "source")},
        fields=Fields({**FIELDS, **columns, "ingest_method": "api"}),
    )
    seen, row = Document.of_frame(frame, json.dumps(PAYLOAD)), document(json.dumps(PAYLOAD), FIELDS)
    assert seen.as_dict() == row.as_dict()
    assert seen.as_dict()["fields"]["conclusion"] == "failure"
    assert seen.as_dict()["payload"] == PAYLOAD


def test_fields_and_payload_are_read_once_and_only_if_asked_for() -> None:
    """However many predicates look, the payload is fetched and parsed once."""
    calls: list[str] = []

    def read(what: str, text: str) -> str:
        calls.append(what)
        return text

    seen = Document(COLUMNS, lambda: read("fields", '{"x": 1}'), lambda: read("payload", '{"y": 2}'))
    assert seen.lookup("conclusion") == "failure"
    assert calls == []
    assert [seen.lookup("x"), seen.lookup("x")] == [1, 1]
    assert calls == ["fields"]
    assert [seen.lookup("payload.y"), seen.lookup("payload.y")] == [2, 2]
    assert calls == ["fields", "payload"]


@pytest.mark.parametrize("text", ["not JSON", "", "NaN", '{"x": NaN}', "[" * 100_000, b"\xff", None, "[]", "1"])
def test_a_payload_without_keys_has_none(text: str | bytes | None) -> None:
    """What is no JSON object is no error either: its keys are absent."""
    assert document(text).lookup("payload.x") is None


@pytest.mark.parametrize("text", ["not JSON", "[1]", "null"])
def test_fields_that_are_no_object_are_empty(text: str) -> None:
    """A damaged row matches by its columns."""
    assert Document(COLUMNS, text).lookup("x") is None


def test_a_payload_over_a_mebibyte_is_absent_and_said() -> None:
    """The bound is bytes, not characters, and whoever waits is told."""
    exact = json.dumps({"x": "a" * (PAYLOAD_MAX - 9)})
    assert len(exact) == PAYLOAD_MAX
    fits = document(exact)
    assert fits.lookup("payload.x")
    assert fits.doubts == {}
    for text in (exact + " ", json.dumps({"x": "é" * (PAYLOAD_MAX // 2)}, ensure_ascii=False)):
        large = document(text)
        assert large.lookup("payload.x") is None
        assert large.lookup("payload.x") is None
        assert [*large.doubts.values()] == [
            "the payload of event 01M7XJ614PK8CHXM5935SQP1H1 is larger than 1 MiB; payload.* does not see it"
        ]
