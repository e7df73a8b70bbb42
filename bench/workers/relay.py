"""Stands between a waiter and the daemon, and says when the ack has gone through: the moment at which a wait is armed, whichever
program it is. One client at a time; the daemon's end closes with the client's."""

from __future__ import annotations

import select
import socket
import sys
import time

from bench.workers.link import say


def main(here: str, there: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(here)
    listener.listen(8)
    say(ready=True)
    while True:
        client, _ = listener.accept()
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.connect(there)
            relay(client, daemon)


def relay(client: socket.socket, daemon: socket.socket) -> None:
    told = False
    ends = {client: daemon, daemon: client}
    while True:
        for end in select.select(list(ends), [], [])[0]:
            try:
                data = end.recv(65536)
            except OSError:
                return
            if not data:
                return
            ends[end].sendall(data)
            if end is daemon and not told:
                told = True
                say(armed=time.monotonic_ns())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
