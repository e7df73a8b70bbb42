"""Many waiters, each for something else: an event for one of them is written once, to that one (bench/waiters.py has 10,000)."""

from __future__ import annotations

import select

import anyio

import waitbus
from tests.client.conftest import Bus
from tests.client.faces import emit
from waitbus.client.subscription import AsyncSubscription

WAITERS = 300


def test_an_event_for_one_of_three_hundred_is_written_once(bus: Bus) -> None:
    daemon = bus.start()

    async def main() -> None:
        waiters = [waitbus.asubscribe(f"n={n}") for n in range(WAITERS)]
        for one in waiters:
            await one.arm()
        await drained(waiters)
        for n in (137, 0, 299):
            emit(*range(1000, 1020), n)
            assert (await waiters[n].__anext__()).fields["n"] == n
            assert readable(waiters) == []
        report = daemon.report()
        assert (report["subscriber_count"], report["lagging_count"]) == (WAITERS, 0)
        for one in waiters:
            one.close()

    with_limit(main)


async def drained(waiters: list[AsyncSubscription]) -> None:
    """What stands behind the ack (`replay_complete`) is read, so that the next byte is an event's."""
    for one in waiters:
        with anyio.move_on_after(0):
            await one.__anext__()
    assert readable(waiters) == []


def readable(waiters: list[AsyncSubscription]) -> list[int]:
    """Which of the sockets have something to read."""
    poll = select.poll()
    numbers = {}
    for n, one in enumerate(waiters):
        connection = one.session._connection
        assert connection is not None
        numbers[connection.fileno()] = n
        poll.register(connection.fileno(), select.POLLIN)
    return [numbers[fd] for fd, _ in poll.poll(0)]


def with_limit(main: object) -> None:
    async def bounded() -> None:
        with anyio.fail_after(30):
            await main()  # type: ignore[operator]

    anyio.run(bounded, backend="trio")
