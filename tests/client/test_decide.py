"""`decide` and `adecide`: how a wait ended, by the order of the log and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import waitbus
from tests.client.conftest import STEPS, Bus
from tests.client.faces import FACES, Face, emit, event
from waitbus.store import shared


def test_the_outcome_says_which_clause_which_event_and_which_verdict(transport: str, face: Face) -> None:
    waitbus.emit(event(1, conclusion="failure"))
    outcome = face.call("decide", first_of=["pytest:n=1", "agent:n=1"], since="1h", timeout=10)
    assert (outcome.kind, outcome.exit_code, outcome.verdict) == ("matched", 1, "failure")
    assert outcome.clause.text == "agent:n=1"
    assert outcome.frame.fields["n"] == 1


def test_the_earlier_event_decides_however_tasks_are_woken(transport: str, face: Face) -> None:
    for _ in range(20):
        begin = shared().cursor()
        waitbus.emit_batch([event(1), event(2)])
        failed = face.call("decide", all_of=["n=2"], fail_on=["n=1"], since=begin, timeout=10)
        assert (failed.kind, failed.exit_code) == ("failed", 1)
        matched = face.call("decide", all_of=["n=1"], fail_on=["n=2"], since=begin, timeout=10)
        assert (matched.kind, matched.exit_code) == ("matched", 0)


def test_counts_and_orders(transport: str, face: Face) -> None:
    emit(1, 2, 1, 1)
    assert face.call("decide", "n=1", count=3, since="1h", timeout=10).frame.seq == 4
    in_order = face.call("decide", all_of=["n=2", "n=1"], in_order=True, since="1h", timeout=10)
    assert [one.frame.seq for one in in_order.met] == [2, 3]


def test_silence_is_a_success_where_it_was_asked_for(transport: str, face: Face) -> None:
    assert face.call("decide", none_of=["n=1"], timeout=0.2).kind == "silent"
    assert face.call("decide", "n=1", timeout=0.2).kind == "timed_out"


# Each of both once: the faces differ in the waiting only, and test_subscribe has every combination.
@pytest.mark.parametrize(("face", "restarted"), [(FACES[0], False), (FACES[1], True)], ids=str, indirect=["face"])
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
        emit(601, 602)

    at(step, killed)
    outcome = face.call(
        "decide", all_of=["n=602", "n=3", "n=600"], none_of=["payload.bad=true"], since=begin, timeout=20
    )
    assert (outcome.kind, outcome.frame.fields["n"]) == ("matched", 602)
    assert [one.frame.fields["n"] for one in outcome.met] == [3, 600, 602]
