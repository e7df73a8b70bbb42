"""One bell for all that wait in one loop: who watches it, who is told, and that nobody is left asleep."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import waitbus
from tests import support
from tests.client.faces import bells, emit
from waitbus.client.subscription import AsyncSubscription

BACKENDS = ["trio", "asyncio"]
LIMIT = 20


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Run a coroutine function under one of the backends, for a bounded time."""

    def start(main: Callable[[], Any]) -> Any:
        async def bounded() -> Any:
            with anyio.fail_after(LIMIT):
                return await main()

        return anyio.run(bounded, backend=request.param)

    return start


async def number(events: AsyncSubscription) -> int:
    n: int = (await events.__anext__()).fields["n"]
    return n


async def until_asleep(count: int) -> None:
    """Return when so many sessions wait for the bell."""
    from waitbus.client.drive import _watches

    def waiting() -> int:
        return sum(len(watch.others) + (watch.scope is not None) for watch in _watches.values())

    while waiting() < count:
        await anyio.lowlevel.checkpoint()


def test_two_hundred_subscriptions_hang_one_bell(run: Callable[..., Any]) -> None:
    async def main() -> None:
        got: list[int] = []

        async def reader(events: AsyncSubscription) -> None:
            got.append(await number(events))

        subscriptions = [waitbus.asubscribe(source="agent") for _ in range(200)]
        for one in subscriptions:
            await one.arm()
        assert bells() == 1
        async with anyio.create_task_group() as tasks:
            for one in subscriptions:
                tasks.start_soon(reader, one)
            await until_asleep(200)
            emit(7)
        assert got == [7] * 200
        for one in subscriptions[:-1]:
            one.close()
        assert bells() == 1
        subscriptions[-1].close()
        assert bells() == 0

    run(main)


@pytest.mark.parametrize("others", [1, 5])
def test_when_the_one_who_watches_is_cancelled_another_takes_its_place(run: Callable[..., Any], others: int) -> None:
    async def main() -> None:
        got: list[int] = []

        async def reader(scope: anyio.CancelScope) -> None:
            with scope:
                async with waitbus.asubscribe() as events:
                    got.append(await number(events))

        scopes = [anyio.CancelScope() for _ in range(others + 1)]
        async with anyio.create_task_group() as tasks:
            for index, scope in enumerate(scopes):
                tasks.start_soon(reader, scope)
                await until_asleep(index + 1)
            scopes[0].cancel()
            await anyio.wait_all_tasks_blocked()
            emit(1)
        assert got == [1] * others

    run(main)


def test_a_successor_that_is_cancelled_in_the_same_moment_passes_its_turn_on(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async def reader() -> None:
            async with waitbus.asubscribe() as events:
                await number(events)

        for _ in range(20):  # whether the first or its successor is cancelled first is a matter of chance
            async with anyio.create_task_group() as tasks:
                async with anyio.create_task_group() as cancelled:
                    for group, count in ((cancelled, 1), (cancelled, 2), (tasks, 3)):
                        group.start_soon(reader)
                        await until_asleep(count)
                    cancelled.cancel_scope.cancel()
                await anyio.wait_all_tasks_blocked()
                emit(1)

    run(main)


def test_when_the_time_of_the_one_who_watches_is_up_another_takes_its_place(run: Callable[..., Any]) -> None:
    async def main() -> None:
        got: list[int | None] = []

        async def reader(seconds: float) -> None:
            frame = await waitbus.await_for(source="agent", timeout=seconds)
            got.append(None if frame is None else frame.fields["n"])
            if frame is None:
                await until_asleep(3)
                emit(1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader, 1.0)
            await until_asleep(1)
            for _ in range(3):
                tasks.start_soon(reader, LIMIT)
        assert got == [None, 1, 1, 1]

    run(main)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_is_cancelled_when_nobody_sleeps_through_an_event(run: Callable[..., Any], seed: int) -> None:
    """The heartbeat is 60 s: who were not woken by the bell would not come within the limit."""
    dice = random.Random(seed)

    async def reader(count: int, cancelled: bool) -> None:
        async with waitbus.asubscribe(source="agent") as events:
            got: list[int] = []
            while len(got) < count:
                # Cancelled while it waits, it begins to wait anew and has lost nothing.
                with anyio.move_on_after(dice.choice([0, 0.0005, 0.002, 0.005]) if cancelled else None):
                    got.append(await number(events))
            assert got == list(range(count))

    async def writer(count: int) -> None:
        for n in range(count):
            emit(n)
            for _ in range(dice.randrange(5)):
                await anyio.lowlevel.checkpoint()
            if dice.random() < 0.2:
                await anyio.wait_all_tasks_blocked()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for index in range(12):
                tasks.start_soon(reader, 40, index % 2 == 0)
            await until_asleep(6)
            while bells() != 1:
                await anyio.lowlevel.checkpoint()
            await _all_armed(12)
            tasks.start_soon(writer, 40)

    async def _all_armed(count: int) -> None:
        from waitbus.client.shared_bell import _bells

        while sum(bell._users for bell in _bells.values()) < count:
            await anyio.lowlevel.checkpoint()

    run(main)


def test_close_by_another_task_ends_the_iteration(run: Callable[..., Any]) -> None:
    async def main() -> None:
        got: list[int] = []
        note = got.append

        async def reader(events: AsyncSubscription) -> None:
            async for frame in events:
                note(frame.fields["n"])
            note(-1)

        async with anyio.create_task_group() as tasks:
            first, second = waitbus.asubscribe(), waitbus.asubscribe()
            for one in (first, second):
                tasks.start_soon(reader, one)
            await until_asleep(2)
            first.close()
            await anyio.wait_all_tasks_blocked()
            assert (got, bells()) == ([-1], 1)
            emit(1)
            while 1 not in got:
                await anyio.lowlevel.checkpoint()
            second.close()
        assert (got, bells()) == ([-1, 1, -1], 0)

    run(main)


def test_two_loops_have_two_bells_and_a_subscription_belongs_to_the_one_it_runs_in(run: Callable[..., Any]) -> None:
    """Made in one thread and used in another's loop, it must not share a bell with the first."""
    made_here = waitbus.asubscribe()
    seen: list[int] = []
    ready = threading.Event()

    async def there() -> None:
        async with made_here:
            ready.set()
            seen.append(await number(made_here))

    async def here() -> None:
        async with waitbus.asubscribe() as events:
            thread = threading.Thread(target=run, args=(there,))
            thread.start()
            assert await anyio.to_thread.run_sync(ready.wait, 10)
            assert bells() == 2
            emit(3)
            assert await number(events) == 3
            await anyio.to_thread.run_sync(thread.join, 10)

    run(here)
    assert (seen, bells()) == ([3], 0)


# -- the synchronous ones ----------------------------------------------------------------------------------------------


def test_threads_each_have_their_own() -> None:
    got: list[list[int]] = []
    armed = threading.Barrier(13)

    def read() -> None:
        with waitbus.subscribe(source="agent") as events:
            events.deadline = time.monotonic() + LIMIT
            armed.wait(LIMIT)
            got.append([next(events).fields["n"] for _ in range(50)])

    threads = [threading.Thread(target=read) for _ in range(12)]
    for one in threads:
        one.start()
    armed.wait(LIMIT)
    assert bells() == 12
    emit(*range(50))
    for one in threads:
        one.join(LIMIT)
    assert got == [list(range(50))] * 12
    assert bells() == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_goes_on_by_itself(transport: str) -> None:
    """With its parent's socket and bell the two would take each other's frames and rings."""
    events = waitbus.subscribe(source="agent")
    events.deadline = time.monotonic() + LIMIT
    events.arm()
    emit(0, 1)
    assert next(events).fields["n"] == 0
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            got = [next(events).fields["n"]]
            os.write(writable, b"armed\n")
            got += [next(events).fields["n"] for _ in range(40)]
            events.close()
            code = 0 if got == list(range(1, 42)) else 2
        finally:
            os._exit(code)
    with os.fdopen(readable) as pipe:
        support.read_until(pipe, "armed")
    emit(*range(2, 42))
    assert [next(events).fields["n"] for _ in range(41)] == list(range(1, 42))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(writable)
    emit(42)
    assert next(events).fields["n"] == 42
    events.close()
    assert bells() == (1 if transport == "socket" else 0)
