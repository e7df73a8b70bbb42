"""`waitbus demo`, the first thing a person runs: it shows what it says, in time, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.e2e.terminal import CTRL_C, Terminal
from tests.schemas import checked
from waitbus.errors import DemoFailed
from waitbus.ops import demo, stage
from waitbus.ops.stage import Stage

Cli = Callable[..., support.Result]

SHOWN = """\
1. One process waits, another one tells. Nothing was set up, no daemon runs.
   $ waitbus wait deploy_finished &
   $ waitbus emit deploy_finished --conclusion success --field env=staging
   deploy_finished  success  env=staging
   wait printed that and ended with exit code 0: yes

2. A command fails, and whoever waits for it knows.
   $ waitbus wait --source process --match name=build &
   $ waitbus run --name build -- sh -c 'exit 2'
   process_exited  build  failure  exit 2 after TIME  sh -c 'exit 2'
   run ended with 2, the command's own exit code; wait with 1: no

3. A file changes.
   $ waitbus wait --source fs --root src --glob '*.py' &
   $ echo 'PRICE = 42' > src/models.py
   fs_change  src/models.py  created
   nothing else watches that folder: wait did so itself, for as long as it waited

4. A test fails.
   $ waitbus wait pytest_session --source pytest &
   $ waitbus run --name tests -- python -m pytest shop/test_price.py
   pytest_session  shop  failure  1 failed, 1 passed in TIME  test_price.py::Price::test_discount
   run ended with 1, as the tests did, and so did wait: no

5. 100 messages from one process into the hands of another, timed by both, and again through `waitbus serve`.
   each reading the log   TIME median, TIME at worst
   through the daemon     TIME median, TIME at worst

6. The daemon is killed in the middle of it.
   $ kill -9 (the daemon)
   100 of 100 messages arrived, in order, none twice: the receiver went on by the log

7. Who comes late asks since when.
   $ C=$(waitbus cursor); ./deploy.sh; waitbus wait deploy_finished --since "$C"
   deploy_finished  success  env=staging
   it was over before wait began, and wait answered all the same

That took TIME; its folder and its processes are gone. Now try:
   waitbus wait --source process --match name=build --timeout 10m      # in one terminal
   waitbus run --name build -- make                                    # in another
   waitbus status
"""


@pytest.fixture(autouse=True)
def temp(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files in which nothing else is."""
    folder = home / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def nothing_is_left(temp: Path) -> bool:
    """No folder of the demo, and no process that has it in its environment."""
    return not any(temp.iterdir()) and not list(players(temp))


def players(temp: Path) -> list[str]:
    """The processes on the demo's stage."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"WAITBUS_STATE_DIR={temp}/".encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_it_shows_what_it_says_in_time(cli: Cli, temp: Path, home: Path) -> None:
    """Without a terminal; nothing on stderr; nobody's own log or folders are touched."""
    begun = time.monotonic()
    done = cli("demo", timeout=100)
    # 3 s on a quiet machine; on one that has more to do than it has processors, everything takes so much longer.
    assert time.monotonic() - begun < 15 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert (done.code, done.err) == (0, "")
    assert re.sub(r"\b[\d.]+ (ms|s)\b", "TIME", done.out) == SHOWN
    assert nothing_is_left(temp)
    assert not (home / "s").exists()
    assert not (home / "r").exists()


@pytest.mark.parametrize("found", ["6.2.5", None])
def test_without_a_pytest_that_tells_the_tests_are_those_of_unittest(
    temp: Path, monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    def version(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(demo, "version", version)
    with Stage() as made:
        act = demo.a_test_that_fails(made)
    assert act.facts["runner"] == "unittest"
    assert act.facts["event"].startswith("process_exited  tests  failure  exit 1 after ")
    assert nothing_is_left(temp)


def test_what_it_measured_as_json(cli: Cli, temp: Path) -> None:
    """Between two processes: more than nothing, and no more than it took."""
    told = checked("demo", cli("demo", "--json", timeout=100).out)
    for times in told["acts"]["messages"].values():
        assert 0 < times["median_ms"] <= times["worst_ms"] < told["took_s"] * 1000
    assert nothing_is_left(temp)


def test_what_is_set_here_has_no_say_there(cli: Cli, temp: Path, home: Path) -> None:
    """A wrong configuration, a time-out, options for pytest, a foreign `waitbus` in the folder it is called from."""
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text("no toml")
    (home / "work" / "waitbus").mkdir(parents=True)
    (home / "work" / "waitbus" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    env = {"WAITBUS_TIMEOUT": "1ms", "WAITBUS_LOG_LEVEL": "bogus", "PYTHONPATH": str(Path(__file__).parents[2])}
    env |= {"WAITBUS_PYTEST": "0", "PYTEST_ADDOPTS": "--no-such-option", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    code = "import sys; sys.path.remove(''); from waitbus.cli import main; main(['demo', '--json'])"
    done = support.run([sys.executable, "-c", code], cwd=home / "work", env=env, timeout=100)
    assert done.code == 0, done.err
    assert nothing_is_left(temp)


@pytest.mark.parametrize(
    ("number", "code", "after"),
    [
        (signal.SIGINT, 130, "1. "),
        (signal.SIGINT, 130, "3. "),
        (signal.SIGTERM, 143, "3. "),
        (signal.SIGHUP, 129, "1. "),
    ],
)
def test_it_cleans_up_when_it_is_interrupted(
    spawn: Callable[..., subprocess.Popen[str]], temp: Path, number: signal.Signals, code: int, after: str
) -> None:
    """In the middle of an act, without and with a daemon running."""
    child = spawn("demo")
    support.read_until(child.stdout, after)  # type: ignore[arg-type]
    if sys.platform == "linux":
        support.eventually(lambda: players(temp), what="a process on the stage")
    child.send_signal(number)
    out, err = child.communicate(timeout=15)
    assert child.returncode == code
    assert "That took" not in out
    assert err == ""
    assert nothing_is_left(temp)


def test_an_interrupt_in_the_middle_of_a_start_leaves_nobody(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the fork and the moment we know of the child."""
    spawn, before = Stage._spawn, signal.getsignal(signal.SIGINT)

    def interrupted(self: Stage, *given: Any) -> Any:
        child = spawn(self, *given)
        os.kill(os.getpid(), signal.SIGINT)
        return child

    monkeypatch.setattr(Stage, "_spawn", interrupted)
    with pytest.raises(KeyboardInterrupt), Stage() as made:
        made.start("wait", "nothing", "--timeout", "1m")
    assert nothing_is_left(temp)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_on_a_terminal(temp: Path) -> None:
    """The terminal's SIGINT goes to the demo alone, which ends the others."""
    with Terminal((*support.WAITBUS, "demo")) as screen:
        screen.read_until("1. ")
        screen.type(CTRL_C)
        assert screen.wait() == 130
        assert "Traceback" not in screen.said
    assert nothing_is_left(temp)


def test_something_that_does_not_work_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], temp: Path
) -> None:
    """It is a smoke test, too: here the emit says failure."""
    from waitbus.cli import main

    monkeypatch.setattr(demo, "DEPLOY", ("emit", "deploy_finished", "--conclusion", "failure"))
    assert main(["demo"], standalone=False) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: `waitbus wait` ended with 1, and 0 was due")
    assert "\nhint: it should have worked: please report it\n" in said.err
    assert nothing_is_left(temp)


def test_a_process_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch, temp: Path) -> None:
    monkeypatch.setattr(stage, "PATIENCE", 0.3)
    with Stage() as made:
        waiter = made.start("wait", "nothing", "--timeout", "1m")
        with pytest.raises(DemoFailed, match=r"`waitbus wait` did not end within 0\.3 s"):
            made.end(waiter)
        with pytest.raises(DemoFailed, match=r"`waitbus wait` did not say 'armed twice'"):
            made.hear(made.start("wait", "nothing", "--timeout", "1m"), "armed twice")
    assert nothing_is_left(temp)


class _Said:
    """A stage whose player said this."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def end(self, _child: object) -> str:
        return json.dumps({"numbers": self.numbers, "took_ns": []})


@pytest.mark.parametrize("numbers", [[0, 2], [0, 1, 1, 2], [0, 2, 1]])
def test_a_message_that_is_lost_doubled_or_early_is_a_failure(numbers: list[int]) -> None:
    """It would be the one thing that must not happen."""
    with pytest.raises(DemoFailed, match="of 3 messages"):
        demo._received(_Said(numbers), None, 3)  # type: ignore[arg-type]


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(DemoFailed, match="no folder for the demo: No such file or directory"):
        Stage()


def test_a_long_temporary_folder_is_gone_around(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A socket's name has 107 bytes."""
    long = home / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with Stage() as made:
        assert len(os.fsencode(made.folder / "run" / "broadcast.sock")) < 104
        assert "serving" in made.hear(made.start("serve"), "serving")
