"""Processes of the command line: `--version`, `emit`, `wait` until it is armed, and what a waiting one holds.

The time is the wall clock of the whole process, from before it is spawned until it has ended, or, for `wait`, until it is armed:
0.2 gives no sign of that, so for both a relay stands before the daemon and says when the ack went through. Ours also has to
have written `armed`; whichever comes later counts.
"""

from __future__ import annotations

import os
import subprocess
import time
from statistics import median

from bench.figures import Budget, Sample, Wanted
from bench.proc import account
from bench.rows import Row, Scale
from bench.sides import Broken, Home, Side, Worker

WAIT = ("wait", "--source", "pytest", "--match", 'fields.conclusion="failure"', "--timeout", "60s")


def measure(side: Side, scale: Scale) -> Sample:
    with side.home() as home:
        home.daemon()
        (home.place / "relay").mkdir(mode=0o700)
        relay = home.worker("relay", os.fspath(home.place / "relay" / "broadcast.sock"), os.fspath(home.socket))
        work = {"version": _version, "emit": _emit, "python": _python}
        for run in work.values():
            run(home, -1)
        _wait(home, relay)
        times: dict[str, list[float]] = {name: [] for name in work}
        waits = []
        for number in range(scale.starts):
            for name, run in work.items():
                times[name].append(run(home, number))
            waits.append(_wait(home, relay))
        found = {name: median(values) for name, values in times.items()}
        return {**found, "wait": median(wait for wait, _ in waits), "rss": median(rss for _, rss in waits)}


def _timed(home: Home, *args: str) -> float:
    """ms of the whole process."""
    start = time.monotonic_ns()
    null = subprocess.DEVNULL
    done = subprocess.run(args, env=home.env, cwd=home.place, stdin=null, stdout=null, stderr=subprocess.PIPE)
    spent = time.monotonic_ns() - start
    if done.returncode:
        raise Broken(f"{' '.join(args)}: {done.returncode}, {done.stderr[-400:]!r}")
    return spent / 1e6


def _version(home: Home, number: int) -> float:
    return _timed(home, os.fspath(home.side.command), "--version")


def _python(home: Home, number: int) -> float:
    return _timed(home, os.fspath(home.side.python), "-c", "pass")


def _emit(home: Home, number: int) -> float:
    return _timed(
        home, os.fspath(home.side.command), "emit", "--delivery-id", f"cli-{number}", "--source", "github",
        "--event-type", "workflow_run", "--owner", "octo", "--repo", "hello", "--received-at", str(time.time_ns()),
        "--payload-json", '{"action": "completed"}', "--ingest-method", "bench",
    )  # fmt: skip


def _wait(home: Home, relay: Worker) -> tuple[float, float]:
    """ms until it is armed, and MiB of it while it waits."""
    start = time.monotonic_ns()
    child = home.start(
        home.side.command, *WAIT, env={"WAITBUS_RUNTIME_DIR": os.fspath(home.place / "relay")},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    armed = relay.hear(20)["armed"]
    if not home.side.old:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith(b"armed"):
                break
        else:
            raise Broken("wait ended without `armed`")
        armed = max(armed, time.monotonic_ns())
    time.sleep(0.1)
    rss = account(child.pid).rss
    home.stop(child.pid)
    if child.stderr is not None:
        child.stderr.close()
    return (armed - start) / 1e6, rss / 1024


START = Row(
    "start",
    "processes of the command line",
    measure,
    (
        Wanted("version", "waitbus --version", "ms", Budget(most=0.4)),
        Wanted("emit", "waitbus emit", "ms", Budget(most=0.5)),
        Wanted("wait", "waitbus wait, until armed", "ms", Budget(most=0.8)),
        Wanted("rss", "RSS of a waiting waitbus wait", "MiB", Budget(most=0.8)),
        Wanted("python", "python -c pass, under both interpreters", "ms"),
    ),
)
