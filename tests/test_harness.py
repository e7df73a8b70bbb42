"""The ground the other tests stand on: isolation, trio, bounded waits, and the gate of a full run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import gate, support


def test_each_test_has_short_folders_of_its_own(home: Path) -> None:
    """No test reads or writes the state of whoever runs it, and a socket path fits."""
    for name in ("WAITBUS_STATE_DIR", "WAITBUS_RUNTIME_DIR", "WAITBUS_CONFIG_DIR", "XDG_RUNTIME_DIR", "HOME"):
        assert Path(os.environ[name]).is_relative_to(home)
    assert len(os.environ["WAITBUS_RUNTIME_DIR"]) < 60
    assert {name for name in os.environ if name.startswith("WAITBUS_")} == {
        "WAITBUS_STATE_DIR",
        "WAITBUS_RUNTIME_DIR",
        "WAITBUS_CONFIG_DIR",
    }


async def test_an_async_test_runs_on_trio() -> None:
    """`async def` needs no marker."""
    await trio.lowlevel.checkpoint()
    assert trio.lowlevel.current_task() is not None


async def test_time_can_jump(autojump_clock: trio.testing.MockClock) -> None:
    """An hour passes at once under a clock that jumps."""
    before = trio.current_time()
    await trio.sleep(3600)
    assert trio.current_time() - before == 3600


async def test_a_deadlock_under_a_jumping_clock_ends_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """The limit of the harness is a deadline like any other, so the clock jumps to it."""
    with pytest.raises(trio.TooSlowError), trio.fail_after(10**6):
        await trio.sleep_forever()


@settings(max_examples=5)
@given(st.integers())
async def test_hypothesis_may_be_async(number: int) -> None:
    """Each example runs in a trio run of its own."""
    await trio.lowlevel.checkpoint()
    assert isinstance(number, int)


def test_a_spawned_child_is_read_line_by_line_and_dies_with_the_test(
    spawn: Callable[..., subprocess.Popen[str]],
) -> None:
    """What comes after the awaited line is still there to be read."""
    child = spawn("-c", "print('one'); print('armed'); print('three', flush=True); input()", program=(sys.executable,))
    assert child.stdout is not None
    assert support.read_until(child.stdout, "armed") == "one\narmed\n"
    assert support.read_until(child.stdout, "three") == "three\n"
    assert child.poll() is None


def test_waits_are_bounded(spawn: Callable[..., subprocess.Popen[str]]) -> None:
    """A condition that never comes true fails, with what was seen last."""
    with pytest.raises(AssertionError, match="still 0"):
        support.eventually(lambda: 0, timeout=0.02)
    child = spawn("-c", "print('something else')", program=(sys.executable,))
    assert child.stdout is not None
    with pytest.raises(AssertionError, match="something else"):
        support.read_until(child.stdout, "armed")


SUITE = """
import pytest
def test_one(): pass
def test_two(): pytest.skip("no moon tonight")
"""


ALL = {"tests": "*", "reason": "*", "why": "it is a test"}


@pytest.mark.parametrize(
    ("minimum", "allowed", "where"),
    [
        (1, [{**ALL, "tests": "*::test_two", "reason": "no moon*"}], []),
        (1, [], ["test_suite.py::test_two"]),
        (1, [{**ALL, "tests": "*::test_one"}], ["test_suite.py::test_two"]),
        (1, [{**ALL, "reason": "no sun*"}], ["test_suite.py::test_two"]),
        (2, [ALL], ["tests/minimum"]),
    ],
)
def test_the_gate_knows_what_is_wrong(minimum: int, allowed: list[dict[str, str]], where: list[str]) -> None:
    """A skip needs an entry that covers both its test and its reason; the number is of tests that ran."""
    door = gate.Gate(minimum, allowed)
    for name, when, outcome, told in (
        ("one", "setup", "passed", None),
        ("one", "call", "passed", None),
        ("two", "call", "skipped", ("test_suite.py", 4, "Skipped: no moon tonight")),
    ):
        door.pytest_runtest_logreport(
            pytest.TestReport(f"test_suite.py::test_{name}", ("", 0, ""), {}, outcome, told, when)  # type: ignore[arg-type]
        )
    assert [place for place, _ in door.complaints()] == where


def test_a_run_that_the_gate_refuses_says_so_in_its_closing_line(home: Path) -> None:
    """Exit code and closing line both tell, though no test failed."""
    (home / "test_suite.py").write_text(SUITE)
    (home / "minimum").write_text("2")
    (home / "skips.toml").write_text("")
    register = "def pytest_configure(config): config.pluginmanager.register(gate.read_gate(Path(__file__).parent))\n"
    (home / "conftest.py").write_text("from pathlib import Path\nfrom tests import gate\n" + register)
    ended = support.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(home), str(home)],
        env={"PYTHONPATH": str(Path(gate.__file__).parent.parent)},
    )
    assert ended.code == 1, ended.out
    assert "1 passed, 1 skipped, 2 errors in " in ended.out.splitlines()[-1]
    assert "1 tests ran, tests/minimum asks for 2" in ended.out
    assert "tests/skips.toml does not list: no moon tonight" in ended.out


def test_an_entry_of_the_skips_says_why(tmp_path: Path) -> None:
    """A reason that explains nothing is refused before any test runs."""
    (tmp_path / "minimum").write_text("1")
    (tmp_path / "skips.toml").write_text('[[skip]]\ntests = "*"\nreason = "*"\n')
    with pytest.raises(pytest.UsageError, match="tests, reason and why"):
        gate.read_gate(tmp_path)
