"""Library calls that are given something of the wrong kind: a typed error at once, on each face, with its value and a remedy.

None of them waits, writes a row, or fails somewhere inside.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import waitbus
from tests.client.faces import Face, emit, event
from waitbus import conditions, errors
from waitbus.producer import emit_all
from waitbus.store import shared

PLAIN, SEVERAL, SECONDS = "is not a text", "is neither a text nor several", "is not a number of seconds"
DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize("name", ["wait_for", "decide"])
@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"timeout": math.nan}, errors.InvalidWait, f"timeout nan {SECONDS}"),
        ({"timeout": "5"}, errors.InvalidWait, f"timeout '5' {SECONDS}"),
        ({"timeout": b"5"}, errors.InvalidWait, f"timeout b'5' {SECONDS}"),
        ({"timeout": True}, errors.InvalidWait, f"timeout True {SECONDS}"),
        ({"timeout": DAY}, errors.InvalidWait, f"timeout datetime.timedelta(days=1) {SECONDS}"),
        ({"timeout": 10**400}, errors.InvalidWait, "timeout 1000000"),
        ({"since": 5}, errors.InvalidCursor, f"since 5 {PLAIN}"),
        ({"since": b"1h"}, errors.InvalidCursor, f"since b'1h' {PLAIN}"),
        ({"since": DAY}, errors.InvalidCursor, f"since datetime.timedelta(days=1) {PLAIN}"),
        ({"match": 5}, errors.InvalidPredicate, f"match 5 {SEVERAL}"),
        ({"match": [5]}, errors.InvalidPredicate, f"match 5 {PLAIN}"),
        ({"match": b"n=1"}, errors.InvalidPredicate, f"match b'n=1' {SEVERAL}"),
        ({"source": 5}, errors.InvalidPredicate, f"source 5 {SEVERAL}"),
        ({"to": [None]}, errors.InvalidPredicate, f"to None {PLAIN}"),
        ({"all_of": 5}, errors.InvalidPredicate, f"--all-of 5 {SEVERAL}"),
        ({"first_of": [5]}, errors.InvalidPredicate, f"--first-of 5 {PLAIN}"),
        ({"none_of": [b"n=1"]}, errors.InvalidPredicate, f"--none-of b'n=1' {PLAIN}"),
        ({"fail_on": {"n": 1}.items()}, errors.InvalidPredicate, f"--fail-on ('n', 1) {PLAIN}"),
        ({"socket_path": 5}, errors.PathError, "socket_path 5 is not a path"),
        ({"socket_path": "a\0b"}, errors.PathError, r"socket_path 'a\x00b' has a NUL in it"),
    ],
    ids=str,
)
def test_a_wait_is_refused(face: Face, name: str, given: dict[str, Any], kind: type[Exception], said: str) -> None:
    clauses = {"match", "source", "to", "all_of", "first_of", "none_of", "fail_on"}
    refused(face, kind, said, name, **{"timeout": 5.0, **({} if clauses & given.keys() else {"match": "n=1"}), **given})


@pytest.mark.parametrize("count", ["3", 1.5, None, True])
def test_a_count_that_is_no_number_is_refused(face: Face, count: Any) -> None:
    refused(face, errors.InvalidWait, f"--count {count!r} has no one thing to count", "decide", "n=1", count=count)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"match": 5}, errors.InvalidPredicate, f"match 5 {SEVERAL}"),
        ({"first_of": 5}, errors.InvalidPredicate, f"first_of 5 {SEVERAL}"),
        ({"first_of": [5]}, errors.InvalidPredicate, f"first_of 5 {PLAIN}"),
        ({"since": 5.0}, errors.InvalidCursor, f"since 5.0 {PLAIN}"),
        ({"bookmark": 5}, errors.InvalidName, "5 cannot be a bookmark"),
        ({"socket_path": b"/x"}, errors.PathError, "socket_path b'/x' is not a path"),
        ({"told": 5}, errors.InvalidWait, "told 5 is no function"),
        ({"told": "print"}, errors.InvalidWait, "told 'print' is no function"),
        (
            {"socket_path": "\ud800"},
            errors.PathError,
            r"socket_path '\ud800' has a character that no file name can have",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["subscribe", "asubscribe"])
def test_a_subscription_is_refused(name: str, given: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        getattr(waitbus, name)(**given)
    named(caught.value, said)


@pytest.mark.parametrize("given", [{}, None, 5, "x", {"source": "a", "event_type": "b"}, waitbus.EventInsert], ids=str)
def test_what_is_no_event_is_not_emitted(face: Face, given: Any) -> None:
    refused(face, errors.InvalidEvent, " is no event", "emit", given)


@pytest.mark.parametrize("write", [waitbus.emit_batch, emit_all])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "5 is no series of events"),
        (None, "None is no series of events"),
        (event(1), "is no series of events"),
        ([{}], "{} is no event"),
        ([event(1), None], "None is no event"),
        ("x", "'x' is no series of events"),
        ("", "'' is no series of events"),
        ({}, "{} is no series of events"),
        ({"source": "a"}, "{'source': 'a'} is no series of events"),
    ],
    ids=[
        *("a number", "nothing", "an event", "a dict in it", "nothing in it"),
        *("a text", "an empty text", "an empty dict", "a dict"),
    ],
)
def test_what_is_no_batch_is_not_emitted(write: Any, given: Any, said: str) -> None:
    with pytest.raises(errors.InvalidEvent) as caught:
        write(given)
    named(caught.value, said)
    assert shared().head() == 0


def test_a_failure_of_a_series_itself_is_its_own() -> None:
    def series() -> Iterator[waitbus.EventInsert]:
        yield event(1)
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        waitbus.emit_batch(series())
    assert shared().head() == 0


@pytest.mark.parametrize("path", [5, b"/x", "a\0b", "\ud800"])
def test_a_log_that_is_no_path_is_refused(face: Face, path: Any) -> None:
    refused(face, errors.PathError, f"the path {path!r} ", "emit", event(1), db_path=path)


@pytest.mark.parametrize("timeout", [math.nan, "5"])
def test_a_request_is_refused_before_it_is_sent(face: Face, timeout: Any) -> None:
    refused(
        face, errors.InvalidWait, f"timeout {timeout!r} {SECONDS}", "request", "b", "?", sender="a", timeout=timeout
    )


@pytest.mark.parametrize("given", [{}, None, event(1)], ids=["a dict", "nothing", "an event to emit"])
def test_what_is_no_request_is_not_answered(given: Any) -> None:
    with pytest.raises(errors.InvalidEvent) as caught:
        waitbus.respond(given, "yes", sender="b")
    named(caught.value, " is no event")
    assert shared().head() == 0


@pytest.mark.parametrize("register", [waitbus.register_condition, waitbus.register_evaluator])
@pytest.mark.parametrize(
    ("name", "factory", "kind", "said"),
    [
        (5, print, errors.InvalidName, "5 is not a name for "),
        (None, print, errors.InvalidName, "None is not a name for "),
        ("late", 5, errors.EvaluatorError, "'late' is 5, which is no function"),
        ("late", "print", errors.EvaluatorError, "'late' is 'print', which is no function"),
    ],
)
def test_what_is_no_condition_is_not_registered(
    register: Any, name: Any, factory: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        register(name, factory)
    named(caught.value, said)


@pytest.mark.parametrize("given", [5, None, "fs", {"name": "x"}, waitbus.SourceSpec], ids=str)
def test_what_is_no_declaration_is_not_registered(given: Any) -> None:
    with pytest.raises(errors.InvalidName) as caught:
        waitbus.register_source(given)
    named(caught.value, " is no declaration of a source")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": 5}, "name 5 is not a name"),
        ({"event_types": 5}, "event_types 5 is no list of texts"),
        ({"event_types": "tock"}, "event_types 'tock' is no list of texts"),
        ({"event_types": ["tock", 5]}, "event_types ['tock', 5] is no list of texts"),
        ({"progress": "tock"}, "progress 'tock' is no list of texts"),
        ({"concludes": [["tock"]]}, "concludes [['tock']] is no list of texts"),
        ({"fields": 5}, "fields 5 is no mapping of names"),
        ({"types": [5]}, "types [5] is no mapping of names"),
        ({"example": {5: 6}}, "example {5: 6} is no mapping of names"),
        ({"vocabulary": "success"}, "vocabulary 'success' is no mapping of names"),
        ({"vocabulary": {"conclusion": "success"}}, "vocabulary of 'conclusion': 'success' is no list of texts"),
        ({"matches": "n=1"}, "matches 'n=1' is no list of texts"),
        ({"about": 5}, "about 5 is no text"),
        ({"implementation": None}, "implementation None is no text"),
    ],
    ids=str,
)
def test_a_declaration_of_the_wrong_kinds_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.InvalidName) as caught:
        waitbus.SourceSpec(**{"name": "clock", "event_types": ["tock"], **given})
    named(caught.value, said)


@pytest.mark.parametrize("timeout", [-1, 0, -math.inf])
def test_a_time_out_that_is_over_looks_and_does_not_wait(face: Face, timeout: float) -> None:
    """Whoever computes what is left of his time may be late."""
    emit(1)
    assert face.call("wait_for", "n=2", since="1h", timeout=timeout) is None


@pytest.mark.parametrize("clause", ["all_of", "first_of", "fail_on"])
def test_one_clause_need_not_be_in_a_list(face: Face, clause: str) -> None:
    emit(1)
    outcome = face.call("decide", **{clause: "agent:n=1"}, since="1h", timeout=5)
    assert outcome.frame.fields["n"] == 1


WATCHED: list[tuple[Callable[[], object], type[errors.WaitbusError], str]] = [
    (lambda: waitbus.watch_process("1"), errors.InvalidPid, "'1' is not a process id"),  # type: ignore[arg-type]
    (lambda: waitbus.watch_process(True), errors.InvalidPid, "True is not a process id"),
    (lambda: waitbus.watch_process(1.0), errors.InvalidPid, "1.0 is not a process id"),  # type: ignore[arg-type]
    (lambda: waitbus.watch_files(".", None), errors.InvalidWait, "glob None is neither a text nor several"),  # type: ignore[arg-type]
    (lambda: waitbus.watch_files(".", ["*.py", 5]), errors.InvalidWait, "glob 5 is not a text"),  # type: ignore[list-item]
    (lambda: waitbus.watch_files(".", "\ud800"), errors.InvalidValue, r"'\ud800' is no glob"),
    (
        lambda: waitbus.watch_files("\ud800"),
        errors.PathError,
        r"root '\ud800' has a character that no file name can have",
    ),
    (lambda: waitbus.watch_source(None), errors.InvalidWait, "source None is not a text"),  # type: ignore[arg-type]
    (lambda: waitbus.watch_source("x" * 1000), errors.UnknownSource, "no source 'xxx"),
    (lambda: waitbus.ready_port("x" * 1000), errors.InvalidWait, "is not HOST:PORT"),
    (lambda: waitbus.ready_port(5), errors.InvalidWait, "place 5 is not a text"),  # type: ignore[arg-type]
    (lambda: waitbus.ready_http("http://a/", None), errors.InvalidWait, "status None is neither"),  # type: ignore[arg-type]
    (lambda: waitbus.ready_http("http://a/", [2.5]), errors.InvalidWait, "status 2.5 is not a text"),  # type: ignore[list-item]
    (lambda: waitbus.ready_file("\ud800"), errors.PathError, r"path '\ud800' has a character that no file name"),
]


@pytest.mark.parametrize(("make", "kind", "said"), WATCHED, ids=[said for *_, said in WATCHED])
def test_what_cannot_be_watched_is_refused(make: Callable[[], object], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        make()
    named(caught.value, said)


def _check() -> Any:
    return bool


REGISTERED: list[tuple[Callable[[], object], type[errors.WaitbusError], str]] = [
    (lambda: waitbus.register_condition(None, _check), errors.InvalidName, "None is not a name for a condition"),  # type: ignore[arg-type]
    (lambda: waitbus.register_condition("mine", "x"), errors.EvaluatorError, "condition 'mine' is 'x', which is no function"),  # type: ignore[arg-type]
    (lambda: waitbus.register_evaluator(5, _check), errors.InvalidName, "5 is not a name for a evaluator"),  # type: ignore[arg-type]
    (lambda: waitbus.register_evaluator("mine", None), errors.EvaluatorError, "evaluator 'mine' is None, which is no function"),  # type: ignore[arg-type]
    (lambda: waitbus.register_source({"name": "x"}), errors.InvalidName, "{'name': 'x'} is no declaration of a source"),  # type: ignore[arg-type]
    (lambda: waitbus.register_source("timer"), errors.InvalidName, "'timer' is no declaration of a source"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize(("register", "kind", "said"), REGISTERED, ids=[said for *_, said in REGISTERED])
def test_what_is_none_is_not_registered(register: Callable[[], object], kind: type[Exception], said: str) -> None:
    before = dict(conditions._conditions), dict(conditions._evaluators)
    with pytest.raises(kind) as caught:
        register()
    named(caught.value, said)
    assert (conditions._conditions, conditions._evaluators) == before


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("by its own fault")


def test_a_value_that_cannot_be_shown_is_refused_all_the_same() -> None:
    with pytest.raises(errors.InvalidEvent) as caught:
        waitbus.emit(Unspeakable())  # type: ignore[arg-type]
    named(caught.value, "a Unspeakable is no event")


def refused(face: Face, kind: type[Exception], said: str, name: str, *args: Any, **given: Any) -> None:
    with pytest.raises(kind) as caught:
        face.call(name, *args, **given)
    named(caught.value, said)
    assert shared().head() == 0


def named(error: BaseException, said: str) -> None:
    """It is one of ours, with this sentence and a hint."""
    assert isinstance(error, errors.WaitbusError)
    assert said in error.message
    assert error.hint
    assert len(error.message) < 250
