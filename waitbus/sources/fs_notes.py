"""What happens to files and folders, as the kernel and the walks tell it, noted in `Changes`."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import PathError
from waitbus.sources import gitignore_files, inotify
from waitbus.sources.fs_around import identity
from waitbus.sources.fs_scan import Walk
from waitbus.sources.fs_told import last_told
from waitbus.sources.fs_tree import joined, look

if TYPE_CHECKING:
    from waitbus.sources.fs_changes import Changes, Note
    from waitbus.sources.fs_rules import RuleFiles
    from waitbus.sources.fs_tree import Folder, Seen, Tree
    from waitbus.sources.fs_walks import Walks
    from waitbus.sources.gitignore_files import Repository
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
RULES = {gitignore_files.NAME: inotify.NAMES & ~inotify.CREATE, ".git": inotify.NAMES}
"""What happens to a name that changes rules. A file that is created is empty for a moment."""


@attrs.define(eq=False)
class Notes:
    """Takes what a queue and a walk (`fs_scan.Hears`) tell of a tree. `doubted`: the root may be another one by now, or none;
    whoever acts on that takes it back. What has to be walked for it goes into `walks`."""

    tree: Tree
    changes: Changes
    walks: Walks
    queue: Inotify | None
    rules: RuleFiles | None
    recursive: bool
    gitignore: bool
    doubted: bool = True
    _moves: dict[int, str] = attrs.field(factory=dict)
    """Cookies -> what was renamed away; the other half of a move comes soon."""
    _seen: dict[str, Seen | None] = attrs.field(factory=dict)
    """Where nothing but walks tells of changes: how what is noted was found last."""
    _went: dict[int, str] = attrs.field(factory=dict)
    _came: dict[int, str] = attrs.field(factory=dict)
    """There too, inodes -> paths that are missed, and found, in one walk: one of each is a move."""

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
        if self.gitignore and note.mask & RULES.get(note.name, 0):
            changed = _changed_ns(self.tree.absolute(path)) or _changed_ns(self.tree.absolute(folder.path))
            self.read_rules(folder.path, changed)
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
        self.walks.add(Walk(path, included, origin=origin, since_ns=since_ns))

    def _take_file(self, path: str, note: inotify.Note) -> None:
        what = next((what for mask, what in KINDS if note.mask & mask), None)
        if what == "arrived":
            origin = self._moves.pop(note.cookie, None)
            known = origin is not None and origin != path and self.tree.known(origin) is not None
            self.note(path, what, origin if known else None)
        elif what is not None:
            self.note(path, what)

    def read_rules(self, path: str, changed_ns: int) -> None:
        """The rules below a folder may be others now: files that they hid so far and that did not change since are no news."""
        changed_ns = self.walks.old(changed_ns)
        if not path:
            self.walks.add_all(changed_ns)
        elif (folder := self.tree.folders.get(path)) is not None:
            self.walks.add(Walk(path, folder.included, changed_ns))

    def note(self, path: str, what: Note, origin: str | None = None, since_ns: int = 0) -> None:
        """Note something of a path."""
        known = self.tree.known(path) is not None
        self.changes.note(path, what, time.monotonic(), known=known, origin=origin, since_ns=since_ns)

    def is_noted(self, path: str) -> bool:
        return path in self.changes.pending or path in self.changes.open

    # -- what a walk tells ---------------------------------------------------------------------------------------------

    def found(self, path: str, seen: Seen, walk: Walk) -> None:
        if walk.recalls and self._was_told(path, seen):
            return
        origin = walk.origin_of(path)
        known = None if origin is None else self.tree.known(origin)
        is_move = known is not None and known.inode == seen.inode
        if self._is_news(path, seen):
            self.note(path, "found", origin if is_move else None, walk.since_ns)
        if self.queue is None:
            self._came[seen.inode] = path
            self._pair(seen)

    def _was_told(self, path: str, seen: Seen) -> bool:
        """Whether the log has it so; if it has it otherwise, that is how it was known."""
        told = None if self.tree.known(path) else last_told(self.tree.absolute(path))
        if told is not None:
            self.tree.keep(path, seen.not_before(told) if told.is_as(seen) else told)
        return told is not None and told.is_as(seen)

    def missing(self, path: str) -> None:
        is_news = self._is_news(path, None)
        if is_news:
            self.note(path, "gone")
        if self.queue is None and (known := self.tree.known(path)) is not None:
            self._went[known.inode] = path
            self._pair(known)
            if is_news:  # it may have gone to where this walk has been already
                self.walks.add_all()

    def _is_news(self, path: str, seen: Seen | None) -> bool:
        """Whether the walk before did not find the same: what is noted is held from its change on, not from the last walk."""
        if self.queue is not None:
            return True
        is_news = not self.is_noted(path) or self._seen.get(path, seen) != seen
        self._seen[path] = seen
        return is_news

    def _pair(self, seen: Seen) -> None:
        """Of a file as it was, or is: whether its inode is at another path now, and nothing was written."""
        went, came = self._went.get(seen.inode), self._came.get(seen.inode)
        if went is None or came is None or went == came:
            return
        pending = self.changes.pending.get(came)
        if pending is None or pending.origin == went:
            return
        before, now = self.tree.known(went), look(self.tree.absolute(came))
        if before is not None and now is not None and before.is_as(now):
            self.note(came, "found", went)

    def walked(self) -> None:
        """The walks are at their end."""
        self._went.clear()
        self._came.clear()
        self._seen = {path: seen for path, seen in self._seen.items() if self.is_noted(path)}

    def left(self, path: str) -> None:
        root = self.tree.root
        if not path and identity(root) is not None and not _may_read(root):
            raise PathError(f"{root} may not be read", hint="its owner can allow it with chmod u+rx")
        self.lose(path)

    def hidden(self, path: str) -> None:
        self._remove(path)

    def repository(self, path: str, found: Repository | None) -> None:
        if self.rules is not None and path:  # that of the root itself may be around it
            awaited = partial(gitignore_files.awaited_at, self.tree.absolute(path))
            self.rules.follow(path, awaited if found is None else found.files)

    def watch(self, place: str) -> int | None:
        """Have the kernel tell of an absolute folder; its number there, None where it is not there."""
        if self.queue is not None:
            own = inotify.SELF if place == self.tree.root else 0
            return self.queue.add(place, inotify.NAMES | inotify.ATTRIB | own)
        return -1 if identity(place) is not None and _may_read(place) else None

    def lose(self, path: str) -> None:
        """A folder is gone, and with it all that was in it."""
        for folder in self._remove(path):
            for name, seen in folder.files.items():
                gone = joined(folder.path, name)
                self.tree.ghosts[gone] = seen
                self.missing(gone)

    def _remove(self, path: str) -> list[Folder]:
        gone = self.tree.remove(path)
        for folder in gone:
            if self.rules is not None and folder.path:
                self.rules.leave(folder.path)
            # It may have been found at another place meanwhile.
            if self.queue is not None and folder.watch not in self.tree.by_watch:
                self.queue.remove(folder.watch)
        return gone


def _may_read(folder: str) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _changed_ns(path: str) -> int:
    try:
        return os.lstat(path).st_ctime_ns
    except (OSError, ValueError):
        return 0
