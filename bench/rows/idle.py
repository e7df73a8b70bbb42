"""An idle daemon: how often it wakes, and what it holds.

The broadcast daemon alone, freshly started, with nobody connected and nothing coming, for 60 s. Wakes are the voluntary context
switches of all its threads; the pid is the one that the socket names. RSS is at the end.
"""

from __future__ import annotations

import time

from bench.figures import Budget, Sample, Wanted
from bench.proc import account
from bench.rows import Row, Scale
from bench.sides import Side

SETTLE = 1.0
"""s after the start that belong to it."""


def measure(side: Side, scale: Scale) -> Sample:
    with side.home() as home:
        pid = home.daemon()
        time.sleep(SETTLE)
        before = account(pid)
        time.sleep(scale.idle)
        after = account(pid)
    return {
        "wakes": after.wakes_since(before) / scale.idle,
        "cpu": (after.cpu - before.cpu) / scale.idle * 1e3,
        "rss": after.rss / 1024,
        "threads": len(after.wakes),
    }


IDLE = Row(
    "idle",
    "idle daemon",
    measure,
    (
        Wanted("wakes", "idle daemon: wakes", "1/s", Budget(most=0.2, absolute=True)),
        Wanted("cpu", "idle daemon: CPU", "ms/s"),
        Wanted("rss", "idle daemon: RSS", "MiB", Budget(most=0.75)),
        Wanted("threads", "idle daemon: threads", ""),
    ),
    rounds=2,
)
