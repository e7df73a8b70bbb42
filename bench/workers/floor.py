"""The floor: one end of a bare socket pair between two Python processes. `send` is paced as a producer is, `receive` blocks."""

from __future__ import annotations

import socket
import struct
import sys
import time
from array import array

from bench.workers.link import exact_timer, heard, save, say, sleep_until


def main(role: str, fd: int, rate: float, count: int, out: str) -> None:
    exact_timer()
    connection = socket.socket(fileno=fd)
    say(ready=True)
    heard()
    if role == "send":
        send(connection, rate, count)
    else:
        receive(connection, count, out)
    say(done=True)


def send(connection: socket.socket, rate: float, count: int) -> None:
    period = round(1e9 / rate)
    start = time.monotonic_ns() + 50_000_000
    for n in range(count):
        moment = start + n * period
        sleep_until(moment)
        connection.sendall(struct.pack("q", moment))


def receive(connection: socket.socket, count: int, out: str) -> None:
    times = array("q")
    for _ in range(count):
        data = connection.recv(8, socket.MSG_WAITALL)
        times.append(time.monotonic_ns() - struct.unpack("q", data)[0])
    save(f"{out}.floor", times)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
