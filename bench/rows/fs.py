"""A file is closed, and who waits for it is woken: 20 a second, every other one a new file.

Counted from just before `close` to the moment at which the waiter's loop has the event. Ours is one process that waits and has
the source inside of it, as `wait --source fs` without a daemon: the event goes through the log and a bell all the same. 0.2 is
`waitbus source fs` (with its extra, watchdog), its daemon, and a subscriber. The floor is `inotifywait -m` into a pipe, which
says the name and keeps nothing; in the note a loop that lists the folder each 100 ms.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import Budget, Sample, Wanted
from bench.latencies import quantiles
from bench.rows import Row, Scale
from bench.sides import Broken, Home, Side, Worker

RATE = 20.0
POLL = 0.1
REPOSITORY = Path(__file__).parents[2]


def measure(side: Side, scale: Scale) -> Sample:
    with side.home() as home:
        root = _root(home.place, scale)
        if side.old:
            home.daemon()
            watcher = home.start(
                side.command, "source", "fs", root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(0.5)
            if watcher.poll() is not None:  # its extra is not installed here
                return {}
        out = home.place / "heard"
        waiter = home.worker("fs_waiter", os.fspath(root), os.fspath(out), "old" if side.old else "new")
        _armed(waiter, root)
        written = _write(home, root, scale)
        (root / "bye").write_text("x")
        while "done" not in waiter.hear():
            pass
        return _figures(written, json.loads(out.read_text()))


def _root(place: Path, scale: Scale) -> Path:
    root = place / "root"
    root.mkdir()
    for number in range(0, _count(scale), 2):
        (root / f"old{number}").write_text("x")
    return root


def _count(scale: Scale) -> int:
    return max(40, scale.paced // 2)


def _armed(waiter: Worker, root: Path) -> None:
    for attempt in range(200):
        (root / f"hello{attempt}").write_text("x")
        try:
            waiter.hear(within=0.2)
        except Broken:
            if waiter.process.poll() is not None:
                raise
            continue
        break
    (root / "hello-last").write_text("x")
    while waiter.hear().get("hello") != "hello-last":
        pass


def _write(home: Home, root: Path, scale: Scale) -> dict[str, int]:
    out = home.place / "written"
    writer = home.worker("fs_writer", os.fspath(root), os.fspath(out))
    writer.ask(count=_count(scale), rate=RATE, within=_count(scale) / RATE + 60)
    written: dict[str, int] = json.loads(out.read_text())
    return written


def _figures(written: Mapping[str, int], heard: Mapping[str, int]) -> Sample:
    took = {name: heard[name] - at for name, at in written.items() if name in heard}
    warm = list(took)[len(took) // 10 :]
    return {
        **quantiles([took[name] for name in warm], "woken"),
        **quantiles([took[name] for name in warm if name.startswith("new")], "new"),
        "lost": len(written) - len(took),
    }


# -- beside it ---------------------------------------------------------------------------------------------------------


def floor(scale: Scale, place: Path) -> Sample:
    """`inotifywait`, where it is installed, and the loop."""
    found: dict[str, float] = {}
    if shutil.which("inotifywait"):
        found |= _beside(scale, place, _inotifywait)
    polled = _beside(scale, place, _polling)
    return found | {"poll_p50": polled["woken_p50"]}


def _beside(scale: Scale, place: Path, heard_by: object) -> Sample:
    home = Path(tempfile.mkdtemp(prefix="f", dir=place))
    root = _root(home, scale)
    out = home / "written"
    argv = [sys.executable, "-m", "bench.workers.fs_writer", os.fspath(root), os.fspath(out)]
    writer = Worker(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY))
    writer.hear()
    heard = heard_by(root, writer, scale)  # type: ignore[operator]
    writer.hear()
    writer.process.communicate()
    return _figures(json.loads(out.read_text()), heard)


def _inotifywait(root: Path, writer: Worker, scale: Scale) -> dict[str, int]:
    argv = ["inotifywait", "-m", "-e", "close_write", "--format", "%f", os.fspath(root)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    heard: dict[str, int] = {}
    try:
        while b"established" not in child.stderr.readline():
            pass
        writer.tell(count=_count(scale), rate=RATE)
        while len(heard) < _count(scale):
            if not select.select([child.stdout], [], [], 20)[0]:
                raise Broken("inotifywait says nothing")
            now, names = time.monotonic_ns(), os.read(child.stdout.fileno(), 65536).decode().split()
            for name in names:
                heard.setdefault(name, now)
    finally:
        child.kill()
        child.communicate()
    return heard


def _polling(root: Path, writer: Worker, scale: Scale) -> dict[str, int]:
    writer.tell(count=_count(scale), rate=RATE)
    heard: dict[str, int] = {}
    seen = {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(root)}
    end = time.monotonic() + _count(scale) / RATE + 20
    while len(heard) < _count(scale) and time.monotonic() < end:
        time.sleep(POLL)
        for entry in os.scandir(root):
            if seen.get(entry.name) != (changed := entry.stat().st_mtime_ns):
                seen[entry.name] = changed
                heard.setdefault(entry.name, time.monotonic_ns())
    return heard


def _notes(rounds: Sequence[Mapping[str, Sample]]) -> list[str]:
    polled = [one["floor"]["poll_p50"] for one in rounds if "poll_p50" in one.get("floor", {})]
    return [f"a loop that lists the folder each {POLL * 1000:.0f} ms: p50 {min(polled):.0f} ms"] if polled else []


FS = Row(
    "fs",
    "file closed -> waiter woken",
    measure,
    (
        Wanted(
            "woken_p50", "file closed -> waiter woken, p50 (floor: inotifywait)", "ms", Budget(most=3, absolute=True)
        ),
        Wanted("woken_p99", "the same, p99", "ms"),
        Wanted("new_p50", "new files alone, p50", "ms", Budget(most=3, absolute=True)),
    ),
    floor=floor,
    losses=("lost",),
    rounds=3,
    notes=_notes,
)
