"""Files inside of `wait`, `on` and the library, with the source itself: without a daemon, beside one, and left to one."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import waitbus
from tests.bus import daemon
from tests.logs import rows
from tests.schemas import checked
from tests.support import eventually, read_until
from waitbus.errors import ConfigError
from waitbus.store import Log

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def src(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `src` in the current directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "src" / "app"
    folder.mkdir(parents=True)
    return tmp_path / "src"


def armed(child: Any) -> list[str]:
    return read_until(child.stderr, "armed").splitlines()


def end(child: Any) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=20)
    return child.returncode, out, err


def changes(log: Log) -> list[dict[str, Any]]:
    return [json.loads(row.fields) for row in rows(log) if row.event_type == "fs_change"]


def test_a_file_that_changes(spawn: Spawn, src: Path, log: Log) -> None:
    """The transcript of UX.md."""
    child = spawn("wait", "--source", "fs", "--root", "src", "--glob", "*.py", "--timeout", "20s")
    assert armed(child)[-2:] == [
        "waitbus: no daemon watches src; watching it here while this command waits",
        "armed",
    ]
    (src / "app" / "notes.txt").write_text("x")
    (src / "app" / "models.py").write_text("x")
    code, out, _ = end(child)
    assert (code, out.startswith("fs_change  src/app/models.py  ")) == (0, True)
    assert {change["path"] for change in changes(log)} == {str(src / "app" / "models.py")}


def test_two_waits_and_a_daemon_make_one_row(spawn: Spawn, src: Path, home: Path, log: Log) -> None:
    """F16. The waits watch another folder than the daemon, so that they watch by themselves; the file lies in both."""
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text(f'[sources.fs]\nenabled = true\nroots = ["{src}/app"]\n')
    with daemon(home) as bus:
        eventually(lambda: [row for row in bus.report()["sources"] if row["state"] == "up"])
        children = [spawn("wait", "--root", "src", "--timeout", "20s", "--json") for _ in range(2)]
        for child in children:
            assert "waitbus: no daemon watches src; watching it here while this command waits" in armed(child)
        (src / "app" / "a.py").touch()
        ends = [end(child) for child in children]
        eventually(lambda: [row for row in bus.report()["sources"] if row["heard"] or row["events"] == 0])
    assert [code for code, _, _ in ends] == [0, 0]
    assert len({checked("wait", out)["event_id"] for _, out, _ in ends}) == 1
    assert [change["path"] for change in changes(log)] == [f"{src}/app/a.py"]


def test_a_folder_that_the_daemon_watches_is_left_to_it(spawn: Spawn, src: Path, home: Path) -> None:
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text(f'[sources.fs]\nenabled = true\nroots = ["{src}"]\n')
    with daemon(home) as bus:
        eventually(lambda: [row for row in bus.report()["sources"] if row["state"] == "up"])
        child = spawn("wait", "--root", "src/app", "--glob", "*.py", "--timeout", "20s")
        assert armed(child) == ["armed"]
        (src / "b.py").touch()
        (src / "app" / "a.py").touch()
        assert end(child)[:2] == (0, "fs_change  src/app/a.py  created\n")


def test_on_runs_its_command_for_each_change(spawn: Spawn, src: Path) -> None:
    script = "echo got $WAITBUS_SUMMARY"
    child = spawn("on", "--root", "src", "--glob", "*.py", "--loop", "--timeout", "20s", "--", "sh", "-c", script)
    armed(child)
    for name in ("a.py", "b.py"):
        (src / name).touch()
        assert name in read_until(child.stdout, "got ")  # type: ignore[arg-type]
    child.terminate()
    assert end(child)[0] == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_stopped_at_once(spawn: Spawn, src: Path, number: signal.Signals) -> None:
    child = spawn("wait", "--root", "src", "--timeout", "20s")
    armed(child)
    begun = time.monotonic()
    child.send_signal(number)
    assert end(child)[0] == 128 + number
    assert time.monotonic() - begun < 2


async def test_the_library_under_trio(src: Path) -> None:
    found: list[Any] = []

    async def wait() -> None:
        found.append(await waitbus.await_for(sources=[waitbus.watch_files("src", "*.py")], timeout=20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        number = 0
        while not found:  # it has no `armed` to wait for
            number += 1
            await trio.to_thread.run_sync((src / f"{number}.py").touch)
            with trio.move_on_after(0.05):
                await trio.sleep_forever()
    assert found[0].fields["path"].endswith(".py")
    assert found[0].event_type == "fs_change"


def test_the_library_in_a_script(src: Path) -> None:
    assert waitbus.wait_for(sources=[waitbus.watch_files("src", "*.py")], timeout=0.2) is None


# -- what the table says -----------------------------------------------------------------------------------------------

TABLE = 'enabled = false\nexclude = ["build/"]\ngitignore = false\ndebounce = "500ms"\n'


def configure(home: Path, table: str) -> None:
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text(f"[sources.fs]\n{table}")


def test_what_the_table_says_of_files_holds(spawn: Spawn, src: Path, home: Path, log: Log) -> None:
    configure(home, TABLE)
    subprocess.run(["git", "init", "-q", "src"], check=True)
    (src / ".gitignore").write_text("*.py")
    (src / "build").mkdir()
    child = spawn("wait", "--root", "src", "--glob", "*.py", "--timeout", "20s")
    armed(child)
    (src / "build" / "a.py").write_text("x")
    for text in ("1", "22", "333"):
        (src / "b.py").write_text(text)
    assert end(child)[0] == 0
    assert [(change["path"], change["size"]) for change in changes(log)] == [(str(src / "b.py"), 3)]


@pytest.mark.parametrize(
    ("options", "names"), [((), ("a.txt", "b.py")), (("--glob", "*.txt"), ("a.py", "b.txt"))], ids=["table", "glob"]
)
def test_what_it_includes_holds_unless_a_glob_is_given(
    spawn: Spawn, src: Path, home: Path, log: Log, options: tuple[str, ...], names: tuple[str, str]
) -> None:
    configure(home, 'include = ["*.py"]\n')
    child = spawn("wait", "--root", "src", *options, "--timeout", "20s")
    armed(child)
    for name in names:
        (src / name).touch()
    assert end(child)[0] == 0
    assert [change["path"] for change in changes(log)] == [str(src / names[1])]


async def test_it_holds_in_the_library_too(src: Path, home: Path) -> None:
    configure(home, 'exclude = ["build/"]\ninclude = ["*.txt"]\n')
    (src / "build").mkdir()
    found: list[Any] = []

    async def wait() -> None:
        found.append(await waitbus.await_for(sources=[waitbus.watch_files("src", "*.py")], timeout=20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        number = 0
        while not found:
            number += 1
            for place in ("build/", "app/"):
                await trio.to_thread.run_sync((src / f"{place}{number}.py").touch)
            with trio.move_on_after(0.05):
                await trio.sleep_forever()
    assert found[0].fields["relpath"].startswith("app/")


def test_a_table_that_is_wrong_is_told_where_it_is_used(src: Path, home: Path) -> None:
    configure(home, 'debounce = "soon"\n')
    with pytest.raises(ConfigError, match=r"sources\.fs\.debounce"):
        waitbus.watch_files("src")
    with pytest.raises(ConfigError, match=r"sources\.fs\.debounce"):
        waitbus.decide(sources=[waitbus.watch_source("fs")], timeout=5)
