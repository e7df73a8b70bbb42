"""When this process began, to the millisecond: where a wait without `--since` begins to look.

The kernel keeps the time of the fork, in ticks of 10 ms: that is why `waitbus wait ... & waitbus emit ...` finds its event,
however long our imports took. But a tick before the fork there may be the end of `waitbus emit x; waitbus wait x`, whose
event came before. What we know besides is how long we have run: now, less the time on the processor and in its queue, cannot
be before the fork, and is the fork itself unless we slept for a disk. So we take that, inside of the tick.
"""

from __future__ import annotations

import os
import sys
import time

NS = 1_000_000_000
START_TIME = 22
"""The field of /proc/PID/stat, counted as proc_pid_stat(5) does; the second, the name, may hold anything."""

AT_ONCE_NS, TRIES = 500_000, 10


def begun_ns() -> int:
    """ns since the epoch. Where nothing is known of it, the moment of the call."""
    for _ in range(TRIES):
        before = time.monotonic_ns()
        span, busy, now = _span_s(), _busy_s(), time.time_ns()
        # Interrupted between the looks at three clocks, they would not be of one moment.
        if time.monotonic_ns() - before < AT_ONCE_NS:
            break
    if span is None:
        return now
    # A shell that ran other commands before it became us (`bash -c 'a; waitbus wait x'`) gave us its own start.
    age = busy if _had_children() else min(max(busy, span[1]), span[0])
    return now - int(age * NS)


def _span_s() -> tuple[float, float] | None:
    """(at most, at least) s since the fork."""
    if sys.platform == "darwin":
        from waitbus.sources import darwin

        started = darwin.start_time(os.getpid())
        age = None if started is None else time.time() - started / 1e6
        return None if age is None else (age, age)
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[START_TIME - 3])
    except (OSError, ValueError, IndexError):
        return None
    tick = 1 / os.sysconf("SC_CLK_TCK")
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks * tick
    return age, max(0.0, age - tick)


def _busy_s() -> float:
    """s that this process ran or stood in the queue for a processor."""
    try:
        with open("/proc/self/schedstat", "rb") as file:
            ran, queued, _ = file.read().split()
        return (int(ran) + int(queued)) / NS
    except (OSError, ValueError):
        return time.process_time()


def _had_children() -> bool:
    """Whether this process ran and reaped others, under whatever program it was before."""
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt > 0
