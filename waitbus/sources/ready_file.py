"""`--exists FILE` and `--gone FILE`: whether a file, or whatever has that name, is there.

Looked at again and again rather than watched: the folders above it may come and go as well, on any file system, also one whose
changes are made on another machine.
"""

from __future__ import annotations

import os

import trio

from waitbus.errors import InvalidWait
from waitbus.paths import absolute
from waitbus.sources.ready import Look

ABSENT = (FileNotFoundError, NotADirectoryError)


class Exists:
    """A file that shall be there; a link counts for what it leads to."""

    kind = "file"

    def __init__(self, text: str, *, what: str = "--exists") -> None:
        self._path = _absolute(text, what)
        self.name = text
        self.option = f"--exists {text}"
        self.asking = f"looking for {text}"

    async def look(self) -> Look:
        return await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)

    def _look(self) -> Look:
        try:
            os.stat(self._path)
        except ABSENT:
            return Look(False, "is not there")
        except OSError as error:
            return _unseen(error)
        return Look(True, "is there")


class Gone:
    """A file that shall not be there; a link that leads nowhere is there, as locks are that are made so."""

    kind = "file"

    def __init__(self, text: str, *, what: str = "--gone") -> None:
        self._path = _absolute(text, what)
        self.name = text
        self.option = f"--gone {text}"
        self.asking = f"looking whether {text} is gone"

    async def look(self) -> Look:
        return await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)

    def _look(self) -> Look:
        try:
            os.lstat(self._path)
        except ABSENT:
            return Look(True, "is gone")
        except OSError as error:
            return _unseen(error)
        return Look(False, "is still there")


def _absolute(text: str, what: str) -> str:
    if not text.strip() or "\0" in text:
        raise InvalidWait(f"{what} {text!r} names no file", hint=f"write a path, as in {what} build/done")
    return os.path.normpath(absolute(text, what=what))


def _unseen(error: OSError) -> Look:
    return Look(False, f"cannot be looked at: {error.strerror}", odd=True)
