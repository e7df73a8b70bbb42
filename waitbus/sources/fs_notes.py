"""What happens to files and folders, as the kernel and the walks tell it, noted in `Changes`."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import PathError
from waitbus.sources import gitignore_files, inotify
from waitbus.sources.fs_around import identity
from waitbus.sources.fs_scan import Walk
from waitbus.sources.fs_told import last_told
from waitbus.sources.fs_tree import joined

if TYPE_CHECKING:
    from waitbus.sources.fs_changes import Changes, Note
    from waitbus.sources.fs_tree import Folder, Seen, Tree
    from waitbus.sources.fs_walks import Walks
    from waitbus.sources.inotify import Inotify

MOVES_MAX = 1024

GONE = inotify.MOVED_FROM | inotify.DELETE
COME = inotify.MOVED_TO | inotify.CREATE
KINDS: tuple[tuple[int, Note], ...] = (
    (GONE, "gone"),
    (inotify.MOVED_TO, "arrived"),
    (inotify.CLOSE_WRITE, "closed"),
    (inotify.CREATE, "created"),
    (inotify.ATTRIB, "touched"),
)
RULES = inotify.NAMES & ~inotify.CREATE  # that is an empty file, for a moment


@attrs.define(eq=False)
class Notes:
    """Takes what a queue and a walk (`fs_scan.Hears`) tell of a tree. `doubted`: the root may be another one by now, or none;
    whoever acts on that takes it back. What has to be walked for it goes into `walks`."""

    tree: Tree
    changes: Changes
    walks: Walks
    queue: Inotify | None
    recursive: bool
    gitignore: bool
    doubted: bool = True
    _moves: dict[int, str] = attrs.field(factory=dict)
    """Cookies -> what was renamed away; the other half of a move comes soon."""

    # -- notifications -------------------------------------------------------------------------------------------------

    def take(self, note: inotify.Note) -> None:
        """Take a notification about a folder of the tree, or what is in it."""
        if (folder := self.tree.by_watch.get(note.watch)) is None:
            return
        if note.name:
            self._take_name(folder, note)
        elif note.mask & inotify.IGNORED:
            self.tree.by_watch.pop(note.watch, None)
        else:
            self.doubted |= folder.path == "" and bool(note.mask & (inotify.SELF | inotify.UNMOUNT))

    def forget_moves(self) -> None:
        """Bound what is kept of moves out of the root, whose other half never comes."""
        if len(self._moves) > MOVES_MAX:
            self._moves.clear()

    def _take_name(self, folder: Folder, note: inotify.Note) -> None:
        path = joined(folder.path, note.name)
        if self.gitignore and note.name in (gitignore_files.NAME, ".git") and note.mask & RULES:
            self._read_rules(folder, path)
        if note.name == ".git":
            self.doubted = True
            return
        if note.mask & inotify.MOVED_FROM:
            self._moves[note.cookie] = self.changes.origin_of(path, known=self.tree.known(path) is not None)
        if note.mask & inotify.ISDIR:
            self._take_folder(folder, path, note)
        elif self.tree.takes_file(folder, note.name) or self.tree.known(path) is not None:
            self._take_file(path, note)

    def _take_folder(self, folder: Folder, path: str, note: inotify.Note) -> None:
        if note.mask & GONE:
            self.lose(path)
        elif note.mask & COME and self.recursive and self.tree.takes_folder(folder, note.name):
            self._gain(folder, path, note)

    def _gain(self, folder: Folder, path: str, note: inotify.Note) -> None:
        folder.folders.add(note.name)
        since_ns = _changed_ns(self.tree.absolute(path)) if note.mask & inotify.MOVED_TO else 0
        included = self.tree.is_included(folder, note.name)
        origin = self._moves.pop(note.cookie, None)
        self.walks.add(Walk(path, folder.scope, included, origin=origin, since_ns=since_ns))

    def _take_file(self, path: str, note: inotify.Note) -> None:
        what = next((what for mask, what in KINDS if note.mask & mask), None)
        if what == "arrived":
            origin = self._moves.pop(note.cookie, None)
            known = origin is not None and origin != path and self.tree.known(origin) is not None
            self.note(path, what, origin if known else None)
        elif what is not None:
            self.note(path, what)

    def _read_rules(self, folder: Folder, path: str) -> None:
        """The rules below a folder may be others now: files that they hid so far and that did not change are no news."""
        changed = _changed_ns(self.tree.absolute(path)) or _changed_ns(self.tree.absolute(folder.path))
        if not folder.path:
            self.walks.add_all(changed)
            return
        parent = self.tree.folders.get(folder.path.rpartition("/")[0])
        self.walks.add(Walk(folder.path, parent.scope if parent else None, folder.included, changed))

    def note(self, path: str, what: Note, origin: str | None = None, since_ns: int = 0) -> None:
        """Note something of a path."""
        known = self.tree.known(path) is not None
        self.changes.note(path, what, time.monotonic(), known=known, origin=origin, since_ns=since_ns)

    # -- what a walk tells ---------------------------------------------------------------------------------------------

    def found(self, path: str, seen: Seen, walk: Walk) -> None:
        if walk.recalls and self._was_told(path, seen):
            return
        origin = walk.origin_of(path)
        known = None if origin is None else self.tree.known(origin)
        is_move = known is not None and known.inode == seen.inode
        self.note(path, "found", origin if is_move else None, walk.since_ns)

    def _was_told(self, path: str, seen: Seen) -> bool:
        """Whether the log has it so; if it has it otherwise, that is how it was known."""
        told = None if self.tree.known(path) else last_told(self.tree.absolute(path))
        if told is not None:
            self.tree.keep(path, seen.not_before(told) if told.is_as(seen) else told)
        return told is not None and told.is_as(seen)

    def missing(self, path: str) -> None:
        self.note(path, "gone")

    def left(self, path: str) -> None:
        root = self.tree.root
        if not path and identity(root) is not None and not _may_read(root):
            raise PathError(f"{root} may not be read", hint="its owner can allow it with chmod u+rx")
        self.lose(path)

    def hidden(self, path: str) -> None:
        self._remove(path)

    def watch(self, place: str) -> int | None:
        """Have the kernel tell of an absolute folder; its number there, None where it is not there."""
        if self.queue is not None:
            own = inotify.SELF if place == self.tree.root else 0
            return self.queue.add(place, inotify.NAMES | inotify.ATTRIB | own)
        return -1 if identity(place) is not None else None

    def lose(self, path: str) -> None:
        """A folder is gone, and with it all that was in it."""
        for folder in self._remove(path):
            for name, seen in folder.files.items():
                gone = joined(folder.path, name)
                self.tree.ghosts[gone] = seen
                self.note(gone, "gone")

    def _remove(self, path: str) -> list[Folder]:
        gone = self.tree.remove(path)
        if self.queue is not None:
            for folder in gone:
                if folder.watch not in self.tree.by_watch:  # it may have been found at another place meanwhile
                    self.queue.remove(folder.watch)
        return gone


def _may_read(folder: str) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _changed_ns(path: str) -> int:
    try:
        return os.lstat(path).st_ctime_ns
    except (OSError, ValueError):
        return 0
