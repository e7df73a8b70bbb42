"""Bookmarks' files, one line each, and what they keep: events that a reader who goes away and comes back has not seen yet.

A bookmark is moved with each event, so in place: to rename a file over another one starts a write to the disk on ext4 and others,
and takes thirty times as long. A write of 27 bytes is never half done by a process that dies, nor by a disk that does, but
ext4 and tmpfs show half of it to who reads at that moment (2 of 1,000 reads, in a loop against a loop). Hence the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from waitbus.errors import InvalidCursor
from waitbus.events import parse_event_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from waitbus.store.log import Log

IN_USE = 90 * 86400
"""s. A bookmark that was not moved for so long keeps nothing any more."""

HELD_MAX = 0.1
"""s that the lock is waited for. Who holds it longer was stopped, before its one system call or behind it: the line is whole."""

LINE_MAX = 100
"""Bytes that are looked at; more are no event id."""


# -- one file ----------------------------------------------------------------------------------------------------------


def read(path: Path | str) -> str:
    """The line as it stood before or after any move."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # whatever stands there, nobody is waited for
    try:
        _lock(fd, fcntl.LOCK_SH)
        return os.read(fd, LINE_MAX).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def move(path: Path, line: bytes) -> bool:
    """Overwrite the line; False, and nothing done, where there is no bookmark, or something of another length."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        _lock(fd, fcntl.LOCK_EX)
        return os.fstat(fd).st_size == len(line) and os.pwrite(fd, line, 0) == len(line)
    finally:
        os.close(fd)


def _lock(fd: int, how: int) -> None:
    deadline = 0.0
    while True:
        try:
            return fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            deadline = deadline or now + HELD_MAX
            if now > deadline:
                return None
            time.sleep(0.0005)


# -- what they keep ----------------------------------------------------------------------------------------------------


def keep_from(log: Log, *, now: float | None = None) -> int | None:
    """The first seq that some bookmark in use has not passed; None where there is no bookmark."""
    at = time.time() if now is None else now
    try:
        texts = list(_in_use(os.fspath(log.path.parent / "cursors"), at))
    except OSError:  # a folder that may not be read: nobody can say what they keep, so all of it
        return 1
    places = [_seq(log, text) for text in texts]
    known = [seq for seq in places if seq is not None]
    return min(known) + 1 if known else None


def _in_use(folder: str, now: float) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if not (entry.name.startswith("bookmark-") and entry.name.endswith(".txt")):
            continue
        try:
            if now - entry.stat().st_mtime < IN_USE:
                yield read(entry.path)
        except OSError:
            continue


def _seq(log: Log, text: str) -> int | None:
    try:
        place = parse_event_id(text)
    except InvalidCursor:
        return None
    return place.seq if place.tag == log.tag else log.alias(text)
