"""Whatever answers on the socket: no traceback, no endless loop, and every event of the log once."""

from __future__ import annotations

import json
import math
import os
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

import waitbus
from tests.client.faces import emit, event
from tests.client.fake import FakeDaemon, kinds, numbers, pack, steps
from waitbus.client.session import LOSSES, Session
from waitbus.client.start import Start
from waitbus.client.steps import Wait
from waitbus.predicate import Predicate, Wanted
from waitbus.store import shared


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    emit(1)
    with FakeDaemon() as daemon:
        yield daemon


@pytest.fixture
def session(fake: FakeDaemon, clock: Clock) -> Iterator[Session]:
    """A session that has connected and waits for its ack."""
    made = Session(clock=clock)
    assert isinstance(made.step(), Wait)
    assert fake.accept()
    assert fake.asked() == {"proto": 1, "ext": {"lean": True}}
    yield made
    made.close()


def armed(session: Session, fake: FakeDaemon) -> None:
    fake.say(fake.ack())
    assert kinds(steps(session)) == []
    assert session.transport == "socket"


def test_a_daemon_has_two_and_a_half_heartbeats_of_silence(session: Session, fake: FakeDaemon, clock: Clock) -> None:
    armed(session, fake)
    clock.now += 149.9
    assert kinds(steps(session)) == []
    fake.say({"ts": 1, "uptime_sec": 1, "seq": 1, "kind": "daemon_heartbeat"})
    assert kinds(steps(session)) == []
    clock.now += 149.9
    assert kinds(steps(session)) == []
    assert session.transport == "socket"
    clock.now += 0.2
    falls_back(session, fake, "hung")


def falls_back(session: Session, fake: FakeDaemon, kind: str) -> None:
    """The log is read from where the session stood, and what comes later too."""
    said = steps(session)
    while fake.accept():  # it asks once more where a daemon may have begun meanwhile
        fake.hang_up()
        said += steps(session)
    assert kinds(said) == [kind]
    assert session.transport == "log"
    emit(2, 3)
    assert numbers(said + steps(session)) == [2, 3]


BROKEN = {
    "garbage": b"\xff" * 64,
    "length 0": struct.pack(">I", 0),
    "length 65537": struct.pack(">I", 65537) + b"{}",
    "no JSON": pack(b"{"),
    "no object": pack(b"[1]"),
    "no UTF-8": pack(b'{"kind": "\xff"}'),
    "deep": pack(b"[" * 60000),
    "a number without end": pack(b'{"kind": "event", "seq": ' + b"9" * 5000 + b"}"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_frames_instead_of_an_ack(session: Session, fake: FakeDaemon, data: bytes) -> None:
    fake.say_bytes(data)
    falls_back(session, fake, "garbled")


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_frames_behind_the_ack(session: Session, fake: FakeDaemon, data: bytes) -> None:
    armed(session, fake)
    fake.say_bytes(data)
    falls_back(session, fake, "garbled")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"kind": "event"}, "foreign"),
        ({"kind": ...}, "foreign"),
        ({"kind": 7}, "foreign"),
        ({"kind": "subscribe_rejected"}, "foreign"),
        ({"ext": ...}, "foreign"),
        ({"ext": None}, "foreign"),
        ({"ext": {"lean": 1}}, "foreign"),
        ({"log": ...}, "other_log"),
        ({"log": []}, "other_log"),
        ({"log": {}}, "other_log"),
        ({"log": {"dev": "1", "ino": None}}, "other_log"),
        ({"log": {"path": "/elsewhere", "dev": 1, "ino": 2}}, "other_log"),
        ({"log_id": ...}, "garbled"),
        ({"log_id": 5}, "garbled"),
        ({"seq": ...}, "garbled"),
        ({"seq": -1}, "garbled"),
        ({"seq": True}, "garbled"),
        ({"seq": 1.5}, "garbled"),
        ({"seq": 1 << 80}, "garbled"),
    ],
    ids=str,
)
def test_an_ack_that_is_none_of_ours(session: Session, fake: FakeDaemon, changes: dict[str, Any], kind: str) -> None:
    fake.say(fake.ack(**changes))
    falls_back(session, fake, kind)


@pytest.mark.parametrize("seconds", [..., None, "1", 0, -5, 1e400, math.nan, True, []], ids=str)
def test_a_heartbeat_that_is_no_number_of_seconds_is_taken_for_60(
    session: Session, fake: FakeDaemon, clock: Clock, seconds: Any
) -> None:
    fake.say(fake.ack(heartbeat=seconds))
    wait = steps(session)[-1]
    assert isinstance(wait, Wait)
    assert wait.deadline == clock.now + 150


TEXTS = ("event_id", "source", "event_type", "owner", "repo", "delivery_id", "summary")


@pytest.mark.parametrize(
    "changes",
    [
        *({key: ...} for key in (*TEXTS, "seq", "received_at", "fields")),
        *({key: 7} for key in (*TEXTS, "fields")),
        *({key: None} for key in ("event_id", "source", "summary", "fields")),
        {"seq": "2"}, {"seq": True}, {"seq": 2.0}, {"seq": -2}, {"seq": 1 << 70}, {"seq": [2]},
        {"received_at": "now"}, {"received_at": -1}, {"received_at": 1 << 63}, {"fields": []}, {"fields": "n"},
    ],
    ids=str,
)  # fmt: skip
def test_an_event_with_a_wrong_or_missing_key(session: Session, fake: FakeDaemon, changes: dict[str, Any]) -> None:
    armed(session, fake)
    emit(0)
    fake.say(fake.event(2), fake.event(2, **{"seq": 3, **changes}))
    said = steps(session)
    assert (numbers(said), kinds(said), session.transport) == ([0], ["garbled"], "log")
    emit(5)
    assert numbers(steps(session)) == [5]


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "daemon_heartbeat", "seq": "x"},
        {"kind": "daemon_heartbeat", "seq": -1},
        {"kind": "truncated"},
        {"kind": "truncated", "seq": None},
        {"kind": "gap"},
        {"kind": "gap", "reason": "pruned", "from": 1},
        {"kind": "gap", "reason": "pruned", "from": 1, "to": []},
    ],
    ids=json.dumps,
)
def test_a_control_frame_with_a_wrong_or_missing_key(
    session: Session, fake: FakeDaemon, message: dict[str, Any]
) -> None:
    armed(session, fake)
    fake.say(message)
    falls_back(session, fake, "garbled")


def test_what_we_do_not_know_is_left_aside(session: Session, fake: FakeDaemon) -> None:
    armed(session, fake)
    emit(2)
    news = {"kind": "weather", "seq": "sunny"}
    fake.say(
        news,
        {"no": "kind"},
        {"kind": None},
        {"kind": ["event"]},
        fake.event(2, news={"a": 1}),
        {"kind": "daemon_heartbeat"},
    )
    assert numbers(steps(session)) == [2]
    assert session.transport == "socket"


def test_what_was_given_is_not_given_again(session: Session, fake: FakeDaemon) -> None:
    armed(session, fake)
    emit(2, 3)
    fake.say(fake.event(2), fake.event(2), fake.event(3), fake.event(1), fake.event(2))
    assert numbers(steps(session)) == [2, 3]


def test_half_a_frame_and_silence_behind_it(session: Session, fake: FakeDaemon, clock: Clock) -> None:
    armed(session, fake)
    emit(2)
    data = pack(fake.event(2))
    fake.say_bytes(data[:-10])
    assert numbers(steps(session)) == []
    clock.now += 149
    assert session.transport == "socket"
    steps(session)
    clock.now += 2
    said = steps(session)
    assert (numbers(said), kinds(said)) == ([2], ["hung"])


def test_a_frame_in_pieces_is_one_frame(session: Session, fake: FakeDaemon) -> None:
    armed(session, fake)
    emit(2)
    got: list[int] = []
    for byte in pack(fake.event(2)):
        fake.say_bytes(bytes([byte]))
        got += numbers(steps(session))
    assert got == [2]


def test_no_ack_within_a_second(session: Session, fake: FakeDaemon, clock: Clock) -> None:
    clock.now += 0.9
    assert steps(session) == [Wait(1001.0, fd=session.step().fd)]  # type: ignore[union-attr]
    clock.now += 0.2
    falls_back(session, fake, "hung")


def test_a_daemon_that_hangs_up_on_everybody_is_not_asked_for_ever(fake: FakeDaemon) -> None:
    session = Session()
    asked = 0
    said = steps(session)
    while fake.accept():
        asked += 1
        fake.say(fake.ack())
        said += steps(session)
        fake.hang_up()
        said += steps(session)
    assert asked == LOSSES
    assert kinds(said) == ["lost"]
    emit(2)
    assert numbers(steps(session)) == [2]
    session.close()


def test_that_a_daemon_is_left_is_told_once_and_when_it_was_heard_last(session: Session, fake: FakeDaemon) -> None:
    """Also where another one answers at once, so that there is nothing to say to a person."""
    left: list[int | None] = []
    session.when_it_leaves(lambda: left.append(session.left_ns))
    armed(session, fake)
    fake.say({"kind": "daemon_heartbeat", "ts": 1_700_000_000, "uptime_sec": 1, "seq": 1})
    steps(session)
    assert (left, session.left_ns) == ([], None)
    for _ in range(2):
        fake.hang_up()
        steps(session)
        assert fake.accept()
        armed(session, fake)
    assert (left, session.left_ns) == ([1_700_000_000_000_000_000], 1_700_000_000_000_000_000)


def test_a_daemon_was_heard_last_when_it_let_us_in(session: Session, fake: FakeDaemon) -> None:
    begun = time.time_ns()
    armed(session, fake)
    fake.hang_up()
    steps(session)
    assert session.left_ns is not None
    assert begun - 2_000_000_000 < session.left_ns <= time.time_ns()


def test_a_daemon_that_never_let_us_in_was_never_heard(session: Session, fake: FakeDaemon) -> None:
    fake.hang_up()
    steps(session)
    assert session.left_ns == 0


def test_heartbeats_move_the_position_past_what_a_filter_hid(fake: FakeDaemon, clock: Clock) -> None:
    session = Session(Wanted.of([Predicate.parse("n=99")]), clock=clock)
    session.step()
    fake.accept()
    armed(session, fake)
    emit(*range(2, 50))
    clock.now += 100
    fake.say({"kind": "daemon_heartbeat", "ts": 1, "uptime_sec": 1, "seq": 40})
    steps(session)
    assert session.seq == 40
    clock.now += 149
    steps(session)
    assert session.transport == "socket"
    fake.hang_up()
    steps(session)
    assert fake.accept()
    assert fake.asked()["ext"]["since"] == {"seq": 40, "log_id": session.log_id}
    session.close()


def test_a_predicate_that_no_frame_could_hold_stays_with_the_client(fake: FakeDaemon) -> None:
    wanted = Wanted.of(Predicate.parse([f"n={'x' * 60}{i}{j}" for i in range(40)]) for j in range(40))
    session = Session(wanted)
    session.step()
    assert fake.accept()
    assert "match" not in fake.asked()["ext"]
    session.close()


def test_an_oversize_event_that_cannot_be_read_is_told_as_a_stub(session: Session, fake: FakeDaemon) -> None:
    armed(session, fake)
    waitbus.emit(event(2, fields={"log": "x" * 70_000}))
    emit(3)
    row = shared().row(2)
    assert row is not None
    mine = shared().event_id(2, row.at_ms)
    stub = {"event_id": "0" * 26, "seq": 2, "reason": "too large", "correlation_id": "c", "kind": "truncated"}
    fake.say({**stub, "event_id": mine}, {**stub, "seq": 3}, {**stub, "seq": 8, "event_id": None})
    whole, gone, odd = steps(session)[:3]
    assert (whole.kind, len(whole.fields["log"])) == ("event", 70_000)  # type: ignore[union-attr]
    assert (gone.kind, gone.seq, gone.fields["msg_correlation_id"]) == ("truncated", 3, "c")  # type: ignore[union-attr]
    assert odd.kind == "truncated"  # type: ignore[union-attr]


def test_a_full_backlog_is_a_daemon_that_is_busy(clock: Clock) -> None:
    """trio and asyncio would take EAGAIN for a connection in progress, and then fail or hang."""
    emit(1)
    with FakeDaemon(backlog=0) as fake:
        first, second = Session(clock=clock), Session(clock=clock)
        assert first.step().fd is not None  # type: ignore[union-attr]
        wait = second.step()
        assert isinstance(wait, Wait)
        assert wait.fd is None
        assert clock.now < wait.deadline < clock.now + 0.2
        assert fake.accept()
        clock.now = wait.deadline
        assert second.step().fd is not None  # type: ignore[union-attr]
        third = Session(clock=clock)
        assert third.step().fd is None  # type: ignore[union-attr]
        clock.now += 1.1
        assert kinds(steps(third)) == ["hung"]
        assert third.transport == "log"
        for session in (first, second, third):
            session.close()


def test_a_path_that_the_kernel_does_not_take_is_no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    emit(1)
    monkeypatch.setenv("WAITBUS_RUNTIME_DIR", "/tmp/" + "x" * 120)
    session = Session(start=Start(at_ns=0))
    said = steps(session)
    assert (numbers(said), kinds(said)) == ([1], ["no_daemon"])
    session.close()


def test_a_socket_that_is_none_is_no_daemon() -> None:
    from waitbus.paths import socket_path

    emit(1)
    socket_path().parent.mkdir(parents=True)
    socket_path().write_text("not a socket")
    session = Session(start=Start(at_ns=0))
    assert numbers(steps(session)) == [1]
    session.close()
    assert os.listdir(shared().path.parent / "bells") == []
