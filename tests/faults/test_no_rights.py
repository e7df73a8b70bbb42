"""Folders that may not be looked into, and one that is gone: each command says so, by its exit code too, and calls it no bug."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import support
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
