"""F8, F9: more connections than descriptors, and peers that speak nonsense. Accepting pauses; nothing spins, nothing floods."""

from __future__ import annotations

import os
import random
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import support
from tests.bus import Daemon, Wire, daemon
from waitbus.events import EventInsert
from waitbus.hub.listener import SPARE_FDS
from waitbus.producer import emit

OUTSIDE = 40


@pytest.fixture(params=[64, 10_000])
def places(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many a daemon of few descriptors has; this process gets as many as it needs for the other ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = request.param + OUTSIDE + 200
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield request.param
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_with_descriptors_used_up_accepting_pauses_and_nothing_else(home: Path, places: int) -> None:
    """Who is in is served; who waits outside comes in as others leave; no processor time, no log line meanwhile."""
    few_descriptors = ("sh", "-c", f'ulimit -n {places + SPARE_FDS} && exec "$@"', "sh", *support.WAITBUS)
    with daemon(home, program=few_descriptors) as bus, ExitStack() as stack:
        inside = [stack.enter_context(bus.armed()) for _ in range(places)]
        outside = [stack.enter_context(bus.subscribe()) for _ in range(OUTSIDE)]
        before = bus.cpu()
        assert outside[0].silent(1.0)
        assert bus.cpu() - before < 0.1
        assert bus.memory() < 60_000_000 + 20_000 * places
        emit(EventInsert(source="t", event_type="tick"), db_path=bus.log)
        begun = time.monotonic()
        assert {wire.frames(1)[0]["event_type"] for wire in inside} == {"tick"}
        print(f"{places} subscribers: {bus.memory() / 1e6:.0f} MB; all had it after {time.monotonic() - begun:.2f} s")
        for wire in inside[:OUTSIDE]:
            wire.socket.close()
        assert {wire.frames(1)[0]["kind"] for wire in outside} == {"subscribe_ack"}
        for wire in outside + inside:
            wire.socket.close()
        support.eventually(lambda: not bus.report()["subscriber_count"])
        assert len(bus.stop().splitlines()) == 1  # that it stops


def test_hundreds_come_back_at_once(bus: Daemon) -> None:
    """As waiters do when the daemon was restarted: the backlog takes them all."""
    with ExitStack() as stack:
        wires = []
        for _ in range(800):
            wires.append(stack.enter_context(Wire(bus.path)))
            wires[-1].send({})
        assert {wire.frames(1)[0]["kind"] for wire in wires} == {"subscribe_ack"}
        assert bus.report()["subscriber_count"] == 800


@pytest.mark.parametrize("seed", range(4))
def test_nonsense_hurts_nobody(bus: Daemon, seed: int) -> None:
    """Random bytes, lengths that lie, frames cut off, hang-ups in between; who behaves is served as ever."""
    rng = random.Random(seed)
    with bus.armed() as good:
        for number in range(60):
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(os.fspath(bus.path))
                try:
                    peer.sendall(nonsense(rng))
                    if rng.random() < 0.5:
                        peer.shutdown(socket.SHUT_WR)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # refused before it was through
            emit(EventInsert(source="t", event_type="tick", summary=str(number)), db_path=bus.log)
            assert good.frames(1)[0]["summary"] == str(number)
    support.eventually(lambda: not bus.report()["subscriber_count"])


def nonsense(rng: random.Random) -> bytes:
    body = rng.choice(
        (rng.randbytes(rng.randint(0, 300)), b"{" * 500, b'{"proto":1', b'{"since":"\xff"}', b"\0" * 70_000)
    )
    length = rng.choice((len(body), 0, 5, 1 << 16, (1 << 32) - 1))
    return struct.pack(">I", length) + body
