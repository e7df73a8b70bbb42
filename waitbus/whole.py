"""Files that are there whole or not at all: written under another name in the same folder, then renamed."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def write(path: Path, data: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
    """Write `path`. What it replaces keeps its mode, and a link to it goes on to lead there; a device or a pipe is written to.

    With `replace=False` whoever wrote the file in the meantime keeps it.

    Raises:
      FileExistsError: it is there, and was not to be replaced.
      OSError: it cannot be written, and is as it was.
    """
    path = Path(os.path.realpath(path))
    there = _mode(path)
    if there is not None and not stat.S_ISREG(there) and not stat.S_ISDIR(there):
        path.write_bytes(data)
        return
    fresh = path.with_name(f".{os.urandom(4).hex()}.new")
    try:
        with open(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            if there is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(there))
        _put(fresh, path, replace)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(fresh)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _put(fresh: Path, path: Path, replace: bool) -> None:
    if replace:
        os.replace(fresh, path)
    else:
        os.link(fresh, path)
