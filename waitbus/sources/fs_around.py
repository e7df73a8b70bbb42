"""The folders around a root: whether one of them moves, whether git's rules in them change, and whether a lost root is there
again.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import attrs

from waitbus.sources import gitignore_files, inotify
from waitbus.sources.gitignore_files import Repository
from waitbus.sources.inotify import Inotify, Note

RULES = frozenset({gitignore_files.NAME, ".git"})


def identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a folder; None where there is none, a link to one included."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


@attrs.define(eq=False)
class Around:
    """Watches in the queue of a root. `doubted`: the root may not be there, or be another one; `rules_changed`: git's rules for
    all that is in it may be others. Whoever acts on them takes them back."""

    root: str
    queue: Inotify
    doubted: bool = False
    rules_changed: bool = False
    _watches: dict[int, bool] = attrs.field(factory=dict)
    """The kernel's numbers -> whether the folder may hold rules."""

    def watch(self, repository: Repository | None) -> None:
        """Watch all folders above for their own moves, those up to the top of the repository for rules, and the nearest one that
        exists for the root, while that does not."""
        there = identity(self.root) is not None
        top = len(repository.top) if repository is not None else len(self.root)
        nearest = True
        for folder in map(str, Path(self.root).parents):
            holds_rules = len(folder) >= top
            names = inotify.NAMES if holds_rules or (nearest and not there) else 0
            nearest = not self._add(folder, inotify.SELF | names, holds_rules) and nearest

    def has(self, watch: int) -> bool:
        """Whether a watch of the kernel's is one of ours."""
        return watch in self._watches

    def _add(self, folder: str, mask: int, holds_rules: bool) -> bool:
        watch = self.queue.add(folder, mask)
        if watch is not None:
            self._watches[watch] = holds_rules
        return watch is not None

    def take(self, note: Note) -> bool:
        """Take a notification, if it is about one of these folders."""
        if note.watch not in self._watches:
            return False
        holds_rules = self._watches[note.watch]
        if note.mask & inotify.IGNORED:
            del self._watches[note.watch]
        if note.name == "":
            self.doubted = True
        elif holds_rules and note.name in RULES:
            self.rules_changed = self.doubted = True
        return True
