"""An engine on a unix socket that says what a test wants it to: enough HTTP/1.1 for `/events`, `/_ping` and the containers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import trio

Act = Callable[["Stream"], Awaitable[None]]


class Stream:
    """The answer to one `/events`."""

    def __init__(self, pipe: trio.SocketStream, since_ns: int) -> None:
        self._pipe = pipe
        self.since_ns = since_ns

    async def begin(self) -> None:
        await self._pipe.send_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        )

    async def send(self, *lines: bytes) -> None:
        """Lines, as one chunk."""
        await self.send_raw(b"".join(line + b"\n" for line in lines))

    async def send_raw(self, data: bytes) -> None:
        await self._pipe.send_all(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        """The end, as HTTP has it."""
        await self._pipe.send_all(b"0\r\n\r\n")

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        while await self._pipe.receive_some(4096):
            pass


@attrs.define(eq=False)
class FakeEngine:
    """`acts` are what each `/events` in turn does, the last one again and again; `containers` are inspections by id."""

    path: Path
    acts: list[Act]
    containers: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    ended: list[str] = attrs.field(factory=list)
    running: list[str] = attrs.field(factory=list)
    """Which of them are listed as ended, and as running."""
    answers: bool = True
    """Whether anything but `/events` is answered."""
    begins: bool = True
    """Whether `/events` is."""
    streams: list[Stream] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)
    """The paths of all requests."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen, as an engine that is running; behind it there is no socket any more, and nobody who was connected."""
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(str(self.path))
            listener.listen(20)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, listener, nursery)
                yield
                nursery.cancel_scope.cancel()
        self.path.unlink()

    async def _accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        while True:
            connection, _ = await listener.accept()
            nursery.start_soon(self._serve, trio.SocketStream(connection))

    async def _serve(self, pipe: trio.SocketStream) -> None:
        async with pipe:
            try:
                await self._answer(pipe)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async def _answer(self, pipe: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = await pipe.receive_some(4096)
            if not data:
                return
            head += data
        target = urlsplit(head.split(b" ", 2)[1].decode())
        self.asked.append(target.path)
        if target.path == "/events":
            await self._events(pipe, parse_qs(target.query))
        elif not self.answers:
            await trio.sleep_forever()
        else:
            await self._say(pipe, *self._found(target.path, "all" in parse_qs(target.query)))

    async def _events(self, pipe: trio.SocketStream, query: dict[str, list[str]]) -> None:
        assert json.loads(query["filters"][0]) == {"type": ["container"]}
        seconds, _, fraction = query["since"][0].partition(".")
        stream = Stream(pipe, int(seconds) * 10**9 + int(fraction))
        if not self.begins:
            await trio.sleep_forever()
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        await stream.begin()
        self.streams.append(stream)
        await act(stream)

    def _found(self, path: str, whole: bool) -> tuple[int, bytes]:
        if path == "/_ping":
            return 200, b"OK"
        if path == "/containers/json":
            listed = [{"Id": one, "State": "running", "Status": "Up 2 seconds"} for one in self.running]
            if whole:
                listed += [{"Id": one, "State": "exited", "Status": "Exited (0) 2 seconds ago"} for one in self.ended]
            return 200, json.dumps(listed).encode()
        container = path.split("/")[2]
        if container in self.containers:
            return 200, json.dumps(self.containers[container]).encode()
        return 404, b'{"message": "no such container"}'

    async def _say(self, pipe: trio.SocketStream, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        await pipe.send_all(head.encode() + body)


# -- acts --------------------------------------------------------------------------------------------------------------


def says(*lines: bytes, ends: bool = False) -> Act:
    """Send the lines; then end, or be silent until the other side closes."""

    async def act(stream: Stream) -> None:
        for line in lines:
            await stream.send(line)
        if ends:
            await stream.end()
        else:
            await stream.gone()

    return act
