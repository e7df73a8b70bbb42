"""What telling of a pytest session costs it: `python -m bench.pytest_cost`. 2,000 tests of 1 ms, in pairs of runs.

Each test does a fixed amount of work, measured to be 1 ms on this machine, rather than wait for a clock: so whatever takes the
processor away shows. A pair is a run without and one with, one after the other; its cost is their quotient, and the figure is
the median of those. The same of the processor's time, the processes below it included, varies less from run to run.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS, PAIRS = 2000, 11
BUDGET = 1.02

MODULE = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it(n):
    sum(range({work}))
"""

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
RUN = (sys.executable, "-m", "waitbus", "run", "--")
ROWS: dict[str, tuple[tuple[str, ...], dict[str, str], tuple[str, ...], dict[str, str]]] = {
    # name -> command and variables without, command and variables with
    "installed plugin": (PYTEST, {}, (*PYTEST, "--waitbus"), {}),
    "installed plugin, -n 2": ((*PYTEST, "-n", "2"), {}, (*PYTEST, "-n", "2", "--waitbus"), {}),
    "below waitbus run": ((*RUN, *PYTEST), {"WAITBUS_PYTEST": "0"}, (*RUN, *PYTEST), {}),
    "below waitbus run, -n 2": ((*RUN, *PYTEST, "-n", "2"), {"WAITBUS_PYTEST": "0"}, (*RUN, *PYTEST, "-n", "2"), {}),
    "asleep (against -p no:waitbus)": ((*PYTEST, "-p", "no:waitbus"), {}, PYTEST, {}),
}


def main() -> None:
    """Measure all rows, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--tests", type=int, default=TESTS)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="wb-cost-"))
    try:
        (place / "pytest.ini").write_text("[pytest]\n")
        (place / "test_it.py").write_text(MODULE.format(tests=given.tests, work=work_of_a_millisecond()))
        env = environment(place)
        for name in (name for name in ROWS if given.only in name):
            print(row(name, place, env, given.pairs), flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def row(name: str, place: Path, env: dict[str, str], pairs: int) -> str:
    """The figures of one row, as a line."""
    bare, bare_env, ours, ours_env = ROWS[name]
    timed(bare, place, {**env, **bare_env})
    timed(ours, place, {**env, **ours_env})
    befores, quotients, work = [], [], []
    for number in range(pairs):
        first = number % 2  # whoever comes second finds a warmer machine
        times = [(0.0, 0.0), (0.0, 0.0)]
        for side in (first, 1 - first):
            command, more = ((bare, bare_env), (ours, ours_env))[side]
            times[side] = timed(command, place, {**env, **more})
        befores.append(times[0][0])
        quotients.append(times[1][0] / times[0][0])
        work.append(times[1][1] / times[0][1])
    found = statistics.median(quotients)
    spread = f"{min(quotients):.3f} to {max(quotients):.3f}"
    verdict = "ok" if found <= BUDGET else "over"
    return (
        f"{name}: x{found:.4f} ({spread}, {pairs} pairs of {statistics.median(befores):.2f} s) {verdict}"
        f"; processor x{statistics.median(work):.4f} ({min(work):.3f} to {max(work):.3f})"
    )


def timed(command: tuple[str, ...], place: Path, env: dict[str, str]) -> tuple[float, float]:
    """s of one whole process, and s of processor time that it and the processes below it took."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        time.perf_counter() - begun,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def work_of_a_millisecond() -> int:
    """The n of which sum(range(n)) takes 1 ms here."""
    sizes = []
    for _ in range(50):
        begun = time.perf_counter()
        sum(range(100_000))
        sizes.append(100_000 * 0.001 / (time.perf_counter() - begun))
    return int(statistics.median(sizes))


def environment(place: Path) -> dict[str, str]:
    """Folders of its own, and nothing of whoever runs it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WAITBUS_", "PYTEST_"))}
    return {**env, "HOME": str(place), "WAITBUS_STATE_DIR": str(place / "s"), "WAITBUS_RUNTIME_DIR": str(place / "r")}


if __name__ == "__main__":
    main()
