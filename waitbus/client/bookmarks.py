"""Bookmarks: a name for how far a reader has come, one small file each, moved after the work is done."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from waitbus import whole
from waitbus.errors import InvalidCursor, InvalidName
from waitbus.event_checks import shown
from waitbus.events import parse_event_id
from waitbus.paths import cursors_dir, own_directory
from waitbus.store import bookmarks as files
from waitbus.store.failures import typed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")
_PREFIX, _SUFFIX = "bookmark-", ".txt"


def _path(name: object) -> Path:
    if not isinstance(name, str) or not _NAME.match(name) or name in (".", ".."):
        raise InvalidName(f"{shown(name)} cannot be a bookmark", hint="write letters, digits, _ . and -, at most 100")
    return cursors_dir() / f"{_PREFIX}{name}{_SUFFIX}"


def read(name: str) -> str | None:
    """The event id the bookmark stands at; None if there is no such bookmark.

    Raises:
      InvalidName: it cannot be a bookmark's name.
      InvalidCursor: the file holds something else.
      LogError: it cannot be read.
    """
    path = _path(name)
    with _named(name, path):
        try:
            text = files.read(path)
        except FileNotFoundError:
            return None
    try:
        parse_event_id(text)
    except InvalidCursor:
        raise InvalidCursor(
            f"the bookmark {name!r} holds {text[:40]!r}, which is no event id", hint=f"`waitbus bookmark delete {name}`"
        ) from None
    return text


def write(name: str, event_id: str) -> None:
    """Move the bookmark. Whoever reads it sees the old place or the new one, however this process ends.

    Raises:
      InvalidName: it cannot be a bookmark's name.
      LogError: it cannot be written.
    """
    path, line = _path(name), f"{event_id}\n".encode()
    with _named(name, path):
        if not files.move(path, line):
            _make(path, line)


@contextlib.contextmanager
def _named(name: str, path: Path) -> Iterator[None]:
    """An error of the kernel's as one that names the bookmark rather than the log."""
    try:
        yield
    except OSError as error:
        found = typed(error, path)
        message = f"the bookmark {name!r} cannot be used: {error.strerror} ({path})"
        raise type(found)(message, hint=f"move {path} away" if os.path.isdir(path) else found.hint) from error


def _make(path: Path, line: bytes) -> None:
    own_directory(path.parent)
    whole.write(path, line)


def delete(name: str) -> bool:
    """Remove the bookmark; whether there was one."""
    path = _path(name)
    with _named(name, path), contextlib.suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def names() -> list[str]:
    """All bookmarks, sorted.

    Raises:
      LogError: their folder cannot be read.
    """
    folder = cursors_dir()
    try:
        entries = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        found = typed(error, folder)
        raise type(found)(f"the bookmarks in {folder} cannot be read: {error.strerror}", hint=found.hint) from error
    return sorted(
        name[len(_PREFIX) : -len(_SUFFIX)] for name in entries if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
    )
