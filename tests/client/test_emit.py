"""`emit` and `aemit`, as whoever waits sees them: with a daemon, without one, with one that was killed or stopped (F1)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

import waitbus
from tests.client.conftest import Bus
from tests.client.faces import Face, emit, event
from waitbus.errors import InvalidEvent, LogError
from waitbus.store import shared


def test_the_result_is_the_event_as_everybody_reads_it(transport: str, face: Face) -> None:
    before = time.time_ns()
    result = face.call("emit", event(1, head_sha="c0ffee", conclusion="success", delivery_id="d1"))
    assert result.inserted
    with waitbus.subscribe(since="1h") as events:
        assert next(events) == result.event
    assert before <= result.event.received_at <= time.time_ns()
    assert result.event.fields["head_sha"] == "c0ffee"


def test_a_delivery_id_that_was_there_answers_the_first_event(transport: str, face: Face) -> None:
    first = face.call("emit", event(1, delivery_id="d1"))
    again = face.call("emit", event(2, delivery_id="d1"))
    assert not again.inserted
    assert again.event == first.event
    assert face.call("wait_for", "n=2", since="1h", timeout=0.1) is None


def test_another_log_has_its_own_waiters(face: Face, home: Path) -> None:
    path = home / "other.db"
    result = face.call("emit", event(1), db_path=path)
    assert result.event.seq == 1
    assert not (home / "s").exists()
    assert face.call("emit", event(2), db_path=str(path)).event.seq == 2


def test_what_is_no_event_is_refused_before_anything_is_made(home: Path) -> None:
    with pytest.raises(InvalidEvent, match="source 'No' is not a name"):
        waitbus.EventInsert(source="No", event_type="x")
    assert not (home / "s").exists()


def test_emit_may_be_called_in_a_loop(face: Face) -> None:
    """It is over in well under a millisecond; who fears a busy log has `aemit`."""

    async def main() -> int:
        return waitbus.emit(event(1)).event.seq

    if face.backend is not None:
        assert anyio.run(main, backend=face.backend) == 1


def test_a_cancelled_aemit_has_committed_and_rung_or_not_begun(face: Face) -> None:
    async def main() -> None:
        async with waitbus.asubscribe() as events:
            for n in range(10):
                with anyio.CancelScope() as scope:
                    if n % 2:
                        scope.cancel()
                    await waitbus.aemit(event(n))
            with anyio.fail_after(10):
                return [(await events.__anext__()).fields["n"] for _ in range(5)]  # type: ignore[return-value]

    if face.backend is not None:
        got = anyio.run(main, backend=face.backend)
        assert got == [0, 2, 4, 6, 8]


def test_a_log_that_cannot_be_opened(home: Path, face: Face) -> None:
    (home / "s").write_text("a file, where the folder should be")
    with pytest.raises((LogError, waitbus.WaitbusError), match=str(home / "s")):
        face.call("emit", event(1))


# -- F1: nothing that a daemon does or does not do is in the way -------------------------------------------------------


def _absent(bus: Bus) -> None:
    del bus


def _killed(bus: Bus) -> None:
    bus.start()
    bus.kill()


def _stopped(bus: Bus) -> None:
    bus.start()
    bus.signal(signal.SIGSTOP)


@pytest.mark.parametrize(
    "state", [_absent, _killed, _stopped, Bus.start], ids=["absent", "killed", "stopped", "running"]
)
def test_a_thousand_emits(
    bus: Bus, state: Callable[[Bus], object], record_property: Callable[[str, object], None]
) -> None:
    """Their time beside that without listeners is measured by bench; here nothing may block."""
    state(bus)
    longest = 0.0
    began = time.monotonic()
    for n in range(1000):
        before = time.monotonic()
        emit(n)
        longest = max(longest, time.monotonic() - before)
    record_property("seconds", time.monotonic() - began)
    assert longest < 1
    assert shared().head() == 1000
    with waitbus.subscribe(since="1h") as events:
        assert [next(events).fields["n"] for _ in range(1000)] == list(range(1000))
