"""The files of git's rules that lie outside of what is watched: `info/exclude`, git's configuration, the user's own rules.

Each is watched by itself, so that nobody is woken by what else happens in git's folder or at home. One that is not there is
waited for in the nearest folder above it that is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from waitbus.sources import inotify
from waitbus.sources.inotify import Inotify, Note

Files = Callable[[], Iterable[str]]
"""The files that count now. Those before may name those that follow, so each is watched before the next is asked for."""

State = tuple[int, int, int]
"""Inode, size and time of a file."""

COMES = inotify.CREATE | inotify.MOVED_TO | inotify.SELF | inotify.ONLYDIR


@attrs.define
class Followed:
    """A file of rules: the kernel's number for it, or for the folder in which it is waited for, and how it was."""

    watch: int | None = None
    state: State | None = None


@attrs.define(eq=False)
class RuleFiles:
    """Watches in the queue of a root, for each folder of it (by its path there) that has rules of a repository. `is_shared`:
    whether somebody else needs a watch of the kernel's. `doubted`: one of the files may be another one by now."""

    queue: Inotify
    is_shared: Callable[[int], bool]
    doubted: bool = False
    _folders: dict[str, Files] = attrs.field(factory=dict)
    _followed: dict[str, Followed] = attrs.field(factory=dict)
    _watches: dict[int, set[str]] = attrs.field(factory=dict)
    """The kernel's numbers -> the files to look at."""
    _doubts: set[str] = attrs.field(factory=set)

    def follow(self, folder: str, files: Files) -> None:
        """From now on the rules of the folder depend on these files, or on none. To be said before the rules are read."""
        self._folders.pop(folder, None)
        for file in files():
            self._folders[folder] = files
            if file not in self._followed:
                self._followed[file] = Followed()
                self._arm(file)

    def renew(self) -> None:
        """Somebody else has watched folders anew, which replaces what they are watched for."""
        for file, followed in self._followed.items():
            if self._watch(file) != followed.watch:
                self._doubts.add(file)
                self.doubted = True

    def leave(self, folder: str) -> None:
        """The folder is gone."""
        self._folders.pop(folder, None)

    def take(self, note: Note) -> None:
        """Take a notification, of whatever it is."""
        files = self._watches.get(note.watch)
        if files is None:
            return
        self._doubts |= files
        self.doubted = True
        if note.mask & inotify.IGNORED:
            del self._watches[note.watch]

    def doubt_all(self) -> None:
        """Notifications were lost."""
        self._doubts |= self._followed.keys()
        self.doubted = True

    def changed(self) -> dict[str, int]:
        """Look at the files that are doubted: the folders whose rules may be others, and from when on, in ns. Whoever reads those
        rules anew lets us `follow` before."""
        doubts, self._doubts, self.doubted = self._doubts & self._followed.keys(), set(), False
        changed = {file: _changed_ns(file) for file in doubts if self._has_changed(file)}
        folders, needed = {}, set()
        for folder, files in self._folders.items():
            depends = set(files())
            needed |= depends
            if depends & changed.keys():
                folders[folder] = min(changed[file] for file in depends & changed.keys())
        for file in self._followed.keys() - needed:
            self._let_go(file, self._followed.pop(file).watch)
        return folders

    def _has_changed(self, file: str) -> bool:
        before = self._followed[file].state
        self._arm(file)
        return self._followed[file].state != before

    def _arm(self, file: str) -> None:
        """Watch a file, or where it will be; and see how it is only then."""
        followed = self._followed[file]
        watch = self._watch(file)
        while (again := self._watch(file)) != watch:  # the name is that of another file by now
            watch = again
        if watch != followed.watch:
            self._let_go(file, followed.watch)
        if watch is not None:
            self._watches.setdefault(watch, set()).add(file)
        followed.watch, followed.state = watch, _state(file)

    def _watch(self, file: str) -> int | None:
        watch = self.queue.add_too(file, inotify.FILE)
        for folder in Path(file).parents if watch is None else ():
            watch = self.queue.add_too(str(folder), COMES)
            if watch is not None:
                break
        return watch

    def _let_go(self, file: str, watch: int | None) -> None:
        if watch is None or watch not in self._watches:
            return
        self._watches[watch].discard(file)
        if not self._watches[watch]:
            del self._watches[watch]
            if not self.is_shared(watch):
                self.queue.remove(watch)


def _state(path: str) -> State | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _changed_ns(path: str) -> int:
    """When it became as it is; for one that is gone, a moment ago."""
    try:
        return os.stat(path).st_ctime_ns
    except (OSError, ValueError):
        return time.time_ns() - 1_000_000_000
