"""Events: what may be said, what is kept of it, and ids that sort as the log does."""

from __future__ import annotations

import enum
import json
import math
import os
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.logs import event, rows
from waitbus.errors import InvalidCursor, InvalidEvent
from waitbus.events import (
    COLUMN_FIELDS,
    FIELDS_MAX,
    INT_FIELDS,
    PAYLOAD_MAX,
    SEQ_MAX,
    SUMMARY_MAX,
    TEXT_FIELDS,
    EventFrame,
    EventInsert,
    Fields,
    log_id,
    make_event_id,
    new_delivery_id,
    parse_event_id,
)
from waitbus.store import Log
from waitbus.wire import frame_of_row

# -- ids ---------------------------------------------------------------------------------------------------------------

times = st.integers(0, 2**48 - 1)
tags = st.integers(1, 2**30 - 1)
seqs = st.integers(0, SEQ_MAX)


@given(times, tags, seqs)
def test_an_event_id_says_where_the_event_stands(at_ms: int, tag: int, seq: int) -> None:
    """An id is (commit time, log, seq) and nothing else, so a cursor needs no look-up."""
    text = make_event_id(at_ms, tag, seq)
    assert attrs.astuple(parse_event_id(text)) == (at_ms, tag, seq)
    assert text[10:16] == log_id(tag)


@given(tags, st.lists(st.tuples(times, st.integers(1, 1000)), min_size=2))
def test_ids_of_one_log_sort_as_their_seqs(tag: int, steps: list[tuple[int, int]]) -> None:
    """Commit times never decrease and seqs increase: so do the ids, compared as text."""
    at_ms = seq = 0
    ids = []
    for now_ms, step in steps:
        at_ms, seq = max(at_ms, now_ms), seq + step
        ids.append(make_event_id(at_ms, tag, seq))
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    "text",
    ["", "x", "0" * 25, "0" * 27, "0" * 25 + "U", "8" + "0" * 25, "0" * 26 + "\n", "0" * 25 + "a", "0" * 25 + "é"],
)
def test_what_is_no_event_id_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidCursor) as caught:
        parse_event_id(text)
    assert repr(text) in caught.value.message
    assert "26 characters" in caught.value.hint


def test_a_long_text_that_is_no_id_is_not_repeated() -> None:
    with pytest.raises(InvalidCursor, match="a text of 100000 characters"):
        parse_event_id("x" * 100_000)


def test_delivery_ids_made_here_are_all_different_even_across_a_fork() -> None:
    """A child that goes on with its parent's memory does not go on with its ids."""
    mine = {new_delivery_id() for _ in range(1000)}
    assert len(mine) == 1000
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, new_delivery_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 200).decode()
    os.close(reader)
    os.close(writer)
    ours = new_delivery_id()
    assert ours.split("-")[2:] != theirs.split("-")[2:]
    assert theirs not in mine


# -- what is refused ---------------------------------------------------------------------------------------------------

RUN_ID_HINT = "give the number that run_id has upstream, from 1 on"
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"source": ""}, "source '' is not a name", "a name is a-z, then"),
    ({"source": "Pytest"}, "source 'Pytest' is not a name", "a name is a-z, then"),
    ({"source": "py-test"}, "source 'py-test' is not a name", "a name is a-z, then"),
    ({"source": "1x"}, "source '1x' is not a name", "a name is a-z, then"),
    ({"source": "x\n"}, r"source 'x\n' is not a name", "a name is a-z, then"),
    ({"source": None}, "source None is not a name", "a name is a-z, then"),
    ({"source": ["x"]}, "source ['x'] is not a name", "a name is a-z, then"),
    ({"source": "x" * 65}, "has 65 characters", "shorten it to 64"),
    ({"event_type": "Build Done"}, "event_type 'Build Done' is not a name", "deploy_finished"),
    ({"owner": ""}, "owner is empty", "give owner a value, or leave it out"),
    ({"owner": 7}, "owner 7 is not a text", "give owner a string"),
    ({"owner": "x" * 201}, "owner has 201 characters", "shorten it to 200"),
    ({"repo": ""}, "repo is empty", "give repo a value, or leave it out"),
    ({"repo": "x" * 201}, "repo has 201 characters", "shorten it to 200"),
    ({"delivery_id": ""}, "delivery_id is empty", "give delivery_id a value, or leave it out"),
    ({"delivery_id": "x" * 513}, "delivery_id has 513 characters", "shorten it to 512"),
    ({"status": ""}, "status is empty", "give status a value, or leave it out"),
    ({"status": "x" * 65}, "status has 65 characters", "shorten it to 64"),
    ({"conclusion": 1}, "conclusion 1 is not a text", "give conclusion a string"),
    ({"ingest_method": ""}, "ingest_method is empty", "give ingest_method a value, or leave it out"),
    ({"ingest_method": None}, "ingest_method None is not a text", "give ingest_method a string"),
    ({"summary": 5}, "summary 5 is not a text", "or leave it away"),
    ({"received_at": 1_700_000_000}, "received_at 1700000000 is not a time in ns", "time.time_ns()"),
    ({"received_at": 1.7e18}, "received_at 1.7e+18 is not a time in ns", "time.time_ns()"),
    ({"received_at": True}, "received_at True is not a time in ns", "time.time_ns()"),
    ({"received_at": 1 << 63}, "received_at 9223372036854775808 is not a time in ns", "time.time_ns()"),
    ({"fields": [1]}, "fields [1] is not a mapping", "fields={"),
    ({"fields": {1: "x"}}, "1 is not a key of fields", "keys are strings"),
    ({"fields": {"": "x"}}, "'' is not a key of fields", "keys are strings"),
    ({"fields": {"a": {"b": 1}}}, "fields.a {'b': 1} is not flat", "payload_json"),
    ({"fields": {"a": [[1]]}}, "fields.a [1] is not flat", "payload_json"),
    ({"fields": {"a": (1, 2)}}, "fields.a (1, 2) is not flat", "payload_json"),
    ({"fields": {"a": b"x"}}, "fields.a b'x' is not flat", "payload_json"),
    ({"fields": {"a": math.nan}}, "fields.a is nan", "JSON has no such number"),
    ({"fields": {"a": [math.inf]}}, "fields.a is inf", "JSON has no such number"),
    ({"fields": {"a": 10**5000}}, "fields.a is a number of 16610 bits", "give it as a text"),
    ({"fields": {"a": "x" * FIELDS_MAX}}, "fields has 262152 characters", "shorten it to 262144"),
    (
        {"fields": {"run_id": "7"}},
        "run_id '7' is not a positive integer",
        RUN_ID_HINT,
    ),
    ({"run_id": 0}, "run_id 0 is not a positive integer", RUN_ID_HINT),
    ({"run_id": True}, "run_id True is not a positive integer", RUN_ID_HINT),
    (
        {"run_id": 1 << 63},
        "run_id 9223372036854775808 is not a positive integer",
        RUN_ID_HINT,
    ),
    ({"head_sha": 1234567}, "head_sha 1234567 is not a string", "quote it"),
    ({"msg_to": ["a"]}, "msg_to ['a'] is not a string", "quote it"),
    ({"payload_json": {}}, "payload_json {} is not a text", "json.dumps"),
    ({"payload_json": ""}, "payload_json is not JSON", "write JSON"),
    ({"payload_json": "{'a': 1}"}, "payload_json is not JSON", "write JSON"),
    ({"payload_json": "[NaN]"}, "NaN is no JSON number", "write JSON"),
    ({"payload_json": "[" * 100_000}, "payload_json is nested too deeply", "flatten it"),
    ({"payload_json": '"\ud800"'}, "payload_json holds a lone surrogate", r"\udcff"),
    ({"payload_json": '"' + "x" * PAYLOAD_MAX}, "payload_json has 33554433 characters", "shorten it to 33554432"),
    *[({"fields": {key: "x"}}, f"fields.{key} is reserved", f"give {key} by itself") for key in COLUMN_FIELDS],
]


@pytest.mark.parametrize(
    ("bad", "message", "hint"), BAD, ids=[f"{n}-{next(iter(bad))}" for n, (bad, _, _) in enumerate(BAD)]
)
def test_what_is_not_legal_is_refused_by_value_and_with_a_remedy(bad: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        EventInsert(**{"source": "agent", "event_type": "x", **bad})
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(caught.value.message) < 300, "a value of a megabyte is not repeated"


def test_an_unknown_keyword_is_an_error_of_the_program() -> None:
    """What is not well known goes into `fields`; a slip in a keyword does not vanish there."""
    with pytest.raises(TypeError, match="no keyword 'head_shaa'"):
        EventInsert(source="agent", event_type="x", head_shaa="y")  # type: ignore[call-arg]


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_only_source_and_type_are_needed() -> None:
    made = EventInsert(source="agent", event_type="deploy_finished")
    assert (made.owner, made.repo, made.status, made.conclusion) == ("local", "agent", None, None)
    assert (made.fields, made.fields_json, made.payload_json, made.ingest_method) == ({}, "{}", "{}", "api")
    assert made.summary
    assert made.delivery_id
    assert made.received_at > 10**18


def test_an_event_cannot_be_changed() -> None:
    made = event()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.source = "other"  # type: ignore[misc]


def test_well_known_fields_are_keywords_and_attributes() -> None:
    """0.2 had them as columns."""
    made = EventInsert(source="github", event_type="workflow_run", run_id=7, head_sha="abc", fields={"own": 1})
    assert made.fields == {"own": 1, "run_id": 7, "head_sha": "abc"}
    assert (made.run_id, made.head_sha, made.job_id) == (7, "abc", None)
    with pytest.raises(AttributeError, match="no attribute 'own'"):
        made.own  # noqa: B018


def test_none_and_absent_are_the_same() -> None:
    made = event(fields={"a": None, "b": 1}, run_id=None)
    assert made.fields == {"b": 1}
    assert made.fields_json == '{"b":1}'


def test_enumerations_are_kept_as_their_values() -> None:
    class Word(str, enum.Enum):  # noqa: UP042 - the kind whose str() is not its value
        GOOD = "good"

    class Number(enum.IntEnum):
        TWO = 2

    made = event(fields={"word": Word.GOOD, "number": Number.TWO, Word.GOOD: True})
    assert made.fields_json == '{"word":"good","number":2,"good":true}'
    assert [type(key) for key in made.fields] == [str] * 3
    assert type(made.fields["word"]) is str


def test_a_summary_is_cut_not_refused() -> None:
    assert len(event(summary="x" * 10_000).summary) == SUMMARY_MAX
    assert event(summary="").summary == ""


def test_absent_well_known_keys_read_as_none() -> None:
    """`fields["head_sha"]` never raises; a key that nobody declared does."""
    fields = Fields(own=1)
    assert {fields[key] for key in (*INT_FIELDS, *TEXT_FIELDS, *COLUMN_FIELDS)} == {None}
    assert fields.get("head_sha") is None
    assert "head_sha" not in fields
    with pytest.raises(KeyError):
        fields["typo"]


def test_a_frame_as_a_dict_is_plain_json() -> None:
    frame = EventFrame(
        event_id="0" * 26,
        event_type="x",
        owner="o",
        repo="r",
        received_at=1,
        delivery_id="d",
        summary="s",
        fields=Fields(status="completed", conclusion="success"),
    )
    as_dict = frame.to_dict()
    assert type(as_dict["fields"]) is dict
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert (frame.status, frame.conclusion) == ("completed", "success")


# -- F22: hostile strings ----------------------------------------------------------------------------------------------

HOSTILE = [
    "\x00", "a\x00b", "'; DROP TABLE events; --", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x7f\x80\x9f", "\r\nX: y",
    "\u202eexe.txt", "\u2066\u2069", "\U000e0041\U000e007f", "\ufeff", "\u200b", "\u2028\u2029",
    "\\u0000", '"', "\\", "{}", "é", "e\u0301",
    "\U0001f468\u200d\U0001f469", "\uffff", "\U0010ffff", "%s%n", "$(reboot)", "`id`", "../../etc/passwd", "\t", " ", "日本語",
]  # fmt: skip
"""Valid Unicode, every kind that is dangerous somewhere."""


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_hostile_text_is_byte_faithful_in_the_log(text: str) -> None:
    """What is dangerous on a terminal is text like any other in the log: it is made harmless where it is shown."""
    made = EventInsert(
        source="agent",
        event_type="x",
        owner=text,
        repo=text,
        delivery_id=text,
        status=text,
        conclusion=text,
        summary=text,
        ingest_method=text,
        fields={text: text, "list": [text]},
        msg_body=text,
        payload_json=json.dumps({text: text}, ensure_ascii=False),
    )
    with Log() as log:
        placed = log.append(made)
        row = log.row(placed.seq)
        assert row is not None
        assert {row.owner, row.repo, row.delivery_id, row.status, row.conclusion, row.summary, row.ingest_method} == {
            text
        }
        assert json.loads(row.fields) == {text: text, "list": [text], "msg_body": text}
        assert log.payload(placed.seq) == json.dumps({text: text}, ensure_ascii=False)
        assert log.by_delivery_id(text) == row


any_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
)
own_keys = any_text.filter(lambda key: key not in INT_FIELDS | TEXT_FIELDS | frozenset(COLUMN_FIELDS))


@given(st.dictionaries(own_keys, scalars | st.lists(scalars, max_size=4), max_size=6), any_text, any_text)
def test_fields_come_back_as_they_were_given(fields: dict[str, Any], owner: str, name: str) -> None:
    """The JSON written by hand is the JSON that the encoder would have written, and reads back the same through the log."""
    made = event(name, owner=owner, fields=fields)
    expected = {key: value for key, value in fields.items() if value is not None}
    assert made.fields == expected
    assert json.loads(made.fields_json) == expected
    assert made.fields_json == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))


@given(st.lists(st.text("aé\udcff\ud800\udc00", min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
def test_lone_surrogates_are_escaped_and_stay_apart(texts: list[str]) -> None:
    """A file name that is no UTF-8 is no text: it is kept readable, never merged with another, and never fails an emit."""
    with Log() as log:
        before = log.head()
        for text in texts:
            log.append(event(f"{text}-{before}", owner=text, fields={text: [text]}, summary=text, msg_body=text))
        written = [row for row in rows(log) if row.seq > before]
    escaped = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    assert [row.owner for row in written] == escaped
    assert [json.loads(row.fields) for row in written] == [{text: [text], "msg_body": text} for text in escaped]


def test_a_megabyte_in_a_field_is_refused_and_in_a_payload_kept() -> None:
    big = "\u202e" * 400_000
    with pytest.raises(InvalidEvent, match="fields has"):
        event(fields={"name": big})
    with Log() as log:
        placed = log.append(event(payload_json=json.dumps({"name": big}, ensure_ascii=False)))
        assert json.loads(log.payload(placed.seq) or "") == {"name": big}


def test_a_frame_from_the_log_has_the_columns_among_its_fields() -> None:
    with Log() as log:
        placed = log.append(event(status="completed", conclusion="failure", run_id=7, fields={"own": [1, None, True]}))
        row = log.row(placed.seq)
        assert row is not None
        frame = frame_of_row(row, log.tag)
    assert frame.fields["own"] == [1, None, True]
    assert frame.fields["run_id"] == 7
    assert {key: frame.fields[key] for key in COLUMN_FIELDS} == {
        "source": "agent",
        "event_type": "deploy_finished",
        "owner": "local",
        "repo": "agent",
        "status": "completed",
        "conclusion": "failure",
        "ingest_method": "api",
    }
