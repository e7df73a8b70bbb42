"""Frames written by concatenation are the frames that an encoder would write."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from waitbus import wire
from waitbus.events import INT_FIELDS, TEXT_FIELDS, Row, make_event_id
from waitbus.hub import frames

TAG = 0x2ABCDEF0 & ((1 << 30) - 1)
COLUMNS = ("source", "event_type", "owner", "repo", "status", "conclusion", "ingest_method")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.one_of(text, st.integers(-5, 1 << 62), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
own = st.dictionaries(
    text.filter(lambda key: key and key not in COLUMNS), st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=3
)
known = st.fixed_dictionaries(
    {},
    optional={
        **{key: st.integers(1, 1 << 62) for key in sorted(INT_FIELDS)},
        **dict.fromkeys(sorted(TEXT_FIELDS), text),
    },
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    fields = {**draw(own), **draw(known)}
    return Row(
        seq=draw(st.integers(1, (1 << 50) - 1)),
        at_ms=draw(st.integers(0, (1 << 47) - 1)),
        delivery_id=draw(text),
        source=draw(text),
        event_type=draw(text),
        owner=draw(text),
        repo=draw(text),
        status=draw(st.one_of(st.none(), text)),
        conclusion=draw(st.one_of(st.none(), text)),
        received_at=draw(st.integers(10**15, (1 << 63) - 1)),
        ingest_method=draw(text),
        summary=draw(text),
        fields=json.dumps(fields, ensure_ascii=draw(st.booleans()), separators=(",", ":")),
    )


def plainly(row: Row) -> dict[str, Any]:
    """What protocol 1 says of a row, without haste."""
    own = json.loads(row.fields)
    fields: dict[str, Any] = {key: own.pop(key, None) for key in wire.V1_FIELDS if key not in COLUMNS}
    fields |= {key: getattr(row, key) for key in COLUMNS}
    return {
        "event_id": make_event_id(row.at_ms, TAG, row.seq),
        "event_type": row.event_type,
        "owner": row.owner,
        "repo": row.repo,
        "received_at": row.received_at,
        "delivery_id": row.delivery_id,
        "summary": row.summary,
        "fields": {**{key: fields[key] for key in wire.V1_FIELDS}, **own},
        "kind": "event",
    }


@given(row=rows())
def test_protocol_1_as_an_encoder_would_write_it(row: Row) -> None:
    """Same keys, same order, same values; compact."""
    frame = frames.event_v1(row, TAG)
    (got,) = wire.Decoder().feed(frame)
    want = plainly(row)
    assert got == want
    assert [list(got), list(got["fields"])] == [list(want), list(want["fields"])]
    if row.fields.isascii() and "\\" not in row.fields:
        assert frame == wire.pack(want)


@given(row=rows())
def test_the_lean_frame_reads_as_the_row(row: Row) -> None:
    """Over the socket or from the log: one frame."""
    (got,) = wire.Decoder().feed(frames.event_lean(row, TAG))
    assert wire.frame_of_lean(got) == wire.frame_of_row(row, TAG)
    assert None not in got.values()
    assert list(got)[-1] == "kind"


@given(row=rows())
def test_event_ids_are_those_of_the_log(row: Row) -> None:
    """Made in another way, for speed."""
    assert frames.event_id(row, TAG) == make_event_id(row.at_ms, TAG, row.seq)


def test_fields_that_are_no_json_do_not_end_the_daemon() -> None:
    """Somebody may write into the file by hand."""
    row = Row(1, 1, "d", "s", "t", "o", "r", None, None, 10**15, "api", "", '"run_id": broken')
    (got,) = wire.Decoder().feed(frames.event_v1(row, TAG))
    assert list(got["fields"]) == list(wire.V1_FIELDS)
    huge = row._replace(fields="[" * 70000)
    (stub,) = wire.Decoder().feed(frames.event_lean(huge, TAG))
    assert (stub["kind"], stub["seq"], stub["correlation_id"]) == ("truncated", 1, None)
