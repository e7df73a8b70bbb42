"""The kernel's account of one process, read from /proc by its real pid."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import attrs


@attrs.frozen
class Account:
    """`cpu` is in s, over all threads; `wakes` counts voluntary context switches; `rss`, `peak` are in KiB."""

    cpu: float
    wakes: int
    rss: int
    peak: int
    threads: int


def account(pid: int) -> Account:
    """What the process has used until now."""
    status = _status(Path(f"/proc/{pid}/status"))
    cpu = wakes = threads = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # schedstat: ns on a CPU. utime and stime are counted in ticks of 10 ms.
        cpu += int((task / "schedstat").read_text().split()[0])
        wakes += int(_status(task / "status")["voluntary_ctxt_switches"])
        threads += 1
    return Account(cpu / 1e9, wakes, _kib(status["VmRSS"]), _kib(status["VmHWM"]), threads)


def _status(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in path.read_text().splitlines())


def _kib(text: str) -> int:
    return int(text.split()[0])


def listening_pid(path: Path) -> int:
    """Who listens on a unix socket: a bench that measures a wrapper's pid measures nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(os.fspath(path))
        return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
