"""Who is behind a pid, as far as the kernel tells: what it was called with, and which locks it holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_INTERPRETERS = ("python", "pypy")
_READ_MARKS = range(124, 128)
"""Bytes of the `-shm` file on which a reader of the WAL holds a lock (SQLite's walformat, WAL_READ_LOCK 1 to 4).

The mark before them belongs to readers of the main file alone, who keep nobody from resetting the WAL.
"""


def command_name(pid: int | None) -> str:
    """A short name for what a process runs (`waitbus wait`, `worker.py`), or "" where nobody tells."""
    if pid is None:
        return ""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            raw = file.read(8192)
    except OSError:
        return ""
    return name_of(os.fsdecode(raw).rstrip("\0").split("\0")) if raw else ""


def name_of(argv: list[str]) -> str:
    """The short name of an argument vector: an interpreter is not what runs, and of waitbus the verb says more."""
    words = list(argv)
    name = os.path.basename(words.pop(0))
    if name.lstrip("-").startswith(_INTERPRETERS):
        name, words = _script(name, words)
    if name == "waitbus" and words and not words[0].startswith("-"):
        return f"waitbus {words[0]}"
    return name


def _script(interpreter: str, words: list[str]) -> tuple[str, list[str]]:
    for at, word in enumerate(words):
        if word == "-m" and at + 1 < len(words):
            return words[at + 1], words[at + 2 :]
        if word == "-c":
            return interpreter, []
        if not word.startswith("-"):
            return os.path.basename(word), words[at + 1 :]
    return interpreter, []


def wal_readers(shm: Path) -> list[int]:
    """Pids of those who read from the WAL that `shm` belongs to, and so keep it from being reset; Linux only."""
    try:
        facts = shm.stat()
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    return _readers(lines, facts.st_ino, os.major(facts.st_dev), os.minor(facts.st_dev))


def _readers(lines: list[str], inode: int, major: int, minor: int) -> list[int]:
    # "1: POSIX  ADVISORY  READ 4711 fd:01:12345 124 124"; a line with "->" is one that waits.
    wanted = f"{major:02x}:{minor:02x}:{inode}"
    pids = set()
    for line in lines:
        words = line.split()
        if len(words) == 8 and words[1] == "POSIX" and words[5] == wanted and words[7].isdigit():
            held = range(int(words[6]), int(words[7]) + 1)
            if any(mark in held for mark in _READ_MARKS):
                pids.add(int(words[4]))
    return sorted(pids)
