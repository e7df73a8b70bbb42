"""An idle daemon: how often it wakes, and what it holds.

The broadcast daemon alone, freshly started, with nobody connected and nothing coming, for 60 s. Wakes are the voluntary context
switches of all its threads; the pid is the one that the socket names. RSS is at the end. Then ours with every built-in source on
that runs here: files, on a tree of 1,000 folders, and containers, of an engine that is silent; it stands beside 0.2's daemon
alone.
"""

from __future__ import annotations

import json
import os
import time

from bench.figures import Budget, Sample, Wanted
from bench.proc import account
from bench.rows import Row, Scale
from bench.sides import Broken, Home, Side

SETTLE = 1.0
"""s after the start that belong to it."""

FOLDERS = 1000


def measure(side: Side, scale: Scale) -> Sample:
    with side.home() as home:
        sample = dict(_idle(home.daemon(), scale))
    if not side.old:
        with side.home() as home:
            local = _idle(_daemon_with_sources(home), scale)
        sample |= {f"local_{key}": value for key, value in local.items()}
    return sample


def _idle(pid: int, scale: Scale) -> Sample:
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


def _daemon_with_sources(home: Home) -> int:
    root, engine = home.place / "root", home.place / "engine.sock"
    for number in range(FOLDERS):
        (root / f"{number % 10}" / f"{number}").mkdir(parents=True)
    home.worker("silent_engine", os.fspath(engine))
    tables = f'[sources.fs]\nenabled = true\nroots = ["{root}"]\n[sources.docker]\nenabled = true\nhost = "{engine}"\n'
    (home.place / "config" / "config.toml").write_text(tables)
    pid = home.daemon()
    for _ in range(100):
        sources = json.loads(home.call("status", "--json"))["sources"]
        if {one["name"] for one in sources if one["state"] == "up"} == {"fs", "docker"}:
            return pid
        time.sleep(0.1)
    raise Broken(f"the sources do not come up: {sources}")


IDLE = Row(
    "idle",
    "idle daemon",
    measure,
    (
        Wanted("wakes", "idle daemon: wakes", "1/s", Budget(most=0.2, absolute=True)),
        Wanted("cpu", "idle daemon: CPU", "ms/s"),
        Wanted("rss", "idle daemon: RSS", "MiB", Budget(most=0.75)),
        Wanted("threads", "idle daemon: threads", ""),
        Wanted("local_wakes", "with all local sources on: wakes", "1/s", Budget(most=0.2, absolute=True)),
        Wanted("local_rss", "with all local sources on: RSS", "MiB", Budget(most=1.1), beside="rss"),
    ),
    rounds=2,
)
