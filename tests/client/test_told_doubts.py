"""What a predicate could not compare, or did not look at: who waits for it is told, once, on either transport."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

import waitbus
from tests import support
from tests.client.faces import Face, emit, event
from waitbus.client.history import History
from waitbus.client.steps import Gap, Note
from waitbus.document import PAYLOAD_MAX
from waitbus.predicate import Predicate, Wanted
from waitbus.store import Log, shared

NEVER = "size>10 compares a number with a text, which is never true"


def sized(n: int, size: object, **fields: Any) -> None:
    waitbus.emit(event(n, fields={"size": size, **fields}))


def doubts(said: list[Note | Gap]) -> list[str]:
    return [one.text for one in said if isinstance(one, Note) and one.kind == "doubt"]


def test_an_order_that_can_never_be_true_is_told_once(transport: str, face: Face) -> None:
    """With a daemon, too: what it cannot compare it lets through, since only the client can tell anybody."""
    said: list[Note | Gap] = []

    def each(count: int, _: object) -> None:
        if not count:
            for n in range(3):
                sized(n, "12")
            sized(3, 12)

    assert face.collect(1, "size>10", each=each, told=said.append) == [3]
    assert doubts(said) == [NEVER]


def test_each_term_is_told_by_itself(transport: str, face: Face) -> None:
    said: list[Note | Gap] = []
    sized(0, "12", age="x")
    sized(1, "12", age=3)
    sized(2, 12, age=3)
    assert face.collect(1, first_of=["size>10", "age<2"], since="1h", told=said.append) == [2]
    assert doubts(said) == [NEVER, "age<2 compares a number with a text, which is never true"]


def test_what_is_not_about_the_event_is_not_told(transport: str, face: Face) -> None:
    """Of another source or type, it was not asked for."""
    said: list[Note | Gap] = []
    sized(0, "12")
    sized(1, 12)
    waitbus.emit(waitbus.EventInsert(source="pytest", event_type="pytest_session", fields={"size": 11, "n": 2}))
    assert face.collect(1, "size>10", source="pytest", since="1h", told=said.append) == [2]
    assert doubts(said) == []


def test_what_another_clause_could_not_compare_is_told(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    """It matches one clause, so the union does not look at the other; the plan does. By default it is a line of the log."""
    sized(0, "12", state="done")
    with caplog.at_level(logging.WARNING, logger="waitbus"):
        outcome = waitbus.decide(all_of=["state=done", "size>10"], since="1h", timeout=0.3)
    assert outcome.kind == "timed_out"
    assert [record.message for record in caplog.records] == [NEVER]


def test_a_payload_that_is_too_large_to_look_into_is_told(transport: str, face: Face) -> None:
    said: list[Note | Gap] = []
    large = f'{{"x": 1, "pad": "{"x" * PAYLOAD_MAX}"}}'
    waitbus.emit(event(0, payload_json=large, fields={"state": "other"}))
    first = waitbus.emit(event(1, payload_json=large, fields={"state": "done"})).event.event_id
    waitbus.emit(event(2, payload_json=large, fields={"state": "done"}))
    waitbus.emit(event(3, payload_json='{"x": 1}', fields={"state": "done"}))
    assert face.collect(1, ["payload.x=1", "state=done"], since="1h", told=said.append) == [3]
    assert doubts(said) == [f"the payload of event {first} is larger than 1 MiB; payload.* does not see it"]


def test_a_payload_that_cannot_decide_is_not_read(transport: str, face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    payload = Log.payload

    def noted(self: Log, seq: int) -> str | None:
        read.append(seq)
        return payload(self, seq)

    monkeypatch.setattr(Log, "payload", noted)
    emit(0, 1)
    waitbus.emit(event(2, payload_json='{"x": 1}'))
    assert face.collect(1, ["payload.x=1", "n=2"], since="1h") == [2]
    assert read == [3]


def test_a_history_tells_it_too() -> None:
    said: list[Note | Gap] = []
    sized(0, "12")
    sized(1, "13")
    history = History(shared(), None, Wanted.of([Predicate.parse("size>10")]), told=said.append)
    assert [list(history.forwards()), list(history.backwards())] == [[], []]
    assert doubts(said) == [NEVER]


# -- on the command line -----------------------------------------------------------------------------------------------


def test_a_wait_says_it_once(transport: str, spawn: Callable[..., Any]) -> None:
    waiting = spawn("wait", "deploy_finished", "--match", "size>10", "--timeout", "20s")
    support.read_until(waiting.stderr, "armed")
    sized(0, "12")
    sized(1, "13")
    sized(2, 14)
    out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (0, "deploy_finished  n=2 size=14\n")
    assert [line for line in err.splitlines() if "never true" in line] == [f"warning: {NEVER}"]


def test_what_was_said_at_the_beginning_is_not_said_again(cli: Callable[..., support.Result]) -> None:
    """That `seq` is a number is known beforehand."""
    emit(0)
    ends = ["--since", "1h", "--timeout", "100ms"]
    for command, more in (("wait", ends), ("replay", []), ("broadcast tap", ends), ("read-events list", [])):
        done = cli(*command.split(), "--match", "seq<abc", *more)
        assert done.err.count('warning: seq<"abc" compares a text with a number, which is never true') == 1, command
