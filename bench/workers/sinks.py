"""Many raw sockets in one process: what the daemon delivers, without the cost of a client for each.

Each sends the same subscribe frame (`%d` in it becomes its number), says `ready` when all were acknowledged, and then reads what
comes. `count` asks for so many events on each socket, within `patience` s without any; the answer has when the last one came.
The bytes are kept and looked at afterwards: each socket must have had every event once, in order.
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
from typing import Any

from bench.workers.link import heard, say

EVENT = b'"kind":"event"}'
DELIVERY = re.compile(rb'"delivery_id":"([^"]*)"')


class Sink:
    """One connection, and what it has received since the last `count`."""

    def __init__(self, path: str, frame: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.chunks: list[bytes] = []
        self.events = 0
        self._tail = b""
        self.ended = False
        deadline = time.monotonic() + 30
        while True:
            try:
                self.socket.connect(path)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
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

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        self.ended = not data
        self.chunks.append(data)
        self.events += (self._tail + data).count(EVENT)
        # Shorter than what is counted: nothing is counted twice.
        self._tail = data[-(len(EVENT) - 1) :]

    def names(self) -> list[bytes]:
        found = DELIVERY.findall(b"".join(self.chunks))
        self.chunks.clear()
        self.events, self._tail = 0, b""
        return found


def main(path: str, template: str, number: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sinks: dict[int, Sink] = {}
    poller = select.epoll()
    for first in range(0, number, 32):
        fresh = [Sink(path, template.replace("%d", str(n)).encode()) for n in range(first, min(number, first + 32))]
        for sink in fresh:
            sink.acknowledged()
            sinks[sink.socket.fileno()] = sink
            poller.register(sink.socket.fileno(), select.EPOLLIN)
    say(ready=True)
    while True:
        say(**count(sinks, poller, **heard()))


def count(sinks: dict[int, Sink], poller: select.epoll, *, events: int, patience: float, first: str) -> dict[str, Any]:
    """Read until every socket has `events`, or none has had one for `patience` s."""
    missing = {fd for fd, sink in sinks.items() if sink.events < events}
    last = time.monotonic_ns()
    while missing:
        ready = poller.poll(patience)
        if not ready:
            break
        for fd, _ in ready:
            sink = sinks[fd]
            sink.read()
            if sink.ended:
                poller.unregister(fd)
                missing.discard(fd)
            elif sink.events >= events:
                missing.discard(fd)
        last = time.monotonic_ns()
    prefix = first.encode()
    expected = [prefix + b"-%d" % n for n in range(events)]
    delivered = complete = ended = 0
    for sink in sinks.values():
        names = [name for name in sink.names() if name.startswith(prefix)]
        delivered += len(names)
        complete += names == expected
        ended += sink.ended
    return {"delivered": delivered, "complete": complete, "ended": ended, "last": last, "missing": len(missing)}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
