"""What only the asynchronous face has: turns of others, cancellation, tasks, garbage; and what the synchronous one refuses."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import waitbus
from tests.client.faces import FACES, Face, emit, event
from tests.client.fake import FakeDaemon, pack
from waitbus.client.feed import Feed
from waitbus.errors import RunningLoopError
from waitbus.paths import bells_dir

LOOPS = FACES[1:]


@pytest.fixture(params=LOOPS, ids=str)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    def start(main: Callable[[], Any]) -> Any:
        async def bounded() -> Any:
            with anyio.fail_after(20):
                return await main()

        return anyio.run(bounded, backend=request.param.backend)

    return start


def test_a_bare_loop_that_is_left_by_break(transport: str, run: Callable[..., Any]) -> None:
    async def main() -> int:
        async for frame in waitbus.asubscribe(since="1h"):
            n: int = frame.fields["n"]
            break
        return n

    emit(4, 5)
    with pytest.warns(ResourceWarning, match="AsyncSubscription was not closed"):
        assert run(main) == 4
    assert [path.name for path in bells_dir().iterdir() if transport == "log"] == []


def test_one_that_was_cancelled_while_it_armed_leaves_nothing(run: Callable[..., Any]) -> None:
    async def main() -> None:
        with anyio.move_on_after(0.05) as scope:
            async with waitbus.asubscribe():
                raise AssertionError("it is not armed")
        assert scope.cancelled_caught

    emit(1)
    with FakeDaemon():
        run(main)
    assert list(bells_dir().glob("*")) == []


def test_a_backlog_lets_others_run_and_can_be_cancelled(transport: str, run: Callable[..., Any]) -> None:
    """Every event is there already, so that nothing has to be waited for."""
    waitbus.emit_batch(event(n) for n in range(5000))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def main() -> int:
        count = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            async with waitbus.asubscribe(since="1h") as events:
                async for _ in events:
                    count += 1
                    if count == 3000:
                        break
                tasks.cancel_scope.cancel()
                async for _ in events:
                    count += 1
        return count

    assert 3000 <= run(main) < 3100
    assert turns >= 30


def test_what_matches_nothing_lets_others_run_too(transport: str, run: Callable[..., Any]) -> None:
    waitbus.emit_batch(event(n) for n in range(3000))

    async def main() -> None:
        with anyio.move_on_after(0.5) as scope:
            await waitbus.await_for("payload.ok=true", since="1h")
        assert scope.cancelled_caught

    run(main)


def test_a_large_payload_is_parsed_beside_the_loop_and_once(
    transport: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 ms for a megabyte would be everybody's."""
    read: list[int] = []
    payload = Feed._payload

    def noted(self: Feed, seq: int) -> str | None:
        read.append(threading.get_ident())
        return payload(self, seq)

    monkeypatch.setattr(Feed, "_payload", noted)
    waitbus.emit(event(1, payload_json=f'{{"big": "{"x" * 900_000}", "ok": true}}'))
    assert run(lambda: waitbus.await_for("payload.ok=true", since="1h")).seq == 1
    assert len(read) == 1
    assert read[0] != threading.get_ident()


def test_two_tasks_cannot_wait_for_one_subscription(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with waitbus.asubscribe() as events, anyio.create_task_group() as tasks:
            tasks.start_soon(events.__anext__)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await events.__anext__()
            tasks.cancel_scope.cancel()

    run(main)


def test_closed_is_the_end(face: Face) -> None:
    async def main() -> None:
        async with waitbus.asubscribe() as events:
            await events.aclose()
            with pytest.raises(StopAsyncIteration):
                await events.__anext__()
        events.close()

    if face.backend is not None:
        anyio.run(main, backend=face.backend)
        return
    with waitbus.subscribe() as sync:
        sync.close()
        assert list(sync) == []
    sync.close()


def test_an_exception_of_the_block_is_not_swallowed_and_closes(transport: str, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with waitbus.asubscribe():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
    assert len(list(bells_dir().glob("*"))) == (1 if transport == "socket" else 0)


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda: waitbus.subscribe(), "asubscribe"),
        (lambda: waitbus.wait_for("n=1"), "await_for"),
        (lambda: waitbus.decide("n=1"), "adecide"),
        (lambda: waitbus.request("bob", "?", sender="alice"), "arequest"),
    ],
    ids=["subscribe", "wait_for", "decide", "request"],
)
def test_a_blocking_call_in_a_loop_says_what_to_call_instead(
    run: Callable[..., Any], call: Callable[[], object], instead: str
) -> None:
    async def main() -> None:
        with pytest.raises(RunningLoopError, match="would block the event loop of this thread") as caught:
            call()
        assert caught.value.hint == f"use waitbus.{instead}(...) there"

    run(main)
    assert not bells_dir().parent.exists()


def test_in_a_worker_thread_of_a_loop_it_may_block(run: Callable[..., Any]) -> None:
    async def main() -> Any:
        return await anyio.to_thread.run_sync(lambda: waitbus.wait_for("n=1", since="1h", timeout=5))

    emit(1)
    assert run(main).fields["n"] == 1


# -- deadlines, descriptors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["nothing", "half an ack", "an ack and half an event"])
def test_the_time_out_holds_within_a_frame(face: Face, said: str) -> None:
    """0.2 waited for the rest of a frame for as long as it liked."""
    emit(1)
    with FakeDaemon() as fake:
        fake.listener.setblocking(True)
        fake.listener.settimeout(10)
        ack, half = pack(fake.ack()), pack(fake.event(1, seq=2))[:100]
        data = {"nothing": b"", "half an ack": ack[:20], "an ack and half an event": ack + half}[said]

        def answer() -> None:
            fake.accept()
            fake.say_bytes(data)

        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        assert face.call("wait_for", "n=2", timeout=0.5) is None
        took = time.monotonic() - began
        thread.join(10)
    assert 0.45 < took < 0.9


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    """So many are open, so that the next ones have high numbers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 200), hard))
    held = [os.dup(0) for _ in range(count)]
    try:
        yield
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_descriptors_above_1023(transport: str, face: Face) -> None:
    """select() takes none of those."""
    with many_descriptors(1100):
        with socket.socket() as probe:
            assert probe.fileno() > 1023
        assert face.collect(3, each=lambda count, _: emit(count) if count < 3 else None) == [0, 1, 2]
