"""Many raw sockets in one process: what the daemon delivers, without the cost of a client for each.

Each sends the same subscribe frame (`%d` in it becomes its number), says `ready` when all were acknowledged, and then reads what
comes. `count` asks for so many events on each socket, within `patience` s without any; the answer has when the last one came.

All get the same bytes, so whoever is ahead writes them down, and everybody else's are compared with that: each byte of each
socket is checked, and cheaply enough not to be what is measured. What was written down must be every event once, in order.
"""

from __future__ import annotations

import json
import re
import resource
import select
import socket
import struct
import sys
import time
from bisect import bisect_right
from typing import Any

from bench.workers.link import heard, say

EVENT = b'"kind":"event"}'
DELIVERY = re.compile(rb'"delivery_id":"([^"]*)"')
BUFFER = bytearray(1 << 18)


class Stream:
    """What whoever is ahead has received, and where in it each event ends."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends: list[int] = []

    def extend(self, data: bytes | bytearray) -> None:
        start = max(0, len(self.data) - len(EVENT) + 1)
        self.data += data
        while (found := self.data.find(EVENT, start)) >= 0:
            start = found + len(EVENT)
            self.ends.append(start)

    def names(self) -> list[bytes]:
        return DELIVERY.findall(self.data)


class Sink:
    """One connection, and how far in the stream it is."""

    def __init__(self, path: str, frame: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.position = 0
        self.differs = False
        self.ended = False
        self.socket.connect(path)
        self.socket.sendall(struct.pack(">I", len(frame)) + frame)

    def acknowledged(self) -> None:
        """Read the ack, and nothing behind it."""
        self.socket.settimeout(60)
        head = self._exactly(4)
        ack = json.loads(self._exactly(struct.unpack(">I", head)[0]))
        if ack.get("kind") != "subscribe_ack":
            raise RuntimeError(f"no ack: {ack}")
        self.socket.setblocking(False)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise RuntimeError("EOF instead of an ack")
            data += more
        return data

    def read(self, stream: Stream) -> None:
        try:
            size = self.socket.recv_into(BUFFER)
        except BlockingIOError:
            return
        self.ended = not size
        known = stream.data[self.position : self.position + size]
        if BUFFER[: len(known)] != known:
            self.differs = True
        if len(known) < size:
            stream.extend(BUFFER[len(known) : size])
        self.position += size


def main(path: str, template: str, number: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sinks: dict[int, Sink] = {}
    poller = select.epoll()
    # A few at a time: 0.2 has a backlog of 32.
    for first in range(0, number, 16):
        fresh = [Sink(path, template.replace("%d", str(n)).encode()) for n in range(first, min(number, first + 16))]
        for sink in fresh:
            sink.acknowledged()
            sinks[sink.socket.fileno()] = sink
            poller.register(sink.socket.fileno(), select.EPOLLIN)
    say(ready=True)
    while True:
        say(**count(sinks, poller, **heard()))


def count(sinks: dict[int, Sink], poller: select.epoll, *, events: int, patience: float, first: str) -> dict[str, Any]:
    """Read until every socket has `events`, or none has had one for `patience` s."""
    stream = Stream()
    for sink in sinks.values():
        sink.position, sink.differs = 0, False
    missing = {fd for fd, sink in sinks.items() if not sink.ended}
    last = time.monotonic_ns()
    while missing:
        ready = poller.poll(patience)
        if not ready:
            break
        for fd, _ in ready:
            sink = sinks[fd]
            sink.read(stream)
            if sink.ended:
                poller.unregister(fd)
            if sink.ended or (len(stream.ends) >= events and sink.position >= stream.ends[events - 1]):
                missing.discard(fd)
        last = time.monotonic_ns()
    ordered = stream.names() == [f"{first}-{n}".encode() for n in range(events)]
    delivered = [bisect_right(stream.ends, sink.position) for sink in sinks.values()]
    complete = sum(
        ordered and got == events and not sink.differs for got, sink in zip(delivered, sinks.values(), strict=True)
    )
    ended = sum(sink.ended for sink in sinks.values())
    return {
        "delivered": sum(delivered),
        "complete": complete,
        "ended": ended,
        "last": last,
        "missing": len(missing) + ended,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
