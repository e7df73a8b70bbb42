"""Ctrl-C from our first line on: exit code 130 and not a word, whatever is being loaded or done."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import support

Spawn = Callable[..., "subprocess.Popen[str]"]

REACHED = """
import os, sys
from waitbus import __main__, interrupt
ours = interrupt.end_at_once
def reached():
    ours()
    os.write(1, b"reached\\n")
    sys.meta_path.insert(0, Interrupting())
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {at!r}:
            os.kill(os.getpid(), 2)
interrupt.end_at_once = reached
__main__.main()
"""
"""Says that our first line has run, and gets SIGINT when a module is about to be loaded."""

LOADED = [
    "waitbus.cli",
    "waitbus.errors",
    "waitbus.cli.program",
    "click",
    "waitbus.cli.command",
    "waitbus.cli.emit",
    "waitbus.events",
    "waitbus.store",
    "sqlite3",
]


def code(at: str = "") -> tuple[str, ...]:
    return (sys.executable, "-c", REACHED.format(at=at))


@pytest.mark.parametrize("module", LOADED)
def test_ctrl_c_while_a_module_is_loaded(module: str) -> None:
    assert support.run([*code(module), "emit", "x"]) == (130, "reached\n", "")


def test_where_it_is_ignored_it_stays_so() -> None:
    """A shell that starts a job in the background has it so."""
    done = support.run(["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *code("click"), "emit", "x", "-q"])
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "argv", [("status",), ("wait", "x", "--pid", "1", "--timeout", "1ms")], ids=lambda argv: argv[0]
)
def test_ctrl_c_at_any_moment(spawn: Spawn, argv: tuple[str, ...]) -> None:
    """Every 3 ms, from our first line to the end of the command."""
    seen = set()
    for step in range(25):
        child = spawn("-c", REACHED.format(at=""), *argv, program=(sys.executable,))
        assert child.stdout is not None
        support.read_until(child.stdout, "reached")
        try:
            child.wait(timeout=0.003 * step)
        except subprocess.TimeoutExpired:
            child.send_signal(2)
        _, err = child.communicate(timeout=20)
        assert "Traceback" not in err, (step, err)
        seen.add(child.returncode)
    assert seen <= {130, 0, 124}
    assert 130 in seen


def test_the_console_script_begins_where_this_does() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"waitbus": "waitbus.__main__:main"}
