"""The wire without a socket: framing for any split of the bytes, and what a subscribe frame may say."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus import wire
from waitbus.errors import ProtocolError
from waitbus.events import Fields, Row

objects = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=20), st.none()), max_size=4)


@given(messages=st.lists(objects, max_size=6), data=st.data())
def test_frames_survive_any_split(messages: list[dict[str, Any]], data: st.DataObject) -> None:
    """Whatever the kernel makes of a stream, the same objects come out, and nothing is left."""
    stream = b"".join(wire.pack(message) for message in messages)
    decoder, got = wire.Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += list(decoder.feed(stream[:size]))
        stream = stream[size:]
    assert got == messages
    assert list(decoder.feed(b"")) == []


def test_frames_before_a_bad_one_are_given() -> None:
    """The stream is good up to there."""
    coming = wire.Decoder().feed(wire.pack({"a": 1}) + bytes(4))
    assert next(coming) == {"a": 1}
    with pytest.raises(ProtocolError, match="0 bytes"):
        next(coming)


@pytest.mark.parametrize("length", [0, 65537, 1 << 31])
def test_an_illegal_length_needs_no_body(length: int) -> None:
    """Four bytes are enough to refuse; nobody buffers what will be refused."""
    with pytest.raises(ProtocolError, match=str(length)):
        list(wire.Decoder().feed(struct.pack(">I", length)))


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b"\xff", '{"a":1}'.encode("utf-16"), b"[" * 65536])
def test_a_body_is_one_json_object(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(body)


def test_a_frame_is_utf8_whatever_is_in_it() -> None:
    """A lone surrogate, which JSON text may smuggle in, is replaced."""
    (got,) = wire.Decoder().feed(wire.pack({"a": "é\ud800"}))
    assert got["a"].startswith("é")
    assert "\ud800" not in got["a"]


def test_what_nothing_says_means() -> None:
    """Everything, from now on, in protocol 1."""
    asked = wire.parse_subscribe({})
    assert asked == wire.Subscribe()
    assert asked.unfiltered
    assert not asked.extended


def test_event_types_are_kept_by_their_form() -> None:
    """Declared or not; what no event could have is dropped."""
    asked = wire.parse_subscribe({"event_types": ["push", "never_declared", "No-Name", 3, "x" * 65, "push\n"]})
    assert asked.event_types == frozenset({"push", "never_declared"})


def test_the_extension() -> None:
    """Its keys by their types; what is not understood is ignored."""
    ext = {"match": [["a=1", "b=2"], []], "since": {"seq": 7, "log_id": "ABCDEF"}, "lean": True, "status": 1, "new": {}}
    asked = wire.parse_subscribe({"ext": ext})
    assert asked.match == (("a=1", "b=2"), ())
    assert asked.position == wire.Position("ABCDEF", 7)
    assert (asked.extended, asked.lean, asked.status) == (True, True, False)
    assert wire.parse_subscribe({"ext": {"since": {"time": 5}}}).at_ns == 5


@pytest.mark.parametrize(
    "since",
    [
        5,
        "x",
        [],
        {},
        {"seq": 1},
        {"seq": True, "log_id": "A"},
        {"seq": -1, "log_id": "A"},
        {"seq": 1, "log_id": 2},
        {"time": 1.5},
    ],
    ids=str,
)
def test_a_position_names_its_log(since: Any) -> None:
    """A seq alone would be resumed in whatever log is there."""
    with pytest.raises(ProtocolError):
        wire.parse_subscribe({"ext": {"since": since}})


ROW = Row(7, 5, "d", "t", "kind", "octo", "hello", None, "failure", 10**15, "api", "sum", '{"exit_code":1}')


@pytest.mark.parametrize(
    ("asked", "admitted"),
    [
        ({}, True),
        ({"filters": ["octo/hello"]}, True),
        ({"filters": ["octo/*"]}, True),
        ({"filters": ["octo/hell", "x/*"]}, False),
        ({"filters": ["Octo/hello"]}, False),
        ({"event_types": ["kind"]}, True),
        ({"event_types": ["other"]}, False),
        ({"filters": ["octo/*"], "event_types": ["other"]}, False),
    ],
    ids=str,
)
def test_what_filters_admit(asked: dict[str, Any], admitted: bool) -> None:
    """Filters or each other; types are anded."""
    assert wire.parse_subscribe(asked).admits(ROW) is admitted


def test_a_row_reads_as_a_frame() -> None:
    """The columns are fields too, and an absent well-known key is None."""
    frame = wire.frame_of_row(ROW, 9)
    assert (frame.seq, frame.source, frame.conclusion, frame.status) == (7, "t", "failure", None)
    assert isinstance(frame.fields, Fields)
    assert (frame.fields["exit_code"], frame.fields["head_sha"], frame.fields["repo"]) == (1, None, "hello")


@pytest.mark.parametrize("message", [{}, {"fields": 5}, {"fields": {}, "event_id": "x"}], ids=str)
def test_an_event_that_is_none_is_a_protocol_error(message: dict[str, Any]) -> None:
    """Another program on the socket is told from a bug of ours."""
    with pytest.raises(ProtocolError):
        wire.frame_of_lean(message)


def test_the_ack_of_the_shortest_interval() -> None:
    """Never 0, which some clients take for no heartbeat at all."""
    ack = json.loads(wire.ack(caught_up_at=None, heartbeat_sec=0.2)[4:])
    assert ack["heartbeat_sec"] == 1
