"""F6, F7: more events than anybody takes at once, and readers that stall, dawdle or die. Nobody else is held up."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from tests import support
from tests.bus import Daemon, Wire, flood
from waitbus import wire as protocol
from waitbus.events import EventInsert
from waitbus.producer import emit

LEAN = {"ext": {"lean": True}}
BACKLOG = 200_000


class Collector:
    """Reads all that comes on several connections, in one thread, and keeps the seqs."""

    def __init__(self, wires: list[Wire]) -> None:
        self.seqs: dict[Wire, list[int]] = {wire: [] for wire in wires}
        self._decoders = {wire.socket.fileno(): (wire, protocol.Decoder()) for wire in wires}

    def until(self, due: int, timeout: float = 60) -> None:
        """Until each has had so many events."""
        poll = select.poll()
        for number in self._decoders:
            poll.register(number, select.POLLIN)
        deadline = time.monotonic() + timeout
        while any(len(seqs) < due for seqs in self.seqs.values()):
            assert time.monotonic() < deadline, [len(seqs) for seqs in self.seqs.values()]
            for number, _ in poll.poll(1000):
                wire, decoder = self._decoders[number]
                data = wire.socket.recv(1 << 18)
                assert data, "EOF"
                self.seqs[wire] += [frame["seq"] for frame in decoder.feed(data) if frame["kind"] == "event"]


def test_fifty_thousand_events_in_one_transaction(bus: Daemon) -> None:
    """Each subscriber gets all of them, in order; a reader that comes in between gets its own."""
    with ExitStack() as stack:
        wires = [stack.enter_context(bus.armed(**LEAN)) for _ in range(4)]
        flood(bus, 50_000)
        with bus.armed() as late:
            emit(EventInsert(source="t", event_type="late"), db_path=bus.log)
            assert late.frames(1)[0]["event_type"] == "late"
        collector = Collector(wires)
        collector.until(50_001)
    assert all(seqs == list(range(1, 50_002)) for seqs in collector.seqs.values())
    assert bus.memory() < 120_000_000


def test_a_backlog_is_replayed_without_holding_up_others(bus: Daemon) -> None:
    """200,000 rows to one, in order; meanwhile what another waits for arrives as if nothing were."""
    flood(bus, BACKLOG)
    slowest = 0.0
    with bus.armed(event_types=["ping"]) as other, bus.subscribe(ext={"lean": True}, since="0" * 26) as replay:
        collector = Collector([replay])
        reading = threading.Thread(target=collector.until, args=(BACKLOG,))
        reading.start()
        rounds = 0
        while reading.is_alive():
            begun = time.monotonic()
            emit(EventInsert(source="t", event_type="ping"), db_path=bus.log)
            other.frames(1)
            slowest = max(slowest, time.monotonic() - begun)
            rounds += 1
        reading.join()
    print(f"{rounds} events to another meanwhile, the slowest after {slowest:.3f} s")
    assert rounds > 3
    assert slowest < 1.0
    assert collector.seqs[replay][:BACKLOG] == list(range(1, BACKLOG + 1))


def test_who_stops_reading_gets_everything_when_it_reads_again(bus: Daemon) -> None:
    """Others are not touched, memory is bounded, and nothing is lost."""
    with ExitStack() as stack:
        stalled = [stack.enter_context(bus.armed(**LEAN)) for _ in range(20)]
        filtered = [
            stack.enter_context(bus.armed(ext={"lean": True, "match": [["event_type=flood"]]})) for _ in range(20)
        ]
        brisk = stack.enter_context(bus.armed(**LEAN))
        watching = Collector([brisk])
        for number in range(1, 11):
            flood(bus, 2000, pad=1000)
            watching.until(2000 * number)
        assert bus.memory() < 150_000_000
        assert bus.report()["lagging_count"] == 40
        resumed = Collector(stalled[:3] + filtered[:3])
        resumed.until(20_000)
        for seqs in (*watching.seqs.values(), *resumed.seqs.values()):
            assert seqs == list(range(1, 20_001))


def test_who_reads_slowly_is_served_at_its_pace(bus: Daemon) -> None:
    """A few bytes at a time; others are not touched, and it gets all in order."""
    with bus.armed(**LEAN) as slow, bus.armed(**LEAN) as brisk:
        flood(bus, 3000, pad=500)
        Collector([brisk]).until(3000)
        decoder = protocol.Decoder()
        seqs: list[int] = []
        while len(seqs) < 3000:
            seqs += [frame["seq"] for frame in decoder.feed(slow.socket.recv(700)) if frame["kind"] == "event"]
    assert seqs == list(range(1, 3001))


DIES = """
import socket, sys, struct
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(struct.pack(">I", 2) + b"{}")
s.recv(1)
print("armed", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("full", [False, True], ids=["idle", "with its buffer full"])
def test_a_dead_reader_is_gone_within_100_ms(bus: Daemon, full: bool) -> None:
    """SIGKILL; the report no longer knows it, before any event or heartbeat. Best of three: the machine does other things."""
    assert min(time_to_notice(bus, full) for _ in range(3)) < 0.1


def time_to_notice(bus: Daemon, full: bool) -> float:
    argv = [sys.executable, "-c", DIES, str(bus.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        support.read_until(reader.stdout, "armed")
        assert [row["pid"] for row in bus.report()["subscribers"]] == [reader.pid]
        if full:
            flood(bus, 5000, pad=500)
            support.eventually(lambda: bus.report()["lagging_count"])
        begun = time.monotonic()
        os.kill(reader.pid, signal.SIGKILL)
        support.eventually(lambda: not bus.report()["subscriber_count"], timeout=5)
        return time.monotonic() - begun
