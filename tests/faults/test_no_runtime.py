"""F23: a producer that has next to no environment wakes all the same; a state folder that may not be written is named."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import bus, support

ENV = shutil.which("env") or "/usr/bin/env"
STATE = (".local", "state", "waitbus") if sys.platform != "darwin" else ("Library", "Application Support", "waitbus")
Spawn = Callable[..., Any]


def bare(home: Path, *argv: str, **variables: str) -> support.Result:
    """`env -i HOME=... waitbus ...`, as cron would have it."""
    given = [f"{name}={value}" for name, value in variables.items()]
    return support.run([ENV, "-i", f"HOME={home}", *given, *support.WAITBUS, *argv], cwd="/")


@pytest.fixture
def waiter(home: Path, spawn: Spawn) -> Callable[[], Any]:
    """A wait of somebody who is logged in: it has a runtime directory, and no variable of ours."""

    def start() -> Any:
        session = ("-i", f"HOME={home}", f"XDG_RUNTIME_DIR={home / 'xr'}", f"PATH={os.environ['PATH']}")
        child = spawn("wait", "deploy", "--timeout", "30s", program=(ENV, *session, *support.WAITBUS))
        support.read_until(child.stderr, "armed")
        return child

    return start


@pytest.fixture
def daemon(home: Path) -> Iterator[bus.Daemon]:
    """The daemon of that session."""
    folders = {"WAITBUS_STATE_DIR": home.joinpath(*STATE), "WAITBUS_RUNTIME_DIR": home / "xr" / "waitbus"}
    with bus.daemon(home, **{name: str(folder) for name, folder in folders.items()}) as made:
        yield made


def told(home: Path, waiting: Any) -> None:
    done = bare(home, "emit", "deploy", "--conclusion", "failure")
    assert (done.code, done.err) == (0, "")
    out, _ = waiting.communicate(timeout=10)
    assert (waiting.returncode, out) == (1, "deploy  failure\n")


def test_a_bare_emit_wakes_a_wait_without_a_daemon(home: Path, waiter: Callable[[], Any]) -> None:
    """They share nothing but the home directory: log and bells stand below it."""
    told(home, waiter())


def test_a_bare_emit_wakes_a_wait_on_the_bus(home: Path, daemon: bus.Daemon, waiter: Callable[[], Any]) -> None:
    """The daemon's bell stands beside the log, not in the runtime directory, which this producer does not have."""
    waiting = waiter()
    said = bare(home, "status", "--json", XDG_RUNTIME_DIR=str(home / "xr"))
    assert json.loads(said.out)["bus"]["subscribers"] == 1, "the wait reads the log, and so proves nothing"
    told(home, waiting)


def test_two_bare_processes_meet(home: Path, spawn: Spawn) -> None:
    """Nobody has a runtime directory: a wait under cron, and an emit under cron."""
    waiting = spawn("wait", "deploy", "--timeout", "30s", program=(ENV, "-i", f"HOME={home}", *support.WAITBUS))
    support.read_until(waiting.stderr, "armed")
    told(home, waiting)


def test_a_bare_wait_finds_what_was_told_before(home: Path) -> None:
    done = bare(home, "emit", "deploy")
    cursor = done.out.split()[0]
    assert bare(home, "wait", "deploy", "--since", "1h", "--timeout", "10s").code == 0
    assert bare(home, "replay", "--text").out.startswith(cursor)
    assert bare(home, "cursor").out.strip() == cursor


def test_without_even_a_home_the_users_own_is_taken(home: Path) -> None:
    """`env -i waitbus`: the user data base knows it. Only asked where the log would be; nothing is written there."""
    done = support.run([ENV, "-i", *support.WAITBUS, "status", "--json"], cwd="/")
    assert done.code in (0, 74), done.err
    assert Path(json.loads(done.out)["log"]["path"]).is_absolute()
    done = support.run(
        [ENV, "-i", "HOME=", f"WAITBUS_STATE_DIR={home / 's'}", *support.WAITBUS, "emit", "deploy"], cwd="/"
    )
    assert (done.code, done.err) == (0, "")


# -- a state folder that may not be written ----------------------------------------------------------------------------

NOBODY = 65534
REFUSED = f"""
import os, sys
from waitbus.cli import failures, main
argv, good, bad = sys.argv[3:], sys.argv[1], sys.argv[2]
os.environ["WAITBUS_STATE_DIR"] = good
main(argv, standalone=False)  # who becomes nobody may have no right to import what is needed
sys.stdout.flush()
print("=====", file=sys.stderr, flush=True)
if os.geteuid() == 0:
    os.setgid({NOBODY})
    os.setuid({NOBODY})
os.environ["WAITBUS_STATE_DIR"] = bad
sys.exit(main(argv, standalone=False))
"""


@pytest.mark.parametrize(
    "argv",
    [
        ("emit", "deploy"),
        ("wait", "deploy", "--timeout", "1ms"),
        ("cursor",),
        ("replay",),
        ("bookmark", "set", "ci"),
        ("broadcast", "tap", "--timeout", "1ms"),
        ("db", "prune"),
        ("init",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("missing", [False, True], ids=["the folder", "its parent"])
def test_a_state_folder_that_may_not_be_written_is_named_with_its_variable(
    home: Path, argv: tuple[str, ...], missing: bool
) -> None:
    """A typed error, exit 74: which path, and which variable moves it. (Root may write anywhere, so it becomes nobody.)"""
    folder = home / "closed"
    folder.mkdir(mode=0o500)
    home.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    place = folder / "state" if missing else folder
    done = support.run([support.PYTHON, "-c", REFUSED, str(home / "s"), str(place), *argv], cwd="/")
    said = done.err.partition("=====\n")[2].splitlines()
    assert done.code == 74, done.err
    error, hint = [line for line in said if not line.startswith("waitbus: ")]
    assert error.startswith("error: ")
    assert str(place) in error
    assert hint.startswith("hint: ")
    assert argv == ("db", "prune") or "WAITBUS_STATE_DIR" in hint
