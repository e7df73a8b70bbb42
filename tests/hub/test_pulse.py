"""The heart: how it notices that it was stopped."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from waitbus.hub.pulse import Pulse

BEAT = 60.0


async def beats(pulse: Pulse, count: int) -> list[bool]:
    return [await pulse.next(BEAT) for _ in range(count)]


async def test_in_time_it_is_never_late(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert await beats(Pulse(), 100) == [False] * 100
    assert trio.current_time() - began == 100 * BEAT


async def test_a_jump_of_the_clock_is_told_once(autojump_clock: MockClock) -> None:
    """SIGSTOP, a frozen container, a machine that slept: however long it was."""
    pulse = Pulse()
    assert not await pulse.next(BEAT)
    told: list[bool] = []

    async def beat() -> None:
        told.extend(await beats(pulse, 4))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat)
        await trio.sleep(1.5 * BEAT)
        autojump_clock.jump(1000 * BEAT)
    assert told == [False, True, False, False]


async def test_a_stop_outside_of_the_sleep_counts_as_well(autojump_clock: MockClock) -> None:
    """While it looked, or sent heartbeats."""
    pulse = Pulse()
    assert not await pulse.next(BEAT)
    autojump_clock.jump(1.4 * BEAT)
    assert await pulse.next(BEAT)
    assert not await pulse.next(BEAT)


async def test_late_is_more_than_a_whole_interval(autojump_clock: MockClock) -> None:
    """A busy machine is not a stopped one; nobody leaves before two and a half."""
    pulse = Pulse()
    for behind, late in ((0.9, False), (1.1, True), (0.9, False)):
        autojump_clock.jump(behind * BEAT)
        assert await pulse.next(BEAT) is late


async def test_an_interval_that_was_changed_is_no_lateness(autojump_clock: MockClock) -> None:
    """The configuration was read anew."""
    pulse = Pulse()
    assert [await pulse.next(interval) for interval in (60.0, 1.0, 1.0, 60.0, 1.0)] == [False] * 5
