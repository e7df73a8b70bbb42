"""Files that are there whole or not at all: written under another name in the same folder, then renamed; and read at once.

Whatever stands in a file's place, nobody is waited for: a pipe that nobody has open is empty, and a device has an end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

SMALL = 1 << 20
"""Bytes of a file that people write by hand."""


def read(path: Path | str, most: int = SMALL) -> bytes:
    """All of a small file. Of a pipe what its writers say, if there are any.

    Raises:
      OSError: it cannot be read, or has more than `most` bytes.
    """
    with open(path, "rb", opener=_at_once) as file:
        os.set_blocking(file.fileno(), True)
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return data


def _at_once(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def write(path: Path, data: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
    """Write `path`. What it replaces keeps its mode, and a link to it goes on to lead there; a device or a pipe is written to.

    With `replace=False` whoever wrote the file in the meantime keeps it.

    Raises:
      FileExistsError: it is there, and was not to be replaced.
      OSError: it cannot be written, and is as it was.
    """
    path = Path(os.path.realpath(path))
    there = _mode(path)
    if there is not None and stat.S_ISDIR(there):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if there is not None and not stat.S_ISREG(there):
        with open(path, "wb", opener=_at_once) as file:
            os.set_blocking(file.fileno(), True)
            file.write(data)
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
