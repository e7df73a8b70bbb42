"""F1, for sources: a wait whose source the daemon runs, and that daemon is killed, stopped, ended or replaced. Real processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bus import Daemon, daemon
from tests.logs import rows
from tests.schemas import checked
from tests.support import PYTHON, eventually, read_until
from waitbus.store import Log

Spawn = Callable[..., Any]
SAID = "waitbus: the daemon watches src no longer; watching it here while this command waits"


@pytest.fixture
def src(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `src` in the current directory, with a file in it that is older than any daemon."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "src" / "app"
    folder.mkdir(parents=True)
    (folder / "old.py").write_text("old")
    return tmp_path / "src"


def configure(home: Path, text: str) -> None:
    (home / "c").mkdir(exist_ok=True)
    (home / "c" / "config.toml").write_text(text, encoding="utf-8")


def watching(home: Path) -> Any:
    """A daemon that hears its sources."""
    return _Up(daemon(home))


class _Up:
    def __init__(self, made: Any) -> None:
        self._made = made

    def __enter__(self) -> Daemon:
        bus: Daemon = self._made.__enter__()
        eventually(lambda: [row for row in bus.report()["sources"] if row["state"] == "up"])
        return bus

    def __exit__(self, *error: Any) -> None:
        self._made.__exit__(*error)


@pytest.fixture
def bus(home: Path, src: Path) -> Iterator[Daemon]:
    """A daemon that watches `src`, and whose heart beats so often that it may fall silent for 0.5 s."""
    configure(home, f'heartbeat_sec = 0.2\n[sources.fs]\nenabled = true\nroots = ["{src}"]\n')
    with watching(home) as running:
        yield running


def wait(spawn: Spawn, *options: str) -> Any:
    """A wait that is armed, and says nothing of watching anything."""
    child = spawn("wait", "--root", "src", "--timeout", "20s", *options)
    assert read_until(child.stderr, "armed").splitlines() == ["armed"]
    return child


def kill(bus: Daemon) -> None:
    """It is given no time to say anything, and neither are we: whoever returns from this has done nothing else."""
    os.kill(bus.pid, signal.SIGKILL)


def end(child: Any) -> tuple[int, str, list[str]]:
    out, err = child.communicate(timeout=20)
    return child.returncode, out, err.splitlines()


def changes(log: Log) -> list[tuple[str, str]]:
    told = (json.loads(row.fields) for row in rows(log) if row.event_type == "fs_change")
    return [(fields["action"], fields["relpath"]) for fields in told]


def queues(pid: int) -> int:
    """How many queues of notifications a process has."""
    found = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return sum("inotify" in target for target in found)


# -- while the daemon lives --------------------------------------------------------------------------------------------

MODULES = """
import sys
from waitbus.cli import main
code = main(sys.argv[1:], standalone=False)
print(code, *[name for name in sys.modules if name.startswith(("waitbus.sources.fs", "waitbus.sources.inotify"))])
"""


def test_on_standby_nothing_is_watched(bus: Daemon, spawn: Spawn) -> None:
    child = wait(spawn)
    assert queues(child.pid) == 0
    kill(bus)
    read_until(child.stderr, SAID)
    eventually(lambda: queues(child.pid) == 1)


def test_on_standby_nothing_of_the_source_is_imported(bus: Daemon, spawn: Spawn) -> None:
    child = spawn("-c", MODULES, "wait", "--root", "src", "--timeout", "300ms", program=(PYTHON,), cwd=os.getcwd())
    out, _ = child.communicate(timeout=20)
    assert out == "124\n"


# -- when it is gone ---------------------------------------------------------------------------------------------------


def test_a_change_right_behind_the_kill_is_found(bus: Daemon, spawn: Spawn, src: Path, log: Log) -> None:
    child = wait(spawn)
    kill(bus)
    (src / "app" / "a.py").write_text("a")
    assert end(child) == (0, "fs_change  src/app/a.py  created\n", [SAID])
    assert changes(log) == [("created", "app/a.py")]


def test_a_change_later_is_heard(bus: Daemon, spawn: Spawn, src: Path, log: Log) -> None:
    child = wait(spawn)
    kill(bus)
    read_until(child.stderr, SAID)
    eventually(lambda: queues(child.pid) == 1)
    (src / "app" / "old.py").write_text("changed")
    assert end(child)[0] == 0
    assert [path for _, path in changes(log)] == ["app/old.py"]


def test_what_the_daemon_told_is_not_told_again(bus: Daemon, spawn: Spawn, src: Path, log: Log) -> None:
    """The first wait hears of it by the daemon; the second began behind it and has no part in it."""
    first = wait(spawn, "--count", "2")
    (src / "a.py").write_text("a")
    read_until(first.stderr, "1/2")
    second = wait(spawn)
    kill(bus)
    for child in (first, second):
        read_until(child.stderr, SAID)
    eventually(lambda: [queues(child.pid) for child in (first, second)] == [1, 1])
    os.chmod(src / "a.py", 0o600)
    (src / "b.py").write_text("b")
    assert [end(child)[:2] for child in (first, second)] == [(0, "fs_change  src/b.py  created\n")] * 2
    assert changes(log) == [("created", "a.py"), ("created", "b.py")]


def test_a_file_that_the_daemon_told_of_is_told_as_modified(bus: Daemon, spawn: Spawn, src: Path, log: Log) -> None:
    (src / "a.py").write_text("a")
    eventually(lambda: changes(log))
    child = wait(spawn)
    kill(bus)
    (src / "a.py").write_text("changed")
    assert end(child)[:2] == (0, "fs_change  src/a.py  modified\n")


def test_a_daemon_that_hangs_is_not_waited_for(bus: Daemon, spawn: Spawn, src: Path, log: Log) -> None:
    child = wait(spawn)
    os.kill(bus.pid, signal.SIGSTOP)
    (src / "a.py").write_text("a")
    code, out, said = end(child)
    assert (code, out) == (0, "fs_change  src/a.py  created\n")
    assert said == ["waitbus: the daemon fell silent; reading the log directly", SAID]
    os.kill(bus.pid, signal.SIGCONT)
    (src / "b.py").write_text("b")
    eventually(lambda: len(changes(log)) == 2)
    assert changes(log) == [("created", "a.py"), ("created", "b.py")], "it has read of both by now"


def test_a_daemon_that_ends_says_so_and_is_stood_in_for(bus: Daemon, spawn: Spawn, src: Path) -> None:
    child = spawn("wait", "--source", "fs", "--root", "src", "--timeout", "20s")
    read_until(child.stderr, "armed")
    bus.stop()
    assert read_until(child.stderr, SAID).splitlines() == [
        "warning: fs is down: the daemon was stopped; waiting on",
        SAID,
    ]
    (src / "a.py").write_text("a")
    assert end(child) == (0, "fs_change  src/a.py  created\n", [])


def test_a_daemon_that_returns_makes_no_second_row(bus: Daemon, spawn: Spawn, home: Path, src: Path, log: Log) -> None:
    children = [wait(spawn, "--source", "fs", "--count", "2") for _ in range(2)]
    kill(bus)
    (src / "a.py").write_text("a")
    for child in children:
        read_until(child.stderr, "1/2")
    with watching(home) as again:
        eventually(lambda: again.report()["subscribers"])
        (src / "b.py").write_text("b")
        assert [end(child)[:2] for child in children] == [(0, "fs_change  src/b.py  created\n")] * 2
        (src / "c.py").write_text("c")
        eventually(lambda: ("created", "c.py") in changes(log))
    assert changes(log) == [("created", name) for name in ("a.py", "b.py", "c.py")]


def test_a_daemon_that_comes_without_the_source_is_no_help(bus: Daemon, spawn: Spawn, home: Path, src: Path) -> None:
    child = wait(spawn)
    configure(home, "")
    kill(bus)
    with daemon(home):
        read_until(child.stderr, SAID)
        (src / "a.py").write_text("a")
        assert end(child)[:2] == (0, "fs_change  src/a.py  created\n")


def test_what_cannot_be_watched_here_is_said_and_waited_for(bus: Daemon, spawn: Spawn, home: Path, src: Path) -> None:
    child = wait(spawn)
    configure(home, '[sources.fs]\ndebounce = "soon"\n')
    kill(bus)
    said = read_until(child.stderr, "waiting on")
    assert said.startswith("warning: fs cannot be watched here: sources.fs.debounce: ")
    configure(home, f'[sources.fs]\nenabled = true\nroots = ["{src}"]\n')
    with watching(home):
        (src / "a.py").write_text("a")
        assert end(child) == (0, "fs_change  src/a.py  created\n", [])


# -- whatever it waits for ---------------------------------------------------------------------------------------------


def test_several_folders_and_clauses(bus: Daemon, spawn: Spawn, src: Path) -> None:
    clauses = ("--all-of", "fs:path*=app/a.py", "--all-of", "fs:path*=lib/b.py", "--glob", "*.py")
    (src / "lib").mkdir()
    child = spawn("wait", "--root", "src/app", "--root", "src/lib", *clauses, "--timeout", "20s", "--json")
    read_until(child.stderr, "armed")
    kill(bus)
    (src / "app" / "a.py").write_text("a")
    (src / "lib" / "b.txt").write_text("b")
    said = read_until(child.stderr, "no longer")
    assert said == (
        "waitbus: the daemon watches src/app and src/lib no longer; watching them here while this command waits\n"
    )
    (src / "lib" / "b.py").write_text("b")
    code, out, _ = end(child)
    assert code == 0
    assert {json.loads(line)["fields"]["path"] for line in out.splitlines()} == {
        f"{src}/app/a.py",
        f"{src}/lib/b.py",
    }


def test_without_a_root_it_is_what_the_daemon_watched(bus: Daemon, spawn: Spawn, src: Path) -> None:
    child = spawn("wait", "--source", "fs", "--timeout", "20s")
    read_until(child.stderr, "armed")
    kill(bus)
    read_until(child.stderr, f"the daemon watches {src} no longer")
    (src / "a.py").write_text("a")
    assert end(child)[:2] == (0, "fs_change  src/a.py  created\n")


def test_on_with_loop_too_also_for_what_happens_while_its_command_runs(
    bus: Daemon, spawn: Spawn, src: Path, log: Log
) -> None:
    script = 'echo got $WAITBUS_SUMMARY; case "$WAITBUS_SUMMARY" in *a.py*) read go;; esac'
    child: Any = spawn("on", "--root", "src", "--loop", "--timeout", "20s", "--", "sh", "-c", script)
    read_until(child.stderr, "armed")
    (src / "a.py").write_text("a")
    read_until(child.stdout, "a.py")
    kill(bus)
    (src / "b.py").write_text("b")
    bus.process.wait()
    child.stdin.write("go\n")
    child.stdin.flush()
    read_until(child.stdout, "b.py")
    (src / "c.py").write_text("c")
    read_until(child.stdout, "c.py")
    child.terminate()
    assert end(child)[0] == 143
    assert changes(log) == [("created", name) for name in ("a.py", "b.py", "c.py")]


def test_many_waits_that_take_over_make_one_row(bus: Daemon, spawn: Spawn, src: Path, log: Log) -> None:
    children = [wait(spawn, "--json") for _ in range(4)]
    kill(bus)
    (src / "a.py").write_text("a")
    ends = [end(child) for child in children]
    assert [code for code, _, _ in ends] == [0] * 4
    assert len({checked("wait", out)["event_id"] for _, out, _ in ends}) == 1
    assert changes(log) == [("created", "a.py")]
