"""`emit_batch`: one transaction, one ring, every event in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import waitbus
from tests.client.conftest import Bus
from tests.client.faces import Face, event
from waitbus.errors import InvalidEvent
from waitbus.store import shared


def test_all_of_it_wakes_who_waits_in_order(transport: str, face: Face) -> None:
    def each(count: int, _: object) -> None:
        if not count:
            assert waitbus.emit_batch(event(n) for n in range(1500)) == 1500

    assert face.collect(1500, each=each) == list(range(1500))


def test_it_counts_what_was_new(transport: str) -> None:
    waitbus.emit(event(0, delivery_id="d0"))
    assert waitbus.emit_batch([event(n, delivery_id=f"d{n % 3}") for n in range(9)]) == 2
    assert waitbus.emit_batch([]) == 0
    assert shared().head() == 3


def test_all_or_none(transport: str) -> None:
    def broken() -> Iterator[waitbus.EventInsert]:
        yield event(1)
        yield event(2, summary=7)

    with pytest.raises(InvalidEvent, match="summary 7"):
        waitbus.emit_batch(broken())
    assert shared().head() == 0


@pytest.mark.parametrize("restarted", [False, True], ids=["gone", "restarted"])
def test_a_daemon_that_dies_in_the_middle_of_a_burst(bus: Bus, face: Face, restarted: bool) -> None:
    bus.start()

    def each(count: int, _: object) -> None:
        if count in (0, 700):
            waitbus.emit_batch(event(n) for n in range(count, count + 700))
        if count == 350:
            bus.kill()
            if restarted:
                bus.start()

    assert face.collect(1400, each=each) == list(range(1400))
