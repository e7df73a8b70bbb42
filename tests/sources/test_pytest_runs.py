"""Real pytest runs, told by the installed plugin and below `waitbus run` in an environment that has pytest and no waitbus."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.logs import rows as all_rows
from tests.support import PYTHON, WAITBUS, Result, eventually, read_until, run
from waitbus import pytest_plugin
from waitbus.cli.run import run as run_command
from waitbus.sources import pytest_place, pytest_relay
from waitbus.sources.pidfd import start_time
from waitbus.sources.pytest_rows import COUNTS, OUTCOMES
from waitbus.store import Log
from waitbus.wire import frame_of_row

PASS = "def test_good(): pass\n"
FAIL = "def test_bad(): assert 0\n"
COUNTED = set(COUNTS)
ALONE = "addopts = -p no:anyio -p no:hypothesispytest"
"""Our own tests need both; they take longer to load than pytest. The runs that leave this out have them beside them."""
IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ
pytestmark = pytest.mark.timeout(300)  # the first one of a run makes an environment
Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def no_outer_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs here are no part of the one that tests them."""
    for name in [*os.environ]:
        if name.startswith(("PYTEST_", "TOX_", "COV_")) or name == "PYTHONPATH":
            monkeypatch.delenv(name)


def environment(factory: pytest.TempPathFactory, name: str, *packages: str, pip: str | None = None) -> Path:
    """The folder of programs of a virtual environment with these packages, made once for all workers of a run.

    With a pip of its own, unless the Python `pip` has one: putting it in takes as long as all the rest.
    """
    base = factory.getbasetemp()
    place = (base.parent if IN_WORKER else base) / name
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            python = str(place / "bin" / "python")
            without = ["--without-pip"] if pip else []
            assert run([sys.executable, "-m", "venv", "--clear", *without, str(place)], timeout=120).code == 0
            by = [pip, "-m", "pip", "--python", python] if pip else [python, "-m", "pip"]
            got = run([*by, "install", "-q", "--no-compile", "--disable-pip-version-check", *packages], timeout=300)
            assert got.code == 0, got
            (place / "complete").touch()
    return place / "bin"


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment with pytest and xdist, and no waitbus."""
    python = environment(tmp_path_factory, "bare", "pytest>=9", "pytest-xdist") / "python"
    assert run([str(python), "-c", "import waitbus"], cwd="/").code == 1
    return str(python)


@pytest.fixture
def api(home: Path) -> Path:
    """A project's folder."""
    folder = home / "api"
    folder.mkdir()
    (folder / "pytest.ini").write_text(f"[pytest]\n{ALONE}\n")
    return folder


Way = Callable[..., Result]


@pytest.fixture(params=["installed", "below run"])
def pytest_in(request: pytest.FixtureRequest, api: Path) -> Way:
    """`pytest_in("-x", test_a="...")` writes files and runs pytest there; the answer is pytest's own."""
    command = command_of(request.param, request)

    def call(*args: str, env: dict[str, str] | None = None, **files: str) -> Result:
        write(api, **files)
        return run([*command, *args], cwd=api, env=env, timeout=60)

    return call


def command_of(way: str, request: pytest.FixtureRequest) -> list[str]:
    if way == "installed":
        return [PYTHON, "-m", "pytest", "--waitbus"]
    return [*WAITBUS, "run", "--", request.getfixturevalue("bare"), "-m", "pytest"]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def told(log: Log) -> Rows:
    """What pytest has told so far, with its columns."""
    found = [frame_of_row(row, log.tag) for row in all_rows(log)]
    return [
        {**frame.fields, "delivery_id": frame.delivery_id, "summary": frame.summary}
        for frame in found
        if frame.source == "pytest"
    ]


def session_of(log: Log) -> dict[str, Any]:
    """The one session row that is there."""
    (row,) = [row for row in told(log) if row["event_type"] == "pytest_session"]
    return row


def counts(row: dict[str, Any]) -> dict[str, int]:
    return {key: row[key] for key in COUNTED if row.get(key)}


# -- the table ---------------------------------------------------------------------------------------------------------

EVERY_OUTCOME = """
import pytest
def test_pass(): pass
def test_fail(): assert 0
@pytest.mark.skip
def test_skip(): pass
@pytest.mark.xfail
def test_xfail(): assert 0
@pytest.mark.xfail
def test_xpass(): pass
@pytest.mark.xfail(strict=True)
def test_strict(): pass
@pytest.fixture
def broken(): raise ValueError
def test_setup(broken): pass
@pytest.fixture
def left():
    yield
    raise ValueError
def test_teardown(left): pass
"""
CRASH = "import os\ndef test_crash(): os._exit(9)\n"

CAUSES: list[Any] = [
    # name, arguments, files, exit status, conclusion, counts
    ("all pass", [], {"test_a": PASS}, 0, "success", {"passed": 1}),
    ("a failure", [], {"test_a": PASS + FAIL}, 1, "failure", {"passed": 1, "failed": 1}),
    ("every outcome", [], {"test_a": EVERY_OUTCOME}, 1, "failure",
     {"passed": 2, "failed": 2, "skipped": 1, "xfailed": 1, "xpassed": 1, "errors": 2}),
    ("collection error", [], {"test_a": PASS, "test_b": "import no_such_module"}, 2, "failure", {"errors": 1}),
    ("zero tests", [], {"test_a": ""}, 5, "failure", {}),
    ("none chosen", ["-k", "nothing"], {"test_a": PASS}, 5, "failure", {}),
    ("a module skipped", [], {"test_a": "import pytest; pytest.skip('x', allow_module_level=True)"}, 5, "failure",
     {"skipped": 1}),
    ("an unknown option", ["--no-such-option"], {"test_a": PASS}, 4, "failure", {}),
    ("a file that is not there", ["test_none.py"], {"test_a": PASS}, 4, "failure", {}),
    ("a broken conftest", [], {"test_a": PASS, "conftest": "1 / 0"}, 4, "failure", {}),
    ("-x", ["-x"], {"test_a": FAIL + FAIL.replace("bad", "worse")}, 1, "failure", {"failed": 1}),
    ("pytest.exit", [], {"test_a": PASS + "def test_b():\n import pytest\n pytest.exit('enough', 7)\n"}, 7, "failure",
     {"passed": 1}),
    ("os._exit in a conftest", [],
     {"test_a": PASS, "conftest": "import os\ndef pytest_sessionfinish(exitstatus): os._exit(0)\n"}, 0, "success",
     {"passed": 1}),
    ("a status that a conftest changes", [],
     {"test_a": PASS, "conftest": "def pytest_sessionfinish(session): session.exitstatus = 1\n"}, 1, "failure",
     {"passed": 1}),
    ("an internal error", [],
     {"test_a": PASS, "conftest": "def pytest_collection_modifyitems(): raise KeyError('oops')\n"}, 3, "failure", {}),
    ("xdist", ["-n", "2"], {"test_a": PASS + FAIL}, 1, "failure", {"passed": 1, "failed": 1}),
    ("a worker of xdist that crashes", ["-n", "1", "--max-worker-restart", "0"], {"test_a": CRASH}, 1, "failure",
     {"failed": 1}),
    ("a test that ends the process", [], {"test_a": CRASH}, 9, "failure", {}),
]  # fmt: skip


REASONS = {
    "an unknown option": "unrecognized arguments: --no-such-option",
    "a file that is not there": "file or directory not found: test_none.py",
    "a broken conftest": "division by zero",
    "-x": "stopping after 1 failures",
    "pytest.exit": "enough",
    "an internal error": "KeyError: 'oops'",
}


@pytest.mark.parametrize("cause", CAUSES, ids=[cause[0] for cause in CAUSES])
def test_what_each_cause_gives(pytest_in: Way, log: Log, api: Path, cause: Any) -> None:
    _, args, files, status, conclusion, expected = cause
    done = pytest_in("-p", "no:cacheprovider", *args, **files)
    assert done.code == status, done
    row = eventually(lambda: [row for row in told(log) if row["event_type"] == "pytest_session"])[0]
    # Who ended a process that is not his child nobody can tell.
    known = row.get("exit_status", status) if "ends the process" in cause[0] else row["exit_status"]
    assert (known, row["conclusion"], counts(row)) == (status, conclusion, expected), done.out
    assert (row["status"], row["repo"], row["workflow_name"]) == ("completed", "api", "api")
    assert (row["rootdir"], row["duration_ms"] >= 0) == (str(api), True)
    if cause[0] in REASONS:
        assert REASONS[cause[0]] in row["reason"]
    bad = [test for test in told(log) if test["event_type"] == "pytest_test"]
    assert {test["conclusion"] for test in bad} <= {"failure"}
    assert [test["nodeid"] for test in bad] == row.get("first_failures", [])
    assert len(bad) == expected.get("failed", 0) + expected.get("errors", 0)
    assert "waitbus:" not in done.out + done.err
    session_of(log)


@pytest.mark.parametrize("args", [["--collect-only"], ["--help"], ["--version"], ["--fixtures"], ["--markers"]])
def test_what_runs_no_tests_is_no_session(pytest_in: Way, log: Log, args: list[str]) -> None:
    assert pytest_in(*args, test_a=FAIL).code == 0
    assert told(log) == []


def test_first_failures_are_twenty_at_most_and_each_has_its_row(pytest_in: Way, log: Log) -> None:
    pytest_in(test_a="import pytest\n@pytest.mark.parametrize('n', range(30))\ndef test_n(n): assert 0\n")
    *tests, row = told(log)
    assert len(tests) == row["failed"] == 30
    assert row["first_failures"] == [f"test_a.py::test_n[{n}]" for n in range(20)]
    assert len({test["delivery_id"] for test in tests}) == 30


@pytest.mark.parametrize("how", ["option", "ini", "variable"])
def test_every_outcome_is_told_where_that_is_asked_for(pytest_in: Way, log: Log, api: Path, how: str) -> None:
    if how == "ini":
        (api / "pytest.ini").write_text("[pytest]\nwaitbus_all = true\n")
    env = {"WAITBUS_PYTEST": "all"} if how == "variable" else None
    pytest_in(*(["--waitbus-all"] if how == "option" else []), env=env, test_a=EVERY_OUTCOME)
    tests = [(row["nodeid"].partition("::")[2], row["outcome"]) for row in told(log)[:-1]]
    assert sorted(tests) == sorted(
        [("test_pass", "passed"), ("test_fail", "failed"), ("test_skip", "skipped"), ("test_xfail", "xfailed"),
         ("test_xpass", "xpassed"), ("test_strict", "failed"), ("test_setup", "error"), ("test_teardown", "passed"),
         ("test_teardown", "error")]
    )  # fmt: skip
    assert {row["outcome"]: row["conclusion"] for row in told(log)[:-1]} == OUTCOMES


# -- live --------------------------------------------------------------------------------------------------------------

WAITS = f"{FAIL}def test_waits():\n    print('waiting', flush=True)\n    open('fifo').read()\n"


@pytest.fixture(params=["installed", "below run"])
def waiting(request: pytest.FixtureRequest, api: Path, spawn: Callable[..., Any]) -> subprocess.Popen[str]:
    """A pytest whose second test waits."""
    os.mkfifo(api / "fifo")
    write(api, test_a=WAITS)
    program = tuple(command_of(request.param, request))
    child = spawn("-s", "-p", "no:cacheprovider", program=program, cwd=api)
    read_until(child.stdout, "waiting", timeout=20)
    return child


def pid_of_pytest(child: subprocess.Popen[str]) -> int:
    """The process itself, or the only child of the `waitbus run`."""
    below = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    command = Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")
    return int(below[0]) if b"waitbus" in command else child.pid


def test_a_failure_is_told_while_the_others_run(waiting: subprocess.Popen[str], log: Log, api: Path) -> None:
    (row,) = eventually(lambda: told(log))
    assert (row["nodeid"], row["outcome"], row["conclusion"]) == ("test_a.py::test_bad", "failed", "failure")
    (api / "fifo").write_text("")
    assert waiting.wait(timeout=20) == 1
    assert counts(session_of(log)) == {"passed": 1, "failed": 1}


def test_ctrl_c_is_cancelled(waiting: subprocess.Popen[str], log: Log) -> None:
    # To pytest alone: of a whole group's signal that is not the terminal's own, `run` would hand on another one.
    os.kill(pid_of_pytest(waiting), signal.SIGINT)
    assert waiting.wait(timeout=20) == 2
    row = session_of(log)
    assert (row["exit_status"], row["conclusion"], row["reason"]) == (2, "cancelled", "interrupted")
    assert counts(row) == {"failed": 1}


def test_a_pytest_that_is_killed_has_its_row(waiting: subprocess.Popen[str], log: Log) -> None:
    os.kill(pid_of_pytest(waiting), signal.SIGKILL)
    assert waiting.wait(timeout=20) in (137, -9)
    row = eventually(lambda: [row for row in told(log) if row["event_type"] == "pytest_session"])[0]
    assert (row["status"], row["conclusion"], counts(row)) == ("completed", "failure", {"failed": 1})
    assert row["first_failures"] == ["test_a.py::test_bad"]
    assert row["reason"] in ("pytest was ended by SIGKILL", "pytest ended without a word")
    if row["reason"] == "pytest was ended by SIGKILL":
        assert row["exit_status"] == 137


LEAVES_A_CHILD = """
import os
def test_bad(): assert 0
def test_waits():
    if not os.fork():
        open('fifo').read()
        os._exit(0)
    print('waiting', flush=True)
    open('fifo').read()
"""


def test_a_pytest_that_is_killed_has_its_row_though_a_child_of_its_tests_lives_on(
    api: Path, spawn: Callable[..., Any], log: Log
) -> None:
    """The child has pytest's end of the way in its hands."""
    os.mkfifo(api / "fifo")
    write(api, test_a=LEAVES_A_CHILD)
    child = spawn("-s", program=(PYTHON, "-m", "pytest", "--waitbus"), cwd=api)
    read_until(child.stdout, "waiting", timeout=20)
    child.kill()
    child.wait(timeout=20)
    row = eventually(lambda: [row for row in told(log) if row["event_type"] == "pytest_session"])[0]
    assert (row["conclusion"], row["first_failures"]) == ("failure", ["test_a.py::test_bad"])


@pytest.fixture
def below_run(bare: str, api: Path, spawn: Callable[..., Any]) -> subprocess.Popen[str]:
    """A pytest below `waitbus run` whose second test waits."""
    os.mkfifo(api / "fifo")
    write(api, test_a=WAITS)
    child = spawn("run", "--", bare, "-m", "pytest", "-s", "-p", "no:cacheprovider", cwd=api)
    read_until(child.stdout, "waiting", timeout=20)
    return child


def test_a_pytest_that_is_killed_with_the_run_above_it_is_told_of_by_the_next_run(
    below_run: subprocess.Popen[str], log: Log, api: Path
) -> None:
    """As a CI's time-out does. Nobody is left who could count."""
    eventually(lambda: told(log))
    os.killpg(below_run.pid, signal.SIGKILL)
    below_run.wait(timeout=20)
    assert [row["event_type"] for row in told(log)] == ["pytest_test"]
    for _ in range(2):
        assert run([*WAITBUS, "run", "--", "true"]) == (0, "", "")
        row = session_of(log)
    assert (row["conclusion"], row["rootdir"], counts(row)) == ("failure", str(api), {})
    assert row["reason"] == "pytest was killed, and with it the `waitbus run` above it"
    assert row["summary"] == f"api failure {row['reason']}"


def test_a_pytest_that_outlives_the_run_above_it_is_told_of_when_it_is_over(
    below_run: subprocess.Popen[str], log: Log
) -> None:
    pytest_pid = pid_of_pytest(below_run)
    below_run.kill()
    below_run.wait(timeout=20)
    assert run([*WAITBUS, "run", "--", "true"]).code == 0
    assert "pytest_session" not in [row["event_type"] for row in told(log)]
    os.kill(pytest_pid, signal.SIGKILL)
    eventually(lambda: start_time(pytest_pid) is None)
    assert run([*WAITBUS, "run", "--", "true"]).code == 0
    assert session_of(log)["conclusion"] == "failure"


def test_ctrl_c_before_there_is_a_session_is_cancelled(pytest_in: Way, log: Log) -> None:
    assert pytest_in(conftest="raise KeyboardInterrupt").code in (-2, 2, 130)
    row = session_of(log)
    assert (row["conclusion"], row.get("exit_status") in (None, 130)) == ("cancelled", True)


def test_a_pytest_that_is_killed_with_its_group_has_its_row(api: Path, spawn: Callable[..., Any], log: Log) -> None:
    """As a CI's time-out does: the writer is in no group of pytest's."""
    os.mkfifo(api / "fifo")
    write(api, test_a=WAITS)
    child = spawn("-s", program=(PYTHON, "-m", "pytest", "--waitbus"), cwd=api)
    read_until(child.stdout, "waiting", timeout=20)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait(timeout=20)
    eventually(lambda: [row for row in told(log) if row["event_type"] == "pytest_session"])


def test_a_wait_ends_by_a_failing_test(spawn: Callable[..., Any], log: Log, api: Path) -> None:
    wait = spawn("wait", "--source", "pytest", "--match", "conclusion=failure", "--timeout", "30s")
    read_until(wait.stderr, "armed")
    write(api, test_a=FAIL)
    run([PYTHON, "-m", "pytest", "--waitbus"], cwd=api)
    assert wait.wait(timeout=10) == 0
    assert wait.stdout.read().startswith("pytest_test  test_a.py::test_bad  failure  ")


# -- when it is on, and that it harms nothing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "ini", "args", "tells"),
    [
        (None, "", [], False),
        ("0", "waitbus = true", ["--waitbus"], False),
        ("1", "", [], True),
        ("YES", "", [], True),
        (None, "waitbus = true", [], True),
        (None, "", ["--waitbus"], True),
        ("", "", [], False),
        (None, "", ["--waitbus", "-p", "no:waitbus"], None),
    ],
)
def test_it_sleeps_until_it_is_asked(
    api: Path, log: Log, variable: str | None, ini: str, args: list[str], tells: bool | None
) -> None:
    write(api, test_a=PASS)
    (api / "pytest.ini").write_text(f"[pytest]\n{ALONE}\n{ini}\n")
    env = {} if variable is None else {"WAITBUS_PYTEST": variable}
    done = run([PYTHON, "-m", "pytest", *args], cwd=api, env=env)
    assert done.code == (4 if tells is None else 0)
    assert len(told(log)) == (tells is True)


def test_asleep_it_loads_nothing(api: Path) -> None:
    write(api, test_a="import sys\ndef test_x(): print([m for m in sys.modules if m.startswith('waitbus')])\n")
    done = run([PYTHON, "-m", "pytest", "-s", "-q"], cwd=api)
    assert "['waitbus', 'waitbus.pytest_plugin']" in done.out


def test_tests_meet_no_child_and_no_open_way(api: Path, log: Log) -> None:
    """What a test may look at or break: children, the clock, the environment, descriptors, sessions below it."""
    nosy = """
import os, subprocess, sys, time
def test_no_child():
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    assert False, "there is a child"
def test_clock(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 4_000_000_000_000_000_000)
    monkeypatch.setenv("WAITBUS_STATE_DIR", "/nowhere")
    assert 0
def test_below():
    os.mkdir("inner")
    open("inner/test_b.py", "w").write("def test_inner(): assert 0")
    done = subprocess.run([sys.executable, "-m", "pytest", "inner"], stdout=subprocess.DEVNULL)
    assert done.returncode == 1
    assert os.environ["WAITBUS_PYTEST"] == "0"
def test_fork():
    if not (pid := os.fork()):
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""
    write(api, test_a=nosy)
    done = run([PYTHON, "-m", "pytest", "-s"], cwd=api, env={"WAITBUS_PYTEST": "1"})
    test, session = told(log)
    assert (done.code, test["nodeid"], counts(session)) == (1, "test_a.py::test_clock", {"passed": 3, "failed": 1})
    assert all(row.received_at < 2_000_000_000_000_000_000 for row in all_rows(log))


def test_a_log_that_cannot_be_written_is_one_line(api: Path) -> None:
    write(api, test_a=PASS + FAIL)
    (api / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    env = {"WAITBUS_STATE_DIR": "/proc/nowhere"}
    done = run([PYTHON, "-m", "pytest", "--waitbus"], cwd=api, env=env)
    assert done.code == 1
    assert (done.out + done.err).count("waitbus: this session is not wholly in the log: ") == 1
    assert "1 failed, 1 passed" in done.out


@contextlib.contextmanager
def locked(log: Log, until: Callable[[], object] | None = None) -> Iterator[None]:
    """The log, locked by somebody until that is so, or until the block ends."""
    log.head()
    begun, ended = threading.Event(), threading.Event()

    def hold(_db: object) -> None:
        begun.set()
        eventually(until or ended.is_set, timeout=30)

    def holder() -> None:
        with Log() as busy:
            busy.write(hold)

    thread = threading.Thread(target=holder)
    thread.start()
    begun.wait(10)
    try:
        yield
    finally:
        ended.set()
        thread.join()


MANY = """
import pytest
@pytest.mark.parametrize("n", range(600))
def test_n(n): assert 0
def test_last(): open("done", "w").close()
"""


def test_a_log_that_is_busy_holds_up_no_test_and_loses_no_row(pytest_in: Way, log: Log, api: Path) -> None:
    """More is told meanwhile than the kernel takes for who does not listen."""
    with locked(log, until=(api / "done").exists):
        done = pytest_in("-q", "--tb=no", "-p", "no:cacheprovider", "--no-summary", test_a=MANY)
    assert (done.code, "waitbus:" in done.out + done.err) == (1, False)
    *tests, session = told(log)
    assert counts(session) == {"passed": 1, "failed": 600}
    assert [test["nodeid"] for test in tests] == [f"test_a.py::test_n[{n}]" for n in range(600)]


def test_a_log_that_is_locked_when_pytest_ends_has_its_rows_later(api: Path, log: Log) -> None:
    """Nobody is held up by that, and nothing is lost that there would be to complain of."""
    write(api, test_a=PASS + FAIL)
    with locked(log):
        done = run([PYTHON, "-m", "pytest", "--waitbus"], cwd=api)
    assert (done.code, "waitbus:" in done.out + done.err) == (1, False)
    eventually(lambda: len(told(log)) == 2)


def test_what_a_locked_log_did_not_take_is_written_though_nothing_else_comes(
    bare: str, api: Path, spawn: Callable[..., Any], log: Log
) -> None:
    os.mkfifo(api / "fifo")
    write(api, test_a=WAITS)
    with locked(log):
        child = spawn("run", "--", bare, "-m", "pytest", "-s", "-p", "no:cacheprovider", cwd=api)
        read_until(child.stdout, "waiting", timeout=20)
    (row,) = eventually(lambda: told(log))
    assert row["nodeid"] == "test_a.py::test_bad"
    (api / "fifo").write_text("")
    assert child.wait(timeout=20) == 1
    assert child.stderr.read() == ""
    types = [row["event_type"] for row in (frame_of_row(row, log.tag).to_dict() for row in all_rows(log))]
    assert types == ["process_started", "pytest_test", "pytest_session", "process_exited"]


def test_a_child_that_goes_on_as_if_it_were_pytest_tells_nothing(pytest_in: Way, log: Log) -> None:
    fork = "import os\ndef test_fork():\n os.fork()\n assert 0\n"
    done = pytest_in("-p", "no:cacheprovider", test_a=fork + PASS)
    assert (done.code, "waitbus:" in done.out + done.err) == (1, False)
    assert [row["event_type"] for row in told(log)] == ["pytest_test", "pytest_session"]
    assert counts(told(log)[-1]) == {"passed": 1, "failed": 1}


TWICE = """
import pytest
@pytest.fixture
def both():
    yield
    raise ValueError
@pytest.fixture
def broken(both): raise ValueError
def test_x(broken): pass
"""


SUBTESTS = """
import unittest
class T(unittest.TestCase):
    def test_sub(self):
        for i in range(3):
            with self.subTest("fruit", i=i, name="a b"):
                self.assertNotEqual(i, 1)
def test_both(subtests):
    for i in range(3):
        with subtests.test(i=i):
            assert i != 2
"""


def test_a_subtest_that_fails_says_which_it_is(bare: str, api: Path, log: Log) -> None:
    """Counted as pytest counts: since version 9 it has subtests of its own, and the test around a failed one has failed."""
    write(api, test_a=SUBTESTS)
    done = below(bare, api, "$PY -m pytest -p no:cacheprovider")
    *tests, session = told(log)
    rows = [(row["nodeid"].rpartition("::")[2], row.get("subtest")) for row in tests]
    assert rows == [("test_sub", "[fruit] (i=1, name='a b')"), ("test_both", "(i=2)"), ("test_both", None)], done.out
    assert f"{session['failed']} failed" in done.out


def test_a_test_that_fails_twice_has_two_rows(pytest_in: Way, log: Log) -> None:
    pytest_in("-p", "no:cacheprovider", test_a=TWICE)
    *tests, session = told(log)
    assert [test["nodeid"] for test in tests] == ["test_a.py::test_x"] * 2
    assert (session["errors"], session["first_failures"]) == (2, ["test_a.py::test_x"])


def test_a_writer_that_cannot_start_is_one_line(api: Path) -> None:
    write(api, test_a=PASS, conftest="")
    (api / "early.py").write_text("import sys\nsys.executable = '/no/such/python'\n")
    done = run([PYTHON, "-m", "pytest", "-p", "early", "--waitbus"], cwd=api, env={"PYTHONPATH": str(api)})
    assert (done.code, (done.out + done.err).count("waitbus: this session is not wholly in the log: ")) == (0, 1)


# -- below `waitbus run` -----------------------------------------------------------------------------------------------


def below(bare: str, api: Path, script: str, **env: str) -> Result:
    """A shell script below `waitbus run`, with `$PY` the Python of the bare environment."""
    return run([*WAITBUS, "run", "--", "sh", "-c", script], cwd=api, env={"PY": bare, **env}, timeout=120)


def test_through_make(bare: str, api: Path, log: Log) -> None:
    write(api, test_a=PASS + FAIL)
    (api / "Makefile").write_text("test:\n\t$(PY) -m pytest -q\n")
    assert below(bare, api, "make test").code == 2
    assert [row["event_type"] for row in told(log)] == ["pytest_test", "pytest_session"]


def test_through_another_program_in_python_that_hands_down_no_descriptor(bare: str, api: Path, log: Log) -> None:
    """nox and tox do it so."""
    write(api, test_a=FAIL)
    program = (
        "import subprocess as s, sys; sys.exit(s.run([sys.executable, '-m', 'pytest'], close_fds=True).returncode)"
    )
    assert run([*WAITBUS, "run", "--", bare, "-c", program], cwd=api).code == 1
    assert len(told(log)) == 2


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory, bare: str) -> Path:
    """The programs of tox, nox and uv."""
    return environment(tmp_path_factory, "tools", "tox>=4.12", "nox", "uv", pip=bare)


TOX_INI = "[testenv]\npackage = skip\npass_env = PY\nallowlist_externals = *\ncommands = {env:PY} -m pytest -q\n"
NOXFILE = """
import os, nox
@nox.session(venv_backend="none")
def tests(session): session.run(os.environ["PY"], "-m", "pytest", "-q", external=True)
"""


@pytest.mark.parametrize(
    "script", ["tox -q -e py", "nox -s tests", "uv run --offline --no-project --python $PY python -m pytest -q"]
)
def test_through_the_tools_of_the_trade(bare: str, tools: Path, api: Path, log: Log, script: str) -> None:
    write(api, test_a=PASS + FAIL, noxfile=NOXFILE)
    (api / "tox.ini").write_text(TOX_INI)
    done = below(bare, api, f"{tools}/{script}")
    assert (done.code, [row["event_type"] for row in told(log)]) == (1, ["pytest_test", "pytest_session"]), done


def test_two_sessions_are_two_and_each_failure_is_its_own(bare: str, api: Path, log: Log) -> None:
    write(api, test_a=FAIL)
    below(bare, api, "$PY -m pytest & $PY -m pytest; wait")
    rows = told(log)
    assert sorted(row["event_type"] for row in rows) == ["pytest_session"] * 2 + ["pytest_test"] * 2
    assert len({row["session"] for row in rows}) == 2


def test_the_installed_plugin_below_run_is_one_set_of_rows(api: Path, log: Log) -> None:
    write(api, test_a=FAIL)
    done = run([*WAITBUS, "run", "--", PYTHON, "-m", "pytest", "--waitbus"], cwd=api, env={"WAITBUS_PYTEST": "1"})
    assert done.code == 1
    assert [row["event_type"] for row in told(log)] == ["pytest_test", "pytest_session"]


def test_run_below_run_is_one_set_of_rows(bare: str, api: Path, log: Log) -> None:
    write(api, test_a=FAIL)
    inner = f"{' '.join(WAITBUS)} run -- sh -c 'echo $PYTHONPATH; $PY -m pytest -q'"
    done = below(bare, api, inner)
    assert len(told(log)) == 2
    assert done.out.splitlines()[0].count(pytest_place.WHEEL) == 1


@pytest.mark.parametrize(
    "script",
    [
        "PYTHONPATH=src $PY -m pytest -q",
        "env -u PYTHONPATH $PY -m pytest -q",
        "$PY -I -m pytest -q",
        "$PY -E -m pytest -q",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $PY -m pytest -q",
        "PYTEST_ADDOPTS='-p no:waitbus' $PY -m pytest -q",
        "WAITBUS_PYTEST=0 $PY -m pytest -q",
    ],
)
def test_what_takes_the_way_away_only_takes_the_rows(bare: str, api: Path, log: Log, script: str) -> None:
    """None of these may end otherwise than without us; `-p NAME` in PYTEST_ADDOPTS would end most of them."""
    write(api, test_a=PASS)
    done = below(bare, api, script)
    assert (done.code, "1 passed" in done.out, done.err) == (0, True, "")
    assert told(log) == []


INSIDE = """
import os, pytest, subprocess, sys
def test_bad(): assert 0
def test_child(tmp_path):
    (tmp_path / "test_b.py").write_text("def test_inner(): assert 0")
    del os.environ["WAITBUS_PYTEST"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 1
def test_same_process(tmp_path):
    (tmp_path / "test_c.py").write_text("def test_inner(): assert 0")
    assert pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", str(tmp_path)]) == 1
"""


def test_sessions_inside_of_a_session_are_part_of_it(bare: str, api: Path, log: Log) -> None:
    """Also where a test has cleared the environment of what says so."""
    write(api, test_a=INSIDE)
    done = below(bare, api, "$PY -m pytest -p no:cacheprovider; $PY -m pytest -p no:cacheprovider -k bad")
    rows = [(row["event_type"], row.get("nodeid"), counts(row)) for row in told(log)]
    bad: Any = ("pytest_test", "test_a.py::test_bad", {})
    assert rows == [
        bad,
        ("pytest_session", None, {"failed": 1, "passed": 2}),
        bad,
        ("pytest_session", None, {"failed": 1}),
    ], done


def test_it_can_be_turned_off_for_all_of_it(bare: str, api: Path, log: Log) -> None:
    write(api, test_a=PASS)
    done = below(bare, api, "echo $PYTHONPATH$TOX_OVERRIDE.; $PY -m pytest -q", WAITBUS_PYTEST="0")
    assert (done.out.splitlines()[0], told(log)) == (".", [])


def test_options_and_paths_of_the_users_are_kept(bare: str, api: Path, log: Log) -> None:
    (api / "lib").mkdir()
    write(api / "lib", helper="X = 1\n")
    write(api, test_a="import helper\ndef test_x(): pass\ndef test_y(): assert 0\n")
    place = f"{api / 'lib'}"
    done = below(bare, api, "$PY -m pytest", PYTHONPATH=place, PYTEST_ADDOPTS="-k 'test_x and not z' -q")
    assert (done.code, counts(session_of(log))) == (0, {"passed": 1})


def test_pip_sees_no_package_more(bare: str, api: Path) -> None:
    script = "$PY -m pip --disable-pip-version-check list; $PY -m pip freeze --all; $PY -m pip check"
    with_us = below(bare, api, script)
    without = run(["sh", "-c", script], env={"PY": bare}, cwd=api, timeout=60)
    assert with_us == without


def test_what_goes_into_the_background_is_not_waited_for(bare: str, api: Path, log: Log) -> None:
    os.mkfifo(api / "fifo")
    write(api, test_a="def test_x():\n open('started', 'w').close()\n open('fifo').read()\n")
    script = "$PY -m pytest >/dev/null 2>&1 & while ! test -e started; do :; done"
    assert below(bare, api, script).code == 0
    assert told(log) == []
    (api / "fifo").write_text("")


def test_a_long_state_folder_is_no_obstacle(bare: str, api: Path, home: Path) -> None:
    state = home / ("s" * 120)
    write(api, test_a=PASS)
    assert below(bare, api, "$PY -m pytest -q", WAITBUS_STATE_DIR=str(state)).code == 0
    with Log(state / "events.db") as log:
        assert session_of(log)["conclusion"] == "success"


def test_a_folder_that_no_path_variable_can_say_leaves_the_command_alone(bare: str, api: Path, home: Path) -> None:
    write(api, test_a=PASS)
    done = below(bare, api, "echo $PYTHONPATH.; $PY -m pytest -q", WAITBUS_STATE_DIR=str(home / "a:b"))
    assert (done.code, done.out.splitlines()[0], done.err) == (0, ".", "")


def test_strangers_on_the_socket_harm_nothing(api: Path, log: Log) -> None:
    """Garbage, silence, and more connections than are heard."""
    program = """
import os, socket
folder = os.path.dirname(os.environ["PYTHONPATH"].split(":")[-1])
os.chdir(folder)
kept = []
for n in range(200):
    s = socket.socket(socket.AF_UNIX); s.settimeout(5)
    try:
        s.connect("s")
        s.sendall(b"\\0" * 100_000 if n % 2 else b'{"what": "start"}\\n')
    except OSError:
        pass
    kept.append(s)
"""
    done = run([*WAITBUS, "run", "--", PYTHON, "-c", program], cwd=api)
    assert (done.code, done.err, told(log)) == (0, "", [])


def test_nothing_is_left_and_what_a_killed_one_left_goes(spawn: Callable[..., Any], home: Path) -> None:
    relays = home / "s" / "relays"
    child = spawn("run", "--", "cat")
    eventually(lambda: relays.is_dir() and [name for name in relays.iterdir() if (name / "s").exists()])
    child.kill()
    child.wait(timeout=10)
    child.stdin.close()
    assert len([*relays.iterdir()]) == 2
    assert run([*WAITBUS, "run", "--", "true"]).code == 0
    (wheel,) = relays.iterdir()
    assert wheel.suffix == ".whl"


def test_the_wheel_is_the_plugin_and_nothing_else(home: Path) -> None:
    folder, listener = pytest_place.make(home / "relays")
    with listener, zipfile.ZipFile(folder / pytest_place.WHEEL) as wheel:
        assert wheel.read(f"{pytest_place.MODULE}.py") == Path(pytest_plugin.__file__).read_bytes()
        info = f"{pytest_place.MODULE}-1.dist-info"
        others = [f"{pytest_place.ENTRY}.py", f"{info}/METADATA", f"{info}/entry_points.txt", f"{info}/RECORD"]
        assert sorted(wheel.namelist()) == sorted([f"{pytest_place.MODULE}.py", *others])
        assert {one.compress_type for one in wheel.infolist()} == {zipfile.ZIP_STORED}
    pytest_place.remove(folder)


@pytest.mark.parametrize(("python", "has_version_tuple", "tells"), [((2, 7), False, False), ((3, 6), True, False),
    ((3, 7), False, False), ((3, 7), True, True)])  # fmt: skip
def test_what_is_too_old_for_the_plugin_gets_nothing(
    monkeypatch: pytest.MonkeyPatch, python: tuple[int, int], has_version_tuple: bool, tells: bool
) -> None:
    """An old pytest loads what it finds, too: there must be nothing in it that it could not read."""
    old = types.ModuleType("pytest")
    if has_version_tuple:
        old.version_tuple = (7, 0, 0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytest", old)
    monkeypatch.setitem(sys.modules, pytest_place.MODULE, pytest_plugin)
    monkeypatch.setattr(sys, "version_info", python)
    found: dict[str, Any] = {}
    exec(compile(pytest_place.ENTRY_SOURCE, "entry", "exec", dont_inherit=True), found)
    assert ("pytest_load_initial_conftests" in found) is tells


@pytest.mark.parametrize("version", ["pytest==7.0.1", "pytest==8.0.2", "pytest==6.2.5"])
def test_older_versions_of_pytest(tmp_path_factory: pytest.TempPathFactory, api: Path, log: Log, version: str) -> None:
    """7 is the oldest that is told of; those before it run as if we were not there."""
    python = str(environment(tmp_path_factory, version.replace("==", "-"), version) / "python")
    write(api, test_a=EVERY_OUTCOME)
    alone = run([python, "-m", "pytest", "-p", "no:cacheprovider", "--tb=no"], cwd=api, timeout=60)
    done = below(python, api, "$PY -m pytest -p no:cacheprovider --tb=no")
    assert (done.code, done.err) == (alone.code, "")
    ours = [line for line in done.out.splitlines() if not re.search(r" in |^plugins: waitbus_relay-1$", line)]
    assert ours == [line for line in alone.out.splitlines() if " in " not in line]
    sessions = [counts(row) for row in told(log) if row["event_type"] == "pytest_session"]
    expected = {"passed": 2, "failed": 2, "skipped": 1, "xfailed": 1, "xpassed": 1, "errors": 2}
    assert sessions == ([] if version.startswith("pytest==6") else [expected])


def test_both_sides_use_the_same_words() -> None:
    """The plugin can import nothing of ours."""
    assert (pytest_plugin.COPY, pytest_plugin.VARIABLE) == (pytest_place.MODULE, pytest_relay.VARIABLE)
    assert pytest_plugin.OFF == pytest_relay.OFF
    assert set(pytest_plugin.COUNTS) == set(OUTCOMES)
    assert set(pytest_plugin.COUNTS.values()) == COUNTED
    assert "WAITBUS_PYTEST=0" in (run_command.help or "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"PYTHONPATH": "/r/W", "TOX_OVERRIDE": pytest_relay.TOX}),
        ({"PYTHONPATH": ""}, {"PYTHONPATH": "/r/W", "TOX_OVERRIDE": pytest_relay.TOX}),
        ({"PYTHONPATH": "/a:/b"}, {"PYTHONPATH": "/a:/b:/r/W"}),
        ({"PYTHONPATH": "/a:"}, {"PYTHONPATH": "/a::/r/W"}),
        ({"PYTHONPATH": f"/old/{pytest_place.WHEEL}"}, {"PYTHONPATH": "/r/W", "TOX_OVERRIDE": pytest_relay.TOX}),
        ({"TOX_OVERRIDE": "x.y=z"}, {"PYTHONPATH": "/r/W", "TOX_OVERRIDE": "x.y=z"}),
        ({"PYTEST_ADDOPTS": "-q"}, {"PYTEST_ADDOPTS": "-q", "PYTHONPATH": "/r/W", "TOX_OVERRIDE": pytest_relay.TOX}),
    ],
)
def test_the_environment_of_the_command(before: dict[str, str], after: dict[str, str]) -> None:
    assert pytest_relay.injected({"A": "1", **before}, "/r/W") == {"A": "1", **after}
