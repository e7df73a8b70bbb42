"""systemd's side of the daemon: sockets it hands over, and the datagrams that tell it how we are (sd_notify(3), sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from waitbus.errors import SocketUnavailable

if TYPE_CHECKING:
    from collections.abc import MutableMapping

FIRST_FD = 3
NAME = "broadcast.sock"


def inherited(environment: MutableMapping[str, str] = os.environ) -> socket.socket | None:
    """The listening socket that was handed over: the one whose name is ours, else the first. None if there is none.

    The variables are removed, so that no child takes the sockets for its own.

    Raises:
      SocketUnavailable: what was handed over is no listening unix stream socket.
    """
    pid, count, names = (environment.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        return None
    fds = list(range(FIRST_FD, FIRST_FD + int(count)))
    for fd in fds:
        os.set_inheritable(fd, False)
    found = names.split(":")
    chosen = next((fd for fd, name in zip(fds, found, strict=False) if name in (NAME, "broadcast", "waitbus")), fds[0])
    try:
        handed = socket.socket(fileno=chosen)
        listening = handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SocketUnavailable(f"file descriptor {chosen} is no socket: {error.strerror}", hint="mend the .socket unit") from None
    if handed.family != socket.AF_UNIX or handed.type != socket.SOCK_STREAM or not listening:
        handed.detach()
        raise SocketUnavailable(
            f"the socket handed over as file descriptor {chosen} is no listening unix stream socket",
            hint="the .socket unit needs ListenStream= with a path",
        )
    return handed


def notify(*lines: str, environment: MutableMapping[str, str] = os.environ) -> bool:
    """Say `READY=1`, `STOPPING=1`, ... to whoever asked to be told. Never fails, never blocks."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
    return True


def reloading() -> bool:
    """`RELOADING=1`, with the time that systemd wants beside it."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
