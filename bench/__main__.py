"""`python -m bench`: all rows, ours and 0.2 in turn, into bench/results. See docs/BENCHMARKS.md.

    WAITBUS_BENCH_OLD=/path/to/venv-with-0.2 python -m bench [--quick] [--only ROW ...] [--rounds N] [--dir DIR]

Timings never fail anything. It fails where a run breaks, or where ours lost, doubled or reordered an event.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from bench import machine
from bench.figures import Sample, figure, markdown
from bench.rows import QUICK, Row, Scale
from bench.rows.burst import BURST
from bench.rows.fs import FS
from bench.rows.idle import IDLE
from bench.rows.replay import REPLAY
from bench.rows.scripts import RETENTION, WAITERS
from bench.rows.start import START
from bench.rows.throughput import THROUGHPUT
from bench.rows.unwanted import UNWANTED
from bench.rows.wake import WAKE, WAKE_LOG
from bench.sides import Broken, Side, sides

RESULTS = Path(__file__).parent / "results"
ROWS = {
    row.key: row for row in (WAKE, WAKE_LOG, THROUGHPUT, BURST, UNWANTED, REPLAY, IDLE, START, WAITERS, RETENTION, FS)
}


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    scale = QUICK if options.quick else Scale()
    if options.rounds:
        scale = attrs.evolve(scale, rounds=options.rounds)
    root = Path(tempfile.mkdtemp(prefix="wb", dir=options.dir))
    try:
        report = run([ROWS[key] for key in options.only or ROWS], scale, root, _old())
    finally:
        shutil.rmtree(root, ignore_errors=True)
    write(report, options.out, complete=not (options.quick or options.only))
    print(markdown(report))
    for failure in report["failures"]:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if report["failures"] else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure waitbus beside 0.2.")
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything runs")
    parser.add_argument("--only", action="append", choices=list(ROWS), help="this row (repeatable)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--dir", type=Path, default=None, help="where homes are made: this file system is measured")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    return parser.parse_args(argv)


def _old() -> Path | None:
    named = os.environ.get("WAITBUS_BENCH_OLD")
    return None if not named else Path(named).absolute()


def run(rows: Sequence[Row], scale: Scale, root: Path, old: Path | None) -> dict[str, Any]:
    """The report, as JSON has it."""
    both = sides(root, old)
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": machine.describe(root, both),
        "rounds": scale.rounds,
        "scale": attrs.asdict(scale),
        "rows": [],
        "failures": [],
    }
    for row in rows:
        numbers = range(min(row.rounds, scale.rounds))
        rounds = [_round(row, number, scale, root, both, report["failures"]) for number in numbers]
        report["rows"].append(_row(row, rounds))
    report["machine"]["load_after"] = machine.load()
    return report


def _round(
    row: Row, number: int, scale: Scale, root: Path, both: Sequence[Side], failures: list[str]
) -> dict[str, Sample]:
    """Ours, theirs, floor: one after the other, never two at once."""
    found: dict[str, Sample] = {}
    for side in both:
        _progress(f"{row.key}, round {number + 1}, {side.name}")
        try:
            found[side.name] = row.measure(side, scale)
        except (Broken, OSError, ValueError) as error:
            failures.append(f"{row.key}, round {number + 1}, {side.name}: {error}")
    ours = found.get("ours", {})
    failures += [
        f"{row.key}, round {number + 1}: ours has {key} = {ours[key]:g}" for key in row.losses if ours.get(key)
    ]
    if row.floor is not None:
        found["floor"] = row.floor(scale, root)
    return found


def _row(row: Row, rounds: Sequence[Mapping[str, Sample]]) -> dict[str, Any]:
    return {
        "key": row.key,
        "title": row.title,
        "figures": [attrs.asdict(figure(wanted, rounds)) for wanted in row.figures],
        "notes": row.notes(rounds),
        "samples": rounds,
    }


def _progress(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def write(report: Mapping[str, Any], folder: Path, *, complete: bool) -> None:
    """`latest.*` and a dated copy; a run of less than everything goes to `partial.*`, which is not kept."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["latest", time.strftime("%Y%m%d-%H%M", time.gmtime())] if complete else ["partial"]
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        (folder / f"{name}.md").write_text(markdown(report))


if __name__ == "__main__":
    sys.exit(main())
