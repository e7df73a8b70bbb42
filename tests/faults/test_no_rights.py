"""Folders that may not be looked into, and one that is gone: each command says so, by its exit code too, and calls it no bug."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import support
from tests.bus import Daemon
from tests.support import PYTHON
from waitbus import EventInsert, emit
from waitbus.client import bookmarks
from waitbus.store import shared
from waitbus.store.bookmarks import keep_from

# Root may look into everything, unless CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH are not his to have any more.
LAUNCH = """
import ctypes, os, sys
for capability in (1, 2):
    getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", 'import os, sys; os.access(sys.argv.pop(1), os.R_OK) and os._exit(99);'
    'from waitbus.cli import main; main()', *sys.argv[1:]])
"""

COMMANDS = (
    *("emit x", "cursor", "status", "init", "init --dry-run", "replay", "wait x --since 1h --timeout 100ms"),
    *("events query select", "read-events list", "bookmark list", "bookmark set b", "bookmark delete b", "db info"),
    *(
        "db prune",
        "db migrate",
        "db import",
        "config show",
        "config validate",
        "run -- true",
        "broadcast tap --timeout 1ms",
    ),
)


BY_NAME = (
    *("emit x --db a.db", "db info --db a.db", "wait --sha HEAD --timeout 1ms", "on x --since 1h --timeout 1s -- true"),
    "wait --pid 1 --timeout 1ms",
)
"""What looks at the current directory."""

Spawn = Callable[..., subprocess.Popen[str]]


def call(closed: Path, *argv: str) -> support.Result:
    """Run waitbus as somebody who may not look into `closed`."""
    done = support.run([PYTHON, "-c", LAUNCH, str(closed), *argv])
    if done.code == 99:
        pytest.skip("needs root: without the rights to give up its capabilities")
    return done


@pytest.fixture
def closed(request: pytest.FixtureRequest, home: Path) -> Iterator[Path]:
    """A folder that nobody may look into, in the place the parameter names; there is an event, a bookmark and a config file."""
    place = emit(EventInsert(source="agent", event_type="x")).event.event_id
    bookmarks.write("a", place)
    for name in ("c", "r", "s/bells"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    (home / "c" / "config.toml").write_text("")
    folder = home / request.param
    folder.chmod(0o000)
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize("closed", ["s", "c", "r", "s/cursors", "s/bells"], indirect=True)
def test_it_is_said_and_no_bug(closed: Path) -> None:
    for line in COMMANDS:
        done = call(closed, *line.split())
        assert done.code in (0, 2, 69, 74, 124), (line, done)
        assert "internal error" not in done.err, (line, done)
        if done.code not in (0, 124) and not line.startswith("status"):
            assert done.err.count("error: ") == done.err.count("hint: ") == 1, (line, done)


@pytest.mark.parametrize("closed", ["s"], indirect=True)
def test_a_log_that_may_not_be_looked_for_is_not_one_that_is_not_there(closed: Path) -> None:
    status = call(closed, "status")
    assert status.code == 74
    assert "Permission denied" in status.out
    assert "not there yet" not in status.out
    assert "daemon    not running" in status.out


@pytest.mark.parametrize("closed", ["s/cursors"], indirect=True)
def test_bookmarks_that_may_not_be_read_are_not_none(closed: Path) -> None:
    listed = call(closed, "bookmark", "list")
    assert (listed.code, listed.out) == (74, "")
    assert listed.err.startswith(f"error: the bookmarks in {closed} cannot be read: Permission denied\n")


@pytest.mark.parametrize("closed", ["c"], indirect=True)
def test_who_cannot_read_how_durable_it_is_to_be_is_as_durable_as_can_be(closed: Path) -> None:
    assert call(closed, "emit", "x").code == 0


SHA = "7f3a1b2c" + "0" * 32


def tell_of_run(number: int) -> None:
    fields = {"run_id": number, "head_sha": SHA, "workflow_name": "CI"}
    emit(EventInsert(source="github", event_type="workflow_run", conclusion="success", fields=fields))


@pytest.fixture
def sandbox(bus: Daemon, spawn: Spawn) -> Iterator[Spawn]:
    """Starts waitbus where the daemon's socket may be used, and the log may not be read."""
    tell_of_run(1)
    bus.log.chmod(0o000)

    def start(*argv: str) -> subprocess.Popen[str]:
        child = spawn("-c", LAUNCH, str(bus.log), *argv, program=(PYTHON,))
        try:
            support.read_until(child.stderr, "armed")  # type: ignore[arg-type]
        except AssertionError:
            if child.wait(10) == 99:
                pytest.skip("needs root: without the rights to give up its capabilities")
            raise
        return child

    yield start
    bus.log.chmod(0o600)


def test_a_commit_is_waited_for_where_nobody_can_look_at_the_past(sandbox: Spawn) -> None:
    """It is said, once; what comes over the socket counts."""
    waiting = sandbox("wait", "--sha", SHA, "--settle", "100ms", "--timeout", "20s")
    said = support.read_until(waiting.stderr, "what comes from now on counts")  # type: ignore[arg-type]
    assert said.startswith("waitbus: the past cannot be looked at (the log ")
    tell_of_run(2)
    out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (0, "workflow_run  CI  success  7f3a1b2\n")
    assert "cannot" not in err


def test_a_process_is_waited_for_where_the_log_cannot_be_read(sandbox: Spawn, spawn: Spawn) -> None:
    """Its end is not in the log, which is said, and it is the answer."""
    child = spawn("-c", "import sys; sys.stdin.read(); sys.exit(3)", program=(PYTHON,))
    waiting = sandbox("wait", "--pid", str(child.pid), "--timeout", "20s")
    child.stdin.close()  # type: ignore[union-attr]
    _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert "warning: the end of the process is not in the log: " in err
    assert "error" not in err


def test_what_bookmarks_keep_that_nobody_can_read_is_everything(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emit(EventInsert(source="agent", event_type="x"))
    assert keep_from(shared()) is None

    def refuse(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert keep_from(shared()) == 1


def test_a_current_directory_that_was_removed_is_no_bug(home: Path) -> None:
    """As after a `git checkout` in another terminal. What needs none works."""
    emit(EventInsert(source="agent", event_type="x"))
    for line in (*COMMANDS, *BY_NAME):
        gone = home / "gone"
        gone.mkdir()
        script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
        done = support.run(["sh", "-c", script, "sh", str(gone), *support.WAITBUS, *line.split()])
        assert done.code in (0, 1, 2, 124), (line, done)
        assert "internal error" not in done.err, (line, done)
        if line in COMMANDS[:7] or line.startswith("on "):
            assert done.code == 0, (line, done)
        if "--db" in line:
            assert done.err.startswith("error: 'a.db' leads nowhere: the current directory was removed\nhint: "), done
