"""Twenty clients, some thousand events, and a daemon that is killed, ended, stopped and started meanwhile (ARCHITECTURE B1)."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import anyio
import anyio.to_thread
import attrs
import pytest

import waitbus
from tests import support
from tests.client.conftest import Bus
from tests.client.faces import event
from waitbus.client.subscription import AsyncSubscription, Subscription

EVENTS = 3000
LIMIT = 60.0
HEARTBEAT = "0.3"


@attrs.define
class Actor:
    """What happens to the daemon: after an action it may be gone, running or stopped."""

    bus: Bus
    dice: random.Random
    clients: list[AsyncSubscription | Subscription] = attrs.field(factory=list)
    done: list[str] = attrs.field(factory=list)
    stopped: bool = False

    def act(self) -> None:
        if self.bus.daemon is None:
            choices = ["start"]
        elif self.stopped:
            choices = ["cont", "kill"]
        else:
            choices = ["kill", "term", "stop", "nothing"]
        action = self.dice.choice(choices)
        self.done.append(action)
        getattr(self, action)()

    def start(self) -> None:
        self.bus.start(WAITBUS_HEARTBEAT_SEC=HEARTBEAT)

    def kill(self) -> None:
        self.bus.kill()
        self.stopped = False

    def term(self) -> None:
        assert self.bus.daemon is not None
        self.bus.daemon.stop()
        self.bus.daemon.kill()
        self.bus.daemon = None

    def stop(self) -> None:
        self.bus.signal(signal.SIGSTOP)
        self.stopped = True
        if self.dice.random() < 0.5:
            support.eventually(lambda: all(one.session.transport == "log" for one in self.clients), LIMIT)

    def cont(self) -> None:
        self.bus.signal(signal.SIGCONT)
        self.stopped = False

    def nothing(self) -> None:
        """Let the clients be."""


def wanted(index: int) -> tuple[list[str], list[int]]:
    """What client `index` asks for, and what it has to get."""
    if index % 4 == 1:
        return ["even=true"], list(range(0, EVENTS, 2))
    if index % 4 == 3:
        return ["text~=7$", "source=agent"], [n for n in range(EVENTS) if str(n).endswith("7")]
    return ["event_type=deploy_finished"], list(range(EVENTS))


def produce(actor: Actor) -> None:
    """Events one by one and in bursts, an action now and then; each action lies between two events."""
    n = 0
    while n < EVENTS:
        count = actor.dice.choice([1, 1, 5, 40, 80])
        batch = [event(i, fields={"even": i % 2 == 0, "text": str(i)}) for i in range(n, min(EVENTS, n + count))]
        if count < 10:
            for one in batch:
                waitbus.emit(one)
        else:
            waitbus.emit_batch(batch)
        n += len(batch)
        if actor.dice.random() < 0.25 and len(actor.done) < 24:
            actor.act()


@pytest.mark.parametrize("seed", [2, 3])
def test_every_client_gets_exactly_what_it_asked_for_in_order(bus: Bus, seed: int) -> None:
    actor = Actor(bus, random.Random(seed))
    got: dict[int, list[int]] = {}
    moves: dict[str, int] = {}

    def told(notice: object) -> None:
        kind = str(getattr(notice, "kind", "gap"))
        moves[kind] = moves.get(kind, 0) + 1

    async def asynchronous(index: int, armed: Callable[[], None]) -> None:
        terms, expected = wanted(index)
        async with waitbus.asubscribe(terms, told=told) as events:
            actor.clients.append(events)
            armed()
            mine = got[index] = []
            while len(mine) < len(expected):
                mine.append((await events.__anext__()).fields["n"])

    def synchronous(index: int, armed: Callable[[], None]) -> None:
        terms, expected = wanted(index)
        with waitbus.subscribe(terms, told=told) as events:
            events.deadline = time.monotonic() + LIMIT
            armed()
            mine = got[index] = []
            for frame in events:
                mine.append(frame.fields["n"])
                if len(mine) == len(expected):
                    break

    async def main() -> None:
        ready = anyio.Semaphore(0)
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:
                for index in range(14):
                    tasks.start_soon(asynchronous, index, ready.release)
                for index in range(14, 20):
                    tasks.start_soon(
                        anyio.to_thread.run_sync, synchronous, index, lambda: anyio.from_thread.run_sync(ready.release)
                    )
                for _ in range(20):
                    await ready.acquire()
                await anyio.to_thread.run_sync(produce, actor)

    actor.start()
    anyio.run(main, backend="trio" if seed % 2 else "asyncio")
    assert {index: got[index] == wanted(index)[1] for index in range(20)} == dict.fromkeys(range(20), True)
    assert {"kill", "term", "stop", "cont"} <= set(actor.done), actor.done
    assert moves.get("lost", 0) + moves.get("hung", 0) + moves.get("back", 0) > 0
    assert "gap" not in moves
