"""The kernel's account of one process, read from /proc by its real pid."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

import attrs


@attrs.frozen
class Account:
    """`cpu` is in s, over all threads, those that ended included; `wakes` counts the voluntary context switches of each thread
    that lives; `rss` and `peak` are in KiB."""

    cpu: float
    wakes: dict[str, int]
    rss: int
    peak: int

    def wakes_since(self, before: Account) -> int:
        """Wakes between two accounts; a thread that ended meanwhile woke for it."""
        ended = before.wakes.keys() - self.wakes.keys()
        return len(ended) + sum(count - before.wakes.get(thread, 0) for thread, count in self.wakes.items())


def account(pid: int) -> Account:
    """What the process has used until now."""
    status = _status(Path(f"/proc/{pid}/status"))
    wakes = {
        task.name: int(_status(task / "status")["voluntary_ctxt_switches"])
        for task in Path(f"/proc/{pid}/task").iterdir()
    }
    return Account(_cpu(pid), wakes, _kib(status["VmRSS"]), _kib(status["VmHWM"]))


def _cpu(pid: int) -> float:
    # The process's CPU clock, in ns: clock_getcpuclockid(3) by hand. utime and stime in /proc are counted in ticks of 10 ms.
    return time.clock_gettime((~pid << 3) | 2)


def _status(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in path.read_text().splitlines())


def _kib(text: str) -> int:
    return int(text.split()[0])


def listening_pid(path: Path) -> int:
    """Who listens on a unix socket: a bench that measures a wrapper's pid measures nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(os.fspath(path))
        return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
