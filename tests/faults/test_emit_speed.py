"""F1: `emit` is no slower for a daemon that was killed, stands still, or was started again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import support
from tests.bus import Daemon
from waitbus.store import Log

EMITS = 1000
EMITTER = f"""
import sys, time, waitbus
def emits(count):
    for _ in range(count):
        waitbus.emit(waitbus.EventInsert(source="agent", event_type="step"))
emits(100)
begun = time.perf_counter()
emits({EMITS})
print(time.perf_counter() - begun)
"""

MOST = 1.5
"""The time beside a daemon through the time without anybody, as docs/RELIABILITY.md has it: of the fastest of several rounds."""


def _killed(daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(10)


def _stopped(daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGSTOP)


def _runs(daemon: Daemon) -> None:
    """It was started again, behind one that was killed."""


STATES: dict[str, Callable[[Daemon], None]] = {"killed": _killed, "stopped": _stopped, "restarted": _runs}


@pytest.mark.scaled(usual=1, full=9)
@pytest.mark.timeout(300)
def test_a_thousand_emits_take_no_longer_for_a_daemon(home: Path, scaled: int) -> None:
    """Interleaved, each in a process and a folder of its own."""
    took: dict[str, list[float]] = {"nobody": [], **{state: [] for state in STATES}}
    for number in range(scaled):
        for state in took if number % 2 else reversed(took):
            place = home / f"{state}{number}"
            place.mkdir()
            took[state].append(_seconds(place, state))
    best = {state: min(times) for state, times in took.items()}
    print({state: f"{seconds * 1000:.0f} ms, {seconds / best['nobody']:.2f}x" for state, seconds in best.items()})
    if scaled > 1:  # one round, on a machine that does other things too, says nothing of time
        assert {state: seconds for state, seconds in best.items() if seconds > MOST * best["nobody"]} == {}


def _seconds(place: Path, state: str) -> float:
    """What the emits take; every one of them is in the log."""
    if state == "nobody":
        return _emits(place)
    if state == "restarted":
        first = Daemon(place)
        _killed(first)
        first.kill()
    daemon = Daemon(place)
    try:
        STATES[state](daemon)
        return _emits(place)
    finally:
        daemon.kill()


def _emits(place: Path) -> float:
    done = support.run([support.PYTHON, "-c", EMITTER], env={"WAITBUS_STATE_DIR": str(place / "s")})
    assert done.err == ""
    with Log(place / "s/events.db") as log:
        assert log.head() == EMITS + 100
    return float(done.out)
