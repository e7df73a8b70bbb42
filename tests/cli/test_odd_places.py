"""Whatever stands in the place of a file of ours, every command answers at once: an exit code of the table, and sentences.

A pipe that nobody writes into holds up whoever opens it; a device never ends; the current directory may be gone.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_argv import CODES, LEFT_OUT, bounded
from waitbus.cli import lazy, main

LINES = [
    "wait never --timeout 1ms",
    "wait --source of_a_plugin --timeout 1ms",
    "wait --source fs --timeout 1ms",
    "wait --all-of a=1 --all-of b=1 --timeout 1ms",
    "wait --exists built --timeout 1ms",
    "wait --gone build.lock --timeout 1ms",
    "wait --root src --timeout 1ms",
    "wait --sha 1234567 --timeout 1ms",
    "on deploy --since 1h --timeout 1ms -- true",
    "emit deploy",
    "emit deploy --db other.db",
    "status",
    "replay --bookmark ci",
    "read-events list",
    "read-events watch --timeout 1ms",
    "broadcast tap --timeout 1ms",
    "events query SELECT\xa01",
    "cursor",
    "bookmark list",
    "bookmark set ci",
    "bookmark delete ci",
    "db info --check",
    "db migrate",
    "db prune --dry-run",
    "db prune --vacuum",
    "db import",
    "init",
    "config validate",
    "config validate c.toml",
    "config schema --out schema.json",
    "config show",
    "source list",
    "source show fs",
    "source verify docker",
    "allowlist list",
    "allowlist add timer",
    "allowlist remove timer",
    "allowlist verify",
    "allowlist repair",
    "completion bash",
]
"""One line of each command, or more; what it does may fail, in words."""

PLACES = (
    *("s/events.db", "s/events.db-wal", "s/events.db-shm", "s/events.lock", "s/daemon.lock", "r/daemon.lock"),
    *("s/bells", "s/cursors", "s/cursors/bookmark-ci.txt", "s/declared", "s/relays", "s/reports", "s/no-daemon-said"),
    *("r/broadcast.sock", "c/config.toml", "c/plugins.toml", "c/plugins.lock"),
)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "socket": _socket,
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 20),
    "empty": Path.touch,
}


def answers(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It ends within 10 s, with a code of the table, and without a word that is none for people."""
    with bounded(10):
        code = main([word.replace("\xa0", " ") for word in line.split(" ")], standalone=False)
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said, line
    assert "internal error" not in said, f"{line}\n{said}"
    assert "[Errno" not in said, f"{line}\n{said}"
    assert code in CODES, f"{line}\n{said}"


@pytest.fixture
def used(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Path:
    """A home in which all of our files are, and a current directory."""
    folder = home / "w"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for line in ("init -q", "emit deploy -q", "bookmark set ci", "wait never --timeout 1ms -q"):
        main(line.split(), standalone=False)
    capfd.readouterr()
    return home


def test_every_command_has_a_line() -> None:
    named = {
        name for name, _ in lazy.iter_commands() if any(f"waitbus {line} ".startswith(f"{name} ") for line in LINES)
    }
    assert {name for name, _ in lazy.iter_commands()} - named == set(LEFT_OUT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_something_else_stands_in_the_place_of_a_file(
    used: Path, capfd: pytest.CaptureFixture[str], place: str, kind: str
) -> None:
    path = used / place
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    KINDS[kind](path)
    for line in LINES:
        answers(line, capfd)


def test_the_current_directory_is_gone(used: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is written from / goes on; what is relative leads nowhere, and that is said."""
    (used / "w").rmdir()
    for line in LINES:
        answers(line, capfd)
