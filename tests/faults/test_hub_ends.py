"""F3, F12, F13: a log that is locked, the end of a daemon with work before it, and producers that die before they ring."""

from __future__ import annotations

import selectors
import signal
import sqlite3
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import support
from tests.bus import Daemon, Wire, daemon, flood
from waitbus import wire as protocol
from waitbus.events import EventInsert
from waitbus.producer import emit

LEAN = {"ext": {"lean": True}}
Spawn = Callable[..., subprocess.Popen[str]]


# -- the log is locked -------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(home: Path) -> Iterator[tuple[Daemon, sqlite3.Connection]]:
    """A daemon, and a program that holds the log's write lock with a row of its own not yet committed."""
    with daemon(home, WAITBUS_HEARTBEAT_SEC="0.3") as bus:
        emit(EventInsert(source="t", event_type="before"), db_path=bus.log)
        other = sqlite3.connect(bus.log, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE events SET summary = 'theirs'")
        yield bus, other
        other.close()


@pytest.mark.scaled(usual=8, full=30)
def test_a_locked_log_stops_neither_accepts_nor_heartbeats_nor_readers(
    locked: tuple[Daemon, sqlite3.Connection], spawn: Spawn, scaled: int
) -> None:
    """For so many seconds subscribers come, replay and hear the heart, and `emit` gives up; what is emitted then is delivered."""
    bus, other = locked
    with bus.armed(**LEAN) as live, ExitStack() as newcomers:
        refused, waiting = 0, spawn("emit", "patient")
        answers: list[float] = []
        free = time.monotonic() + scaled
        while (begun := time.monotonic()) < free:
            replay = newcomers.enter_context(bus.subscribe(since="0" * 26))
            assert [frame["kind"] for frame in replay.frames(2)] == ["subscribe_ack", "event"]
            answers.append(time.monotonic() - begun)
            assert live.frame()["kind"] == "daemon_heartbeat"  # type: ignore[index]
            assert time.monotonic() - begun < 2, "an answer, or a heartbeat, which is due each 0.3 s, came late"
            if waiting.poll() is not None:
                assert gave_up(waiting)
                refused, waiting = refused + 1, spawn("emit", "patient")
        print(f"{len(answers)} newcomers, the slowest replay {max(answers):.3f} s; {refused} emits refused")
        assert refused >= scaled // 8
        other.execute("COMMIT")
        emit(EventInsert(source="t", event_type="after"), db_path=bus.log)
        due = ["after"] if gave_up(waiting) else ["after", "patient"]
        for wire in (live, replay):
            assert sorted(frame["event_type"] for frame in wire.frames(len(due))) == due


def gave_up(emitter: subprocess.Popen[str]) -> bool:
    """Whether an `emit` ended with the log locked, or else with its event committed."""
    _, said = emitter.communicate(timeout=10)
    assert emitter.returncode == (74 if "is locked by another process" in said else 0), said
    return emitter.returncode == 74


def test_a_log_that_cannot_be_read_is_waited_for(home: Path) -> None:
    """Its folder became a file: said once; accepts wait, hearts beat, and all goes on when it is back."""
    with daemon(home, WAITBUS_HEARTBEAT_SEC="0.2") as bus, bus.armed(**LEAN) as wire:
        (home / "s").rename(home / "away")
        (home / "s").write_text("in the way")
        support.read_until(bus._stderr, "trying again")
        beat = wire.frame()
        assert beat is not None
        assert beat["kind"] == "daemon_heartbeat"
        with bus.subscribe() as newcomer, bus.subscribe() as another:
            assert newcomer.silent()
            assert another.silent()
            (home / "s").unlink()
            (home / "away").rename(home / "s")
            assert newcomer.frames(1)[0]["kind"] == "subscribe_ack"
        emit(EventInsert(source="t", event_type="after"), db_path=bus.log)
        assert wire.frames(1)[0]["event_type"] == "after"
        said = bus.stop()
        assert "trying again" not in said
        assert said.count("the log can be read again") == 1
        assert said.count("the doorbell is gone") <= 1


# -- the end -----------------------------------------------------------------------------------------------------------


def test_sigterm_gives_everybody_what_is_committed(home: Path) -> None:
    """A backlog, 100 subscribers, one of them stalled: 99 get everything and EOF, and it is over in little more than 1 s."""
    with daemon(home) as bus, ExitStack() as stack:
        wires = [stack.enter_context(bus.armed(**LEAN)) for _ in range(99)]
        stalled = stack.enter_context(bus.armed(**LEAN))
        flood(bus, 2000, pad=1500)
        bus.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        got = read_to_the_end(wires)
        assert bus.process.wait(10) == 0
        took = time.monotonic() - begun
        frames = protocol.Decoder().feed(got[wires[0]][0])
        assert [frame["seq"] for frame in frames] == list(range(1, 2001))
        assert len({check for _, check in got.values()}) == 1
        assert len(read_to_the_end([stalled])[stalled][0]) < len(got[wires[0]][0])
    assert 1 < took < 5


def read_to_the_end(wires: list[Wire]) -> dict[Wire, tuple[bytes, int]]:
    """What the first of them got, and a check sum for each, up to EOF; all of them at once."""
    first, checks = bytearray(), dict.fromkeys(wires, 0)
    buffer = bytearray(1 << 20)
    with selectors.DefaultSelector() as selector:
        for wire in wires:
            selector.register(wire.socket, selectors.EVENT_READ, wire)
        while selector.get_map():
            ready = selector.select(10)
            assert ready, f"{len(selector.get_map())} connections neither speak nor end"
            for key, _ in ready:
                count = key.data.socket.recv_into(buffer)
                checks[key.data] = zlib.crc32(memoryview(buffer)[:count], checks[key.data])
                if key.data is wires[0]:
                    first += buffer[:count]
                if not count:
                    selector.unregister(key.fileobj)
    return {wire: (bytes(first), check) for wire, check in checks.items()}


def test_newcomers_are_not_kept_waiting_by_a_daemon_that_leaves(home: Path) -> None:
    """The socket goes first: who comes now reads the log at once."""
    with daemon(home) as bus, bus.armed(**LEAN):
        flood(bus, 4000)
        bus.process.send_signal(signal.SIGTERM)
        support.read_until(bus._stderr, "stopping")
        support.eventually(lambda: not bus.path.exists())
        with pytest.raises(FileNotFoundError):
            Wire(bus.path)
        assert bus.process.wait(10) == 0


def test_a_daemon_with_a_log_it_cannot_read_leaves_too(home: Path) -> None:
    """Within the deadline."""
    with daemon(home, WAITBUS_HEARTBEAT_SEC="0.2") as bus, bus.armed() as wire:
        (home / "s").rename(home / "away")
        (home / "s").write_text("in the way")
        support.read_until(bus._stderr, "trying again")
        bus.stop(timeout=8)
        assert {frame["kind"] for frame in wire.rest()} <= {"daemon_heartbeat"}


# -- between commit and ring -------------------------------------------------------------------------------------------

DIES = """
import os, signal
from waitbus import producer
from waitbus import wire as protocol
from waitbus.events import EventInsert
producer.ring = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
producer.emit(EventInsert(source="t", event_type="orphan"))
"""


def orphan(bus: Daemon) -> None:
    """An event whose producer was killed when it had committed and not yet rung."""
    done = support.run([support.PYTHON, "-c", DIES], env=bus.environment)
    assert done.code == -signal.SIGKILL, done


def test_the_next_heartbeat_delivers_an_orphan(home: Path) -> None:
    """Within one interval, though nothing else happens."""
    with daemon(home, WAITBUS_HEARTBEAT_SEC="0.5") as bus, bus.armed() as wire:
        orphan(bus)
        assert wire.frames(1)[0]["event_type"] == "orphan"


def test_the_next_ring_delivers_an_orphan(home: Path) -> None:
    """In its place, before the event that rang."""
    with daemon(home) as bus, bus.armed() as wire:
        orphan(bus)
        assert wire.silent()
        emit(EventInsert(source="t", event_type="next"), db_path=bus.log)
        assert [frame["event_type"] for frame in wire.frames(2)] == ["orphan", "next"]


def test_who_comes_with_a_position_gets_an_orphan(home: Path) -> None:
    """Arming looks at the log, not at what was handed out."""
    with daemon(home) as bus:
        orphan(bus)
        with bus.armed(since="0" * 26) as wire:
            assert wire.frames(1)[0]["event_type"] == "orphan"


def test_a_new_daemon_delivers_what_was_committed_while_there_was_none(home: Path) -> None:
    """To whoever resumes from where it was."""
    with daemon(home) as first:
        emit(EventInsert(source="t", event_type="seen"), db_path=first.log)
        with first.subscribe(since="0" * 26) as wire:
            seen = wire.frames(2)[1]["event_id"]
        first.process.kill()
        first.process.wait()
        orphan(first)
    with daemon(home) as second, second.armed(since=seen) as wire:
        assert wire.frames(1)[0]["event_type"] == "orphan"
