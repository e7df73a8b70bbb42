"""`request`, `arequest` and `respond`: a message to somebody by name, and its answer."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import waitbus
from tests import support
from tests.client.conftest import Bus
from tests.client.faces import FACES, Face, event
from waitbus.errors import InvalidEvent
from waitbus.store import shared

BOB = """
    import sys, waitbus
    with waitbus.subscribe(to="bob") as inbox:
        print("listening", flush=True)
        for frame in inbox:
            waitbus.respond(frame, frame.fields["msg_body"].upper() + "!" * int(sys.argv[1]))
"""


@pytest.fixture
def bob(spawn: Callable[..., subprocess.Popen[str]]) -> Callable[[int], None]:
    """A process that answers to the name of bob, with so many exclamation marks."""

    def begin(marks: int = 1) -> None:
        child = spawn(textwrap.dedent(BOB), str(marks), program=(support.PYTHON, "-c"))
        assert child.stdout is not None
        support.read_until(child.stdout, "listening")

    return begin


def test_an_answer_from_another_process(transport: str, face: Face, bob: Callable[..., None]) -> None:
    bob()
    answer = face.call("request", "bob", "is main green?", sender="alice", thread="t", timeout=15)
    fields = answer.fields
    assert (fields["msg_from"], fields["msg_to"], fields["msg_body"]) == ("bob", "alice", "IS MAIN GREEN?!")
    assert (fields["msg_thread"], fields["msg_reply_to"]) == ("t", f"alice.{fields['msg_correlation_id']}")


def test_a_large_answer_arrives_whole(transport: str, face: Face, bob: Callable[..., None]) -> None:
    bob(70_000)
    answer = face.call("request", "bob", "well?", sender="alice", timeout=15)
    assert answer.fields["msg_body"] == "WELL?" + "!" * 70_000


def test_nobody_answers(transport: str, face: Face) -> None:
    assert face.call("request", "bob", "anybody?", sender="alice", timeout=0.2) is None


def test_an_answer_that_was_late_is_found_by_the_same_correlation(transport: str, face: Face) -> None:
    assert face.call("request", "bob", "one?", sender="alice", correlation_id="c1", timeout=0.05) is None
    asked = waitbus.wait_for(to="bob", since="1h", timeout=10)
    assert asked is not None
    first, second = waitbus.respond(asked, "yes"), waitbus.respond(asked, "no")
    assert (first.inserted, second.inserted) == (True, False)
    assert second.event.fields["msg_body"] == "yes"
    answer = face.call("request", "bob", "two?", sender="alice", correlation_id="c1", timeout=10)
    assert answer.fields["msg_body"] == "yes"


def test_a_message_to_oneself_is_not_its_own_answer(transport: str, face: Face) -> None:
    assert face.call("request", "alice", "echo?", sender="alice", timeout=0.2) is None


def test_an_answer_over_another_log(face: Face, home: Path) -> None:
    path = home / "elsewhere.db"
    assert face.call("request", "bob", "?", sender="alice", correlation_id="c", timeout=0.05, db_path=path) is None
    assert not (home / "s").exists()
    asked = waitbus.emit(event(0), db_path=path)
    assert asked.event.seq == 2


# Each of both once: the faces differ in the waiting only, and test_subscribe has every combination.
@pytest.mark.parametrize(("face", "restarted"), [(FACES[0], False), (FACES[1], True)], ids=str, indirect=["face"])
@pytest.mark.parametrize("step", ["before the connection", "during the handshake", "behind the ack"])
def test_a_daemon_killed_at_any_step_is_not_noticed(
    bus: Bus, face: Face, at: Callable[..., None], step: str, restarted: bool
) -> None:
    bus.start()

    def killed() -> None:
        bus.kill()
        if restarted:
            bus.start()
        asked = shared().row(1)
        assert asked is not None
        from waitbus.wire import frame_of_row

        waitbus.respond(frame_of_row(asked, shared().tag), "here")

    at(step, killed)
    answer = face.call("request", "bob", "there?", sender="alice", timeout=20)
    assert answer.fields["msg_body"] == "here"


def test_only_a_request_can_be_answered() -> None:
    frame = waitbus.emit(event(1)).event
    with pytest.raises(InvalidEvent, match=f"event {frame.event_id} is no request that could be answered") as caught:
        waitbus.respond(frame, "?")
    assert "msg_correlation_id" in caught.value.hint
