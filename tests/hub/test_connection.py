"""One connection, by a clock that moves when told: deadlines, stalls, farewells, and failures that stay where they are."""

from __future__ import annotations

import errno
import gc
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from waitbus import wire
from waitbus.errors import LogBusy, LogUnavailable
from waitbus.events import EventInsert
from waitbus.hub import listener
from waitbus.hub.connection import CHATTER_MAX
from waitbus.hub.hub import Hub
from waitbus.hub.subscriber import Subscriber
from waitbus.store import Log

Clock = trio.testing.MockClock


@pytest.fixture
def hub(home: Path) -> Iterator[Hub]:
    made = Hub(home / "s" / "events.db", stall_timeout=300)
    yield made
    made.close()


class Client:
    """The other end; `nursery` serves it until the block ends."""

    def __init__(self, nursery: trio.Nursery, hub: Hub) -> None:
        self.socket, served = socket.socketpair()
        self.socket.setblocking(False)
        served.setblocking(False)
        nursery.start_soon(listener._serve, hub, served, trio.Semaphore(0))
        self.decoder = wire.Decoder()

    async def say(self, data: bytes) -> None:
        self.socket.sendall(data)
        await settle()

    def heard(self) -> bytes | None:
        """What is there; None while nothing is, b"" at EOF."""
        try:
            return self.socket.recv(1 << 20)
        except BlockingIOError:
            return None

    def frames(self) -> list[str]:
        return [frame["kind"] for frame in self.decoder.feed(self.heard() or b"")]


async def settle() -> None:
    """Until everybody waits. What the kernel made readable in between counts too."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()


@contextmanager
def closing(*clients: Client) -> Iterator[None]:
    try:
        yield
    finally:
        for client in clients:
            client.socket.close()


async def test_the_handshake_has_ten_seconds(hub: Hub, mock_clock: Clock) -> None:
    """For the whole frame, however it trickles in; then EOF."""
    async with trio.open_nursery() as nursery:
        slow, half = Client(nursery, hub), Client(nursery, hub)
        with closing(slow, half):
            await half.say(b"\0\0\0\x0c{")
            for byte in b"\0\0\0\x0c{}xx":
                await slow.say(bytes([byte]))
                mock_clock.jump(1.1)
                await settle()
            assert (slow.heard(), half.heard()) == (None, None)
            mock_clock.jump(1.3)
            await settle()
            assert (slow.heard(), half.heard()) == (b"", b"")
    assert not hub.subscribers


async def test_a_subscription_that_ends_leaves_nothing_to_the_collector(hub: Hub) -> None:
    """It would stay for ever: the hub keeps many subscribers away from the collector."""
    gc.collect()
    before = subscribers()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            for farewell in ("hang up", "chatter", "cut"):
                client = Client(nursery, hub)
                with closing(client):
                    await client.say(wire.pack({"ext": {"lean": True, "match": [["fields.n=1"]]}}))
                    assert subscribers() == before + 1
                    if farewell == "chatter":
                        await client.say(b"x" * (CHATTER_MAX + 1))
                    elif farewell == "cut":
                        for sub in hub.subscribers:
                            sub.scope.cancel()
                        del sub
                        await settle()
                await settle()
                assert subscribers() == before, farewell
    finally:
        gc.enable()


def subscribers() -> int:
    return sum(isinstance(thing, Subscriber) for thing in gc.get_objects())


async def test_a_busy_log_holds_up_a_handshake_and_nobody_else(
    hub: Hub, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again; the ack comes as soon as the log can be read."""
    register, fails = hub.register, [LogBusy("busy"), LogBusy("busy"), LogUnavailable("away")]

    def sometimes(asked: wire.Subscribe, pid: int | None) -> Any:
        if fails:
            raise fails.pop()
        return register(asked, pid)

    monkeypatch.setattr(hub, "register", sometimes)
    async with trio.open_nursery() as nursery:
        client = Client(nursery, hub)
        with closing(client):
            await client.say(wire.pack({}))
            assert client.heard() is None
            for _ in range(3):
                mock_clock.jump(1)
                await settle()
            assert client.frames() == ["subscribe_ack"]


async def test_a_hang_up_is_noticed_at_once(hub: Hub, mock_clock: Clock) -> None:
    """Not at the next event."""
    async with trio.open_nursery() as nursery:
        client = Client(nursery, hub)
        await client.say(wire.pack({}))
        assert len(hub.subscribers) == 1
        client.socket.close()
        await settle()
        assert not hub.subscribers


async def test_a_refused_peer_that_stays_is_left(hub: Hub, mock_clock: Clock) -> None:
    """It sees EOF at once; its descriptor is ours for two seconds more at most."""
    async with trio.open_nursery() as nursery:
        client = Client(nursery, hub)
        with closing(client):
            await client.say(wire.pack({"proto": 2}))
            assert client.frames() == ["subscribe_rejected"]
            assert client.heard() == b""
            await client.say(b"what?")
            mock_clock.jump(2.1)
            await settle()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                client.socket.sendall(b"?")


def fill(hub: Hub, count: int = 1500) -> None:
    """More events than the kernel's buffer and a channel hold."""
    log = Log(hub.path)
    log.append_many(EventInsert(source="t", event_type="tick", fields={"pad": "x" * 1000}) for _ in range(count))
    log.close()


async def stalled(hub: Hub, nursery: trio.Nursery) -> Client:
    """A client that reads no more, with a writer that waits for room."""
    client = Client(nursery, hub)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await client.say(wire.pack({}))
    assert client.frames() == ["subscribe_ack"]
    fill(hub)
    await hub.sweep()
    await settle()
    return client


async def test_who_reads_nothing_for_the_stall_timeout_is_closed(
    hub: Hub, mock_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """And not a second before; the reason is in the log."""
    caplog.set_level(logging.INFO, "waitbus")
    async with trio.open_nursery() as nursery:
        client = await stalled(hub, nursery)
        with closing(client):
            mock_clock.jump(299)
            await settle()
            assert hub.subscribers
            mock_clock.jump(2)
            await settle()
            assert not hub.subscribers
    assert "read nothing for 300 s" in caplog.text


async def test_who_reads_slowly_but_steadily_is_never_closed(hub: Hub, mock_clock: Clock) -> None:
    """Though the kernel calls the socket writable only when three quarters of its buffer are free."""
    async with trio.open_nursery() as nursery:
        client = await stalled(hub, nursery)
        with closing(client):
            await steadily(client, mock_clock)
            assert hub.subscribers


async def steadily(client: Client, clock: Clock) -> None:
    for _ in range(20):
        assert client.socket.recv(40_000)
        clock.jump(250)
        await settle()


async def test_draining_cuts_who_takes_no_byte_for_a_second(hub: Hub, mock_clock: Clock) -> None:
    """The others get all, and EOF; who is in the middle of a stall of five minutes has a second left."""
    async with trio.open_nursery() as nursery:
        stuck = await stalled(hub, nursery)
        fine = Client(nursery, hub)
        with closing(stuck, fine):
            await fine.say(wire.pack({"since": "0" * 26, "event_types": ["last"]}))
            log = Log(hub.path)
            log.append(EventInsert(source="t", event_type="last"))
            log.close()
            nursery.start_soon(hub.drain)
            await until(lambda: fine.socket.recv(65536, socket.MSG_PEEK) and len(hub.subscribers) == 1)
            assert fine.frames() == ["subscribe_ack", "event"]
            assert fine.heard() == b""
            mock_clock.jump(1.1)
            await settle()
            assert not hub.subscribers


async def until(probe: Callable[[], object]) -> None:
    """Until it is so. Threads read the log, and they are not on our clock."""
    while not probe():
        await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_subscriber_that_fails_ends_alone(
    hub: Hub, mock_clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the failure is: one line, and the others go on."""
    async with trio.open_nursery() as nursery:
        good, bad = Client(nursery, hub), Client(nursery, hub)
        with closing(good, bad):
            await good.say(wire.pack({}))

            def broken(*_: object) -> None:
                raise ZeroDivisionError("a bug")

            monkeypatch.setattr(hub, "register", broken)
            await bad.say(wire.pack({}))
            assert bad.heard() == b""
            fill(hub, 1)
            await hub.sweep()
            await settle()
            assert good.frames() == ["subscribe_ack", "event"]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "a subscriber failed: ZeroDivisionError('a bug')"
    ]


class Exhausted:
    """A listening socket of a process without descriptors."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.attempts = 0

    def accept(self) -> Any:
        self.attempts += 1
        raise OSError(self.number, "as you like it")


async def test_a_shortage_pauses_accepting_and_is_said_once(
    hub: Hub, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten attempts a second, one line a minute."""
    short: Any = Exhausted(errno.EMFILE)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(59):
            await listener.accept(hub, lambda: short, nursery)
    assert 500 < short.attempts < 600
    assert [record.getMessage() for record in caplog.records] == [
        "cannot accept subscribers: as you like it; going on when that is over"
    ]


async def test_a_listener_that_is_broken_is_an_error(hub: Hub) -> None:
    """What waiting cannot mend is not waited for."""
    broken: Any = Exhausted(errno.EBADF)
    async with trio.open_nursery() as nursery:
        with pytest.raises(OSError, match="as you like it"):
            await listener.accept(hub, lambda: broken, nursery)
