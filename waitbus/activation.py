"""systemd's side of the daemon: sockets handed over (sd_listen_fds(3)), and datagrams that say how we are (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from waitbus.errors import SocketUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

FIRST_FD = 3
A_YEAR = 366 * 86400.0
NAMES = ("broadcast.sock", "broadcast", "waitbus")
"""What FileDescriptorName= may call the bus's socket."""

OTHERS = ("http.sock", "http")
"""What it calls sockets that are not ours: never taken by position."""


def inherited(environment: MutableMapping[str, str] = os.environ) -> socket.socket | None:
    """The listening socket that was handed over: the one whose name is ours, else the first. None if there is none.

    The variables are removed, so that no child takes the sockets for its own.

    Raises:
      SocketUnavailable: what was handed over is no listening unix stream socket.
    """
    pid, count, names = (environment.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) < 1:
        return None
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            raise SocketUnavailable(
                f"LISTEN_FDS says {count} sockets, and file descriptor {fd} is none: {error.strerror}",
                hint="mend the .socket unit, or unset LISTEN_FDS",
            ) from None
    chosen = _chosen(int(count), names.split(":"))
    return None if chosen is None else _listening(chosen)


def _chosen(count: int, names: list[str]) -> int | None:
    names = [*names, *[""] * count][:count]
    for fd, name in enumerate(names, FIRST_FD):
        if name in NAMES:
            return fd
    return next((fd for fd, name in enumerate(names, FIRST_FD) if name not in OTHERS), None)


def _listening(fd: int) -> socket.socket:
    try:
        handed = socket.socket(fileno=fd)
        listening = handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SocketUnavailable(
            f"file descriptor {fd} is no socket: {error.strerror}", hint="mend the .socket unit"
        ) from None
    if handed.family != socket.AF_UNIX or handed.type != socket.SOCK_STREAM or not listening:
        handed.detach()
        raise SocketUnavailable(
            f"the socket handed over as file descriptor {fd} is no listening unix stream socket",
            hint="the .socket unit needs ListenStream= with a path",
        )
    handed.setblocking(False)
    return handed


def notify(*lines: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Say `READY=1`, `STOPPING=1`, ... to whoever asked to be told. Never fails, never blocks."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
    return True


def reloading() -> bool:
    """`RELOADING=1`, with the time that systemd wants beside it."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog(heartbeat: float, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """`WATCHDOG_USEC=` for three heartbeats of so many s, where the unit's WatchdogSec= is shorter: it would end us in between.

    Nothing where no watchdog looks after this process (sd_watchdog_enabled(3)).
    """
    pid, allowed = (environment.get(key, "") for key in ("WATCHDOG_PID", "WATCHDOG_USEC"))
    needed = 3 * min(heartbeat, A_YEAR) * 1e6
    if pid not in ("", str(os.getpid())) or not allowed.isdecimal() or int(allowed) >= needed:
        return ()
    return (f"WATCHDOG_USEC={needed:.0f}",)
