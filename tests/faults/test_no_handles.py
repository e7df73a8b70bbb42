"""F4: no file handle is left, at whichever step of a command: it says so, and it is no bug of ours."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import support
from waitbus import handles
from waitbus.cli.failures import Failure, failure_of
from waitbus.errors import LogFull

LIMITS = range(5, 15)
"""From the least with which Python itself starts."""
NONE_LEFT = Failure("no file handle is left (Too many open files)", "close files, or raise `ulimit -n`", 74)


def limited(handles: int, *argv: str) -> support.Result:
    """The command with so many handles, three of which are its streams."""
    words = shlex.join([*support.WAITBUS, *argv])
    return support.run(["sh", "-c", f"ulimit -n {handles}; exec {words}"])


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("emit x", 0),
        ("wait x --timeout 50ms", 124),
        ("wait --all-of x=1 --timeout 50ms", 124),
        ("status", 0),
    ],
)
def test_a_command_without_handles_says_so(cli: Callable[..., Any], line: str, code: int, is_new: bool) -> None:
    """Sockets, the event loop, modules and SQLite, which does not say what it lacked."""
    if not is_new:
        cli("emit", "x")
    for limit in LIMITS:
        done = limited(limit, *line.split())
        assert done.code in (code, 74), (limit, done)
        if done.code == 74:
            assert "no file handle is left" in done.err + done.out, (limit, done)
            assert "Traceback" not in done.err, (limit, done)
        if done.code == 74 and line != "status":
            assert done.err.splitlines()[-1] == f"hint: {handles.HINT}", (limit, done)


@pytest.mark.parametrize("limit", range(5, 13))
def test_a_daemon_without_handles_says_so(limit: int) -> None:
    """Also where it lacks one for its lock."""
    done = limited(limit, "serve")
    assert done.code == 74, done
    assert done.err.splitlines()[-1] == f"hint: {handles.HINT}"


def test_under_json_it_is_one_object(home: Path) -> None:
    done = limited(5, "emit", "x", "--json")
    assert done.code == 74
    assert json.loads(done.err)["error"].startswith("no file handle is left")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError(24, "Too many open files"), NONE_LEFT),
        (OSError(24, "Too many open files", "/lib/x.py"), NONE_LEFT),
        (ImportError("x.so: cannot open shared object file: Too many open files"), NONE_LEFT._replace(
            message="no file handle is left (x.so: cannot open shared object file: Too many open files)"
        )),
        (ExceptionGroup("trio", [OSError(24, "Too many open files"), LogFull("later")]), NONE_LEFT),
        (OSError(5, "Input/output error"), None),
        (ImportError("no module x"), None),
    ],
)  # fmt: skip
def test_what_is_a_want_of_handles_and_what_a_bug(error: Exception, failure: Failure | None) -> None:
    assert failure_of(error) == failure
