"""`subscribe` and `asubscribe`: every event once, in order, whatever happens to the daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import waitbus
from tests.client.conftest import STEPS, Bus
from tests.client.faces import Face, emit, event
from waitbus.store import shared


def test_what_is_emitted_once_it_is_armed_comes_in_order(transport: str, face: Face) -> None:
    emit(-1)

    def each(count: int, events: object) -> None:
        if count in (0, 5):
            emit(*range(count, count + 5))

    assert face.collect(10, each=each) == list(range(10))


def test_the_transport_is_the_daemon_where_there_is_one(transport: str, face: Face) -> None:
    seen: list[str | None] = []
    emit(1)
    assert face.collect(1, since="1h", each=lambda _, events: seen.append(events.session.transport)) == [1]
    assert seen == [transport] * 2


@pytest.mark.parametrize("restarted", [False, True], ids=["gone", "restarted"])
@pytest.mark.parametrize("step", STEPS)
def test_a_daemon_killed_at_any_step_is_not_noticed(
    bus: Bus, face: Face, at: Callable[..., None], step: str, restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine that is busy with other tests may take a second to an ack; who gave it up comes back with the next heartbeat.
    monkeypatch.setattr("waitbus.client.session.HANDSHAKE", 10.0)
    begin = shared().cursor()
    waitbus.emit_batch(event(n) for n in range(600))
    bus.start()

    def killed() -> None:
        bus.kill()
        emit(*range(600, 610))
        if restarted:
            bus.start()
        emit(*range(610, 620))

    at(step, killed)
    transports = []

    def each(count: int, events: object) -> None:
        transports.append(events.session.transport)  # type: ignore[attr-defined]
        if count >= 620:
            emit(count)

    assert face.collect(630, since=begin, each=each) == list(range(630))
    assert transports[-1] == ("socket" if restarted else "log")


def test_a_filter_is_the_same_on_both_transports(transport: str, face: Face) -> None:
    emit(*range(40))
    assert face.collect(4, ["n>=10", "n<20", "n!=11", "n!=12"], source="agent", since="1h") == [10, 13, 14, 15]
    assert face.collect(2, first_of=["agent:n=7", "pytest:n=8", "n=9"], since="1h") == [7, 9]


def test_a_predicate_of_the_payload_is_evaluated_here(transport: str, face: Face) -> None:
    for n, state in enumerate(["open", "merged", "closed", "merged"]):
        waitbus.emit(event(n, payload_json=f'{{"pull": {{"state": "{state}"}}}}'))
    assert face.collect(2, "payload.pull.state=merged", since="1h") == [1, 3]


def test_an_oversize_event_arrives_whole_and_is_matched_like_any_other(transport: str, face: Face) -> None:
    large = "x" * 70_000
    emit(0)
    waitbus.emit(event(1, fields={"log": large}))
    waitbus.emit(event(2, fields={"log": large}))
    emit(3)
    frames = []
    assert face.collect(4, since="1h") == [0, 1, 2, 3]
    with waitbus.subscribe("n=2", since="1h") as events:
        frames.append(next(events))
    assert frames[0].kind == "event"
    assert frames[0].fields["log"] == large


def test_a_subscription_that_is_not_closed_says_so(transport: str) -> None:
    emit(0)
    events = waitbus.subscribe(since="1h")
    assert next(events).fields["n"] == 0
    with pytest.warns(ResourceWarning, match="Subscription was not closed"):
        del events


def test_a_bare_loop_that_is_left_leaves_nothing_behind(transport: str) -> None:
    emit(0, 1)

    def left() -> int:
        return next(frame.fields["n"] for frame in waitbus.subscribe(since="1h"))

    with pytest.warns(ResourceWarning, match="Subscription was not closed"):
        assert left() == 0
    bells = shared().path.parent / "bells"
    assert len(list(bells.iterdir())) == (1 if transport == "socket" else 0)
