"""`wait_for` and `await_for`: the event that ends the wait, on both transports, whatever happens to the daemon."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

import waitbus
from tests import support
from tests.client.conftest import STEPS, Bus
from tests.client.faces import FACES, Face, bells, emit, event
from waitbus.errors import InvalidPredicate, InvalidWait
from waitbus.store import shared


def test_an_event_that_came_before_counts_behind_since(transport: str, face: Face) -> None:
    emit(1, 2, 3)
    frame = face.call("wait_for", "n=2", since="1h", timeout=10)
    assert (frame.seq, frame.fields["n"], frame.source) == (2, 2, "agent")


def test_the_time_out_answers_none(transport: str, face: Face) -> None:
    emit(1)
    began = time.monotonic()
    assert face.call("wait_for", "n=1", timeout=0.2) is None
    assert 0.2 <= time.monotonic() - began < 2


def test_a_time_out_of_nothing_answers_at_once(transport: str, face: Face) -> None:
    began = time.monotonic()
    assert face.call("wait_for", "n=1", timeout=0) is None
    assert time.monotonic() - began < 1


def test_ctrl_c_is_no_answer(spawn: Callable[..., Any]) -> None:
    """0.2 answered None, as if the time were up."""
    code = "import waitbus\ntry: waitbus.wait_for('n=1', timeout=20)\nexcept KeyboardInterrupt: print('interrupted')"
    child = spawn("-c", code, program=(support.PYTHON,))
    support.eventually(bells)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=10) == ("interrupted\n", "")
    assert bells() == 0


def test_a_recipient_and_a_source_are_named_by_themselves(transport: str, face: Face) -> None:
    waitbus.emit(event(1, msg_to="alice"))
    waitbus.emit(event(2, msg_to="bob"))
    assert face.call("wait_for", to="bob", since="1h", timeout=10).fields["n"] == 2
    assert face.call("wait_for", source="agent", since="1h", timeout=10).fields["n"] == 1


def test_conditions_and_evaluators_of_ones_own_are_named_by_a_predicate(transport: str, face: Face) -> None:
    waitbus.register_condition("even-n", lambda: lambda seen: seen.lookup("n") in (2, 4))
    waitbus.register_evaluator("least", lambda text: lambda seen: (seen.lookup("n") or 0) >= int(text))
    emit(1, 2, 3, 4)
    even, large = waitbus.Predicate.parse(conditions="even-n"), waitbus.Predicate.parse("n<4", evaluators="least:3")
    assert face.call("wait_for", even, source="agent", since="1h", timeout=10).fields["n"] == 2
    assert face.call("wait_for", large, since="1h", timeout=10).fields["n"] == 3
    both = [waitbus.Clause("even", even), waitbus.Clause("large", large)]
    assert face.call("wait_for", all_of=both, since="1h", timeout=10).fields["n"] == 3


def test_clauses(transport: str, face: Face) -> None:
    emit(1, 2)
    assert face.call("wait_for", all_of=["n=2", "agent:n=1"], since="1h", timeout=10).fields["n"] == 2
    assert face.call("wait_for", first_of=["n=3", "n=2"], since="1h", timeout=10).fields["n"] == 2
    assert face.call("wait_for", all_of=["n=3"], fail_on=["n=1"], since="1h", timeout=10).fields["n"] == 1


# Each of both once: the faces differ in the waiting only, and test_subscribe has every combination.
@pytest.mark.parametrize(("face", "restarted"), [(FACES[0], False), (FACES[2], True)], ids=str, indirect=["face"])
@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_killed_at_any_step_is_not_noticed(
    bus: Bus, face: Face, at: Callable[..., None], step: str, restarted: bool
) -> None:
    begin = shared().cursor()
    waitbus.emit_batch(event(n) for n in range(600))
    bus.start()

    def killed() -> None:
        bus.kill()
        emit(600)
        if restarted:
            bus.start()
        for n in (601, 602):
            waitbus.emit(event(n, payload_json='{"ok": true}'))

    at(step, killed)
    frame = face.call("wait_for", "payload.ok=true", since=begin, timeout=20)
    assert frame.fields["n"] == 601


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({}, InvalidWait, "nothing to wait for"),
        ({"match": "conclusion"}, InvalidPredicate, "conclusion"),
        ({"match": "n=1", "first_of": ["n=2"]}, InvalidWait, "beside"),
    ],
)
def test_what_is_not_of_its_form_is_refused_before_anything_is_done(
    face: Face, keywords: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        face.call("wait_for", **keywords, timeout=1)
