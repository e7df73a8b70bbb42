"""What a pytest run tells becomes rows; what anybody else says over the same socket becomes nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus import pytest_plugin, verdict
from waitbus.document import Document
from waitbus.event_checks import DELIVERY_ID_MAX
from waitbus.events import EventInsert
from waitbus.sources.pytest_rows import COUNTS, LINE_MAX, OUTCOMES, Nonsense, Session, conclusion_of, key_of_test

START = {"what": "start", "session": "0123456789abcdef", "rootdir": "/src/api", "args": "-q"}
END = {
    "what": "end",
    "exit_status": 1,
    "counts": {"passed": 2, "failed": 1},
    "duration_ms": 12,
    "first_failures": ["a"],
}


def lines(*messages: object) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def test_a_session_is_one_row() -> None:
    (row,) = Session().feed(lines(START, END))
    assert (row.source, row.event_type, row.owner, row.repo) == ("pytest", "pytest_session", "local", "api")
    assert (row.status, row.conclusion, row.delivery_id) == ("completed", "failure", "pytest:0123456789abcdef")
    assert row.fields == {
        "passed": 2,
        "failed": 1,
        **dict.fromkeys(("skipped", "errors", "xfailed", "xpassed"), 0),
        "exit_status": 1,
        "duration_ms": 12,
        "rootdir": "/src/api",
        "args": "-q",
        "first_failures": ["a"],
        "session": "0123456789abcdef",
        "workflow_name": "api",
    }
    assert row.summary == "api failure 1 failed, 2 passed in 12 ms a"


def test_a_test_is_one_row_at_once() -> None:
    session = Session()
    test = {"what": "test", "nodeid": "t.py::a", "outcome": "failed", "duration_ms": 3, "counts": {"failed": 1}}
    (row,) = session.feed(lines(START, test))
    assert (row.event_type, row.status, row.conclusion) == ("pytest_test", "completed", "failure")
    assert row.delivery_id == "pytest:0123456789abcdef:t.py::a:failed"
    assert (row.fields["nodeid"], row.fields["outcome"], row.fields["duration_ms"]) == ("t.py::a", "failed", 3)
    assert verdict.verdict_of(Document.of_insert(row)) == "failure"
    assert not verdict.is_progress(Document.of_insert(row))


@pytest.mark.parametrize(
    ("exit_status", "interrupted", "conclusion"),
    [
        (0, False, "success"),
        (1, False, "failure"),
        (2, False, "failure"),
        (2, True, "cancelled"),
        (3, False, "failure"),
        (4, False, "failure"),
        (5, False, "failure"),
        (137, False, "failure"),
        (None, False, "failure"),
    ],
)
def test_how_a_session_ended(exit_status: int | None, interrupted: bool, conclusion: str) -> None:
    assert conclusion_of(exit_status, interrupted=interrupted) == conclusion


def test_a_session_without_its_last_word_is_told_with_what_is_known() -> None:
    session = Session()
    test = {"what": "test", "nodeid": "a", "outcome": "failed", "counts": {"failed": 1, "passed": 4}}
    session.feed(lines(START, test, {"what": "progress", "counts": {"passed": 9}}))
    (row,) = session.gone(137, "pytest was ended by SIGKILL")
    assert row.conclusion == "failure"
    assert (row.fields["passed"], row.fields["failed"], row.fields["exit_status"]) == (9, 1, 137)
    assert (row.fields["reason"], row.fields["first_failures"]) == ("pytest was ended by SIGKILL", ["a"])
    assert session.gone() == []


def test_a_session_that_was_ending_ends_as_it_was_to() -> None:
    session = Session()
    assert session.feed(lines(START, {**END, "what": "ending"})) == []
    (row,) = session.gone(0)
    assert (row.fields["exit_status"], row.fields.get("reason")) == (1, None)


def test_nothing_is_told_of_what_never_began_or_is_over() -> None:
    assert Session().gone() == []
    session = Session()
    session.feed(lines(START, END))
    assert session.gone() == []
    assert session.feed(lines(END, {"what": "test", "nodeid": "a", "outcome": "failed"})) == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        lines({"what": "end"}),
        lines([1]),
        lines({**START, "session": "../../x"}),
        lines({**START, "session": 7}),
        b"x" * (LINE_MAX + 1),
        b"[" * LINE_MAX + b"\n",
        lines(START) + b"x" * (LINE_MAX + 1) + b"\n",
    ],
)
def test_a_stranger_is_not_listened_to(data: bytes) -> None:
    with pytest.raises(Nonsense):
        Session().feed(data)


@pytest.mark.parametrize(
    "message",
    [
        {"what": "test", "nodeid": "a", "outcome": "exploded"},
        {"what": "test", "nodeid": "a", "outcome": ["failed"]},
        {"what": "test", "nodeid": "", "outcome": "failed"},
        {"what": "test", "nodeid": 7, "outcome": "failed"},
        {"what": "progress", "counts": [1]},
        {"what": []},
        {},
        "end",
    ],
)
def test_a_line_that_says_nothing_is_no_row(message: object) -> None:
    assert Session().feed(lines(START, message)) == []


def test_values_of_another_kind_are_left_out() -> None:
    end = {
        "what": "end",
        "exit_status": "0",
        "counts": {"passed": True, "failed": -1, "errors": 1.5, "skipped": 1 << 70, "nodeid": 3},
        "duration_ms": None,
        "first_failures": [1, "x" * 5000, ["y"]],
        "reason": {"a": 1},
        "interrupted": "yes",
    }
    (row,) = Session().feed(lines({**START, "args": 1, "rootdir": None}, end))
    known = {"first_failures": ["x" * 1000], "session": START["session"], "workflow_name": "pytest"}
    assert row.fields == {**dict.fromkeys(COUNTS, 0), **known}
    assert (row.repo, row.conclusion) == ("pytest", "failure")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    ["what", "session", "rootdir", "args", "nodeid", "outcome", "duration_ms", "counts", "exit_status",
     "first_failures", "interrupted", "reason", "digest"]
)  # fmt: skip
messages = st.dictionaries(keys, json_values | st.sampled_from(["start", "test", "end", "failed"]), max_size=8)


@given(st.lists(messages, max_size=4), st.integers(1, 50))
def test_whatever_is_said_makes_legal_rows_or_none(said: list[dict[str, Any]], size: int) -> None:
    """However it is cut in pieces, too."""
    session, data = Session(), lines(START, *said)
    rows = []
    for at in range(0, len(data), size):
        rows += session.feed(data[at : at + size])
    rows += session.gone()
    assert [row.event_type for row in rows].count("pytest_session") == 1
    assert all(row.source == "pytest" and row.delivery_id.startswith("pytest:0123456789abcdef") for row in rows)


def test_a_test_that_fails_again_has_a_row_of_its_own() -> None:
    session = Session()
    test = {"what": "test", "nodeid": "a", "outcome": "error"}
    rows = session.feed(lines(START, test, test, {**test, "outcome": "failed"}, test))
    assert [row.delivery_id.removeprefix("pytest:0123456789abcdef:") for row in rows] == [
        "a:error", "a:error:2", "a:failed", "a:error:3"
    ]  # fmt: skip


# -- what the plugin says ----------------------------------------------------------------------------------------------


@pytest.fixture
def way() -> Iterator[tuple[pytest_plugin.Way, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with ours, theirs:
        yield pytest_plugin.Way(ours), theirs


def reporter(way: pytest_plugin.Way) -> pytest_plugin.Reporter:
    config = SimpleNamespace(invocation_params=SimpleNamespace(args=("-q",)), rootpath=Path("/src/api"))
    made = pytest_plugin.Reporter(config, way, every=False)
    made.session = SimpleNamespace(shouldfail="", shouldstop="", exitstatus=1)
    return made


def rows_of(theirs: socket.socket) -> list[EventInsert]:
    """The rows of all that is said, up to the last word."""
    session, found = Session(), list[EventInsert]()
    while not session.is_over:
        found += session.feed(theirs.recv(1 << 16))
    return found


@pytest.mark.parametrize("letter", ["\x01", "\0", "\n", "\ud800", "\U0001f600", '"', "ü", "a"])
def test_twenty_long_ids_of_any_letter_are_told(way: tuple[pytest_plugin.Way, socket.socket], letter: str) -> None:
    ours, theirs = way
    made = reporter(ours)
    made.start()
    for number in range(20):
        made.tell("failed", f"{number:02}{letter * 1000}", 0.001)
    made.say_last()
    *tests, end = rows_of(theirs)
    written = letter if letter != "\ud800" else "\\ud800"  # what is no text is kept as its escape
    assert [test.fields["nodeid"] for test in tests] == [f"{number:02}{written * 398}" for number in range(20)]
    assert (end.event_type, end.fields["failed"], len(end.fields["first_failures"])) == ("pytest_session", 20, 20)
    assert len({test.delivery_id for test in tests}) == 20


def test_what_a_hook_is_given_that_it_cannot_read_ends_no_run(way: tuple[pytest_plugin.Way, socket.socket]) -> None:
    """Other plugins make reports of their own."""
    ours, theirs = way
    made = reporter(ours)
    made.start()
    for report in (object(), SimpleNamespace(outcome="failed", when="call", nodeid=7), None):
        made.pytest_runtest_logreport(report)
        made.pytest_collectreport(report)
    made.pytest_keyboard_interrupt(None)
    made.pytest_sessionfinish("no number")
    made.say_last()
    (end,) = rows_of(theirs)
    assert end.event_type == "pytest_session"
    assert made.trouble == "AttributeError: 'object' object has no attribute 'outcome'"


def test_a_listener_who_takes_nothing_holds_up_nobody_and_the_end_is_told(
    way: tuple[pytest_plugin.Way, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest_plugin, "PENDING_MAX", 100_000)
    ours, theirs = way
    made = reporter(ours)
    made.start()
    for number in range(10_000):
        made.tell("failed", f"test_{number}", 0.001)
    assert ours.open
    assert len(ours.pending) < 101_000
    found = list[EventInsert]()
    listener = threading.Thread(target=lambda: found.extend(rows_of(theirs)))
    listener.start()
    made.say_last()
    listener.join()
    *tests, end = found
    assert end.fields["failed"] == 10_000
    assert 300 < len(tests) == 10_000 - ours.untold
    assert made.trouble == f"{ours.untold} tests are in its counts alone: its writer was too slow"


@given(st.text(min_size=1), st.sampled_from(sorted(OUTCOMES)))
def test_a_key_is_never_too_long_and_its_own(nodeid: str, outcome: str) -> None:
    key = key_of_test("0123456789abcdef", nodeid * 50, outcome)
    assert len(key.encode("utf-8", "backslashreplace").decode()) <= DELIVERY_ID_MAX
    assert key != key_of_test("0123456789abcdef", nodeid * 50 + "x", outcome)


def test_every_count_is_a_field_of_the_declaration() -> None:
    from waitbus.sources import source

    spec = source("pytest")
    assert set(COUNTS) <= spec.fields.keys()
    assert set(OUTCOMES) == set(spec.vocabulary["outcome"])
    assert set(OUTCOMES.values()) <= set(spec.vocabulary["conclusion"])
