"""Files named by an option, `-` for stdin, and the sentences for those that cannot be read."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from waitbus.cli.command import Usage
from waitbus.paths import absolute

SQLITE = b"SQLite format 3\0"
"""How every file of SQLite's begins."""

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


@contextlib.contextmanager
def opened(option: str, name: str) -> Iterator[BinaryIO]:
    """The file, or stdin for `-`, in bytes.

    Raises:
      Usage: it cannot be opened or read.
    """
    try:
        if "\0" in name:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as file:
            yield file
    except OSError as error:
        raise Usage(
            f"{option} {shown(name)} cannot be read: {error.strerror}", hint="give the name of a file, or - for stdin"
        ) from None


def decoded(option: str, name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Usage(
            f"{option} {shown(name)} is not UTF-8: {error.reason} at byte {error.start}", hint="save it as UTF-8"
        ) from None


def shown(text: str) -> str:
    """A value as an error quotes it, not longer than a line."""
    return repr(text) if len(text) <= 80 else repr(text[:77])[:-1] + "...'"


def log_file(name: str | None) -> Path | None:
    """The log that `--db` names; None for the usual one. A file that is something else is not to be set aside as a damaged log.

    Raises:
      Usage: it is a folder, a device, or a file that is no log.
    """
    if name is None:
        return None
    if not name.strip() or "\0" in name:
        raise Usage(f"--db {shown(name)} is not the name of a file", hint="give the file of a log, or leave it out")
    path = absolute(name)
    # os.path: to a folder that may not be looked into it says no, and whoever opens the file says why it cannot be.
    kind = "a directory" if os.path.isdir(path) else None
    if kind is None and os.path.exists(path) and not _may_be_log(path):
        kind = "not a log"
    if kind is not None:
        raise Usage(f"--db {shown(name)} is {kind}", hint="give the file of a log, or leave it out")
    return path


def _may_be_log(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(SQLITE)) in (SQLITE, b"")
    except OSError:
        return True  # whoever opens it says why it cannot be
