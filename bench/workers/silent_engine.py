"""A container engine that has no containers, and nothing to tell: `python -m bench.workers.silent_engine SOCKET`."""

from __future__ import annotations

import json
import sys

import trio

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]"


async def _serve(pipe: trio.SocketStream) -> None:
    async with pipe:
        head = bytearray()
        while b"\r\n\r\n" not in head:
            data = await pipe.receive_some()
            if not data:
                return
            head += data
        if not head.startswith(b"GET /events"):
            await pipe.send_all(EMPTY)
            return
        await pipe.send_all(STREAM)
        while await pipe.receive_some():
            pass


async def main(path: str) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(path)
        listener.listen()
        print(json.dumps({"ready": True}), flush=True)
        await trio.serve_listeners(_serve, [trio.SocketListener(listener)])


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
