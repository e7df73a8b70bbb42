"""One root that is watched: notifications in, changes out, in turns that take a bounded time.

A turn runs in a thread, one at a time, and is all that touches a watch. It walks first and reads the queue then: while folders
are walked the kernel keeps what comes, up to `fs.inotify.max_queued_events`; beyond that it says so, and everything is looked at
again. Where there is no inotify everything is looked at again each second.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import PathError
from waitbus.sources import fs_events, gitignore_files, inotify
from waitbus.sources.fs_around import Around, identity
from waitbus.sources.fs_changes import Changes, Note
from waitbus.sources.fs_scan import EVERYTHING_IS_OLD, Scanner, Walk
from waitbus.sources.fs_settle import settle
from waitbus.sources.fs_told import last_told
from waitbus.sources.fs_tree import Folder, Seen, Tree, joined
from waitbus.sources.inotify import Inotify

if TYPE_CHECKING:
    from waitbus.events import EventInsert
    from waitbus.sources.fs_globs import Globs

BITE = 0.02
"""s that a turn may take: a cancellation waits for one at most."""
BATCH = 500
"""Rows of a turn, which are one transaction."""
PENDING_MAX = 20_000
"""Paths that are noted and not told; beyond it the queue is left to the kernel."""
MOVES_MAX = 1024
RECENT_NS = 1_000_000_000
"""What changed so shortly before rules outside of the root did is news, if they hid it."""
EVERY = 1.0
"""s between two walks where nothing tells of changes."""
HAS_INOTIFY = sys.platform == "linux"

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


@attrs.frozen
class Turn:
    """What a turn gave: rows, whether there is more to do at once, when to come again (s of `time.monotonic`; infinity: when the
    queue is readable, if it `listens`), and whether the root is there."""

    events: Sequence[EventInsert]
    more: bool
    due: float
    here: bool
    listens: bool


def _queue() -> Inotify | None:
    return Inotify() if HAS_INOTIFY else None


@attrs.define(eq=False)
class RootWatch:
    """A watch of one absolute root without links in it."""

    root: str
    globs: Globs
    recursive: bool = True
    gitignore: bool = True
    debounce: float = 0.0
    since_ns: int | None = None
    """What changed from then on is news though it came before the watch; None: nothing that did is."""
    queue: Inotify | None = attrs.field(factory=_queue)
    tree: Tree = attrs.field(init=False)
    changes: Changes = attrs.field(init=False)
    scanner: Scanner = attrs.field(init=False)
    around: Around | None = attrs.field(init=False)
    _walks: deque[Walk] = attrs.field(factory=deque)
    _walking: Iterator[None] | None = None
    _moves: dict[int, str] = attrs.field(factory=dict)
    """Cookies -> what was renamed away; the other half of a move comes soon."""
    _identity: tuple[int, int] | None = None
    """Device and inode of the root; None while it is not there."""
    _doubted: bool = True
    """Whether the root may be another one by now."""
    _begun: bool = False
    _walked_at: float = 0.0
    _said: list[EventInsert] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.tree = Tree(self.root, self.globs)
        self.changes = Changes(self.debounce)
        self.scanner = Scanner(self.tree, self, self._watched, self.recursive, self.gitignore)
        self.around = None if self.queue is None else Around(self.root, self.queue, self.gitignore)

    def close(self) -> None:
        """Give everything back that the kernel holds for it."""
        self._walking = None
        if self.queue is not None:
            self.queue.close()

    # -- a turn --------------------------------------------------------------------------------------------------------

    def turn(self) -> Turn:
        """Do what there is to do, for about `BITE` s at most.

        Raises:
          ServiceMissing: the kernel gives no further watches.
          PathError: the root may not be read.
        """
        end = time.monotonic() + BITE
        self._clock()
        self._look_around()
        busy = self._walk(end) or self._read(end)
        events = self._tell(end)
        listens = self._has_room()
        more = len(events) >= BATCH or (listens and (busy or self._is_walking() or self._doubted))
        return Turn(events, more, self._next_due(), self._is_here(), listens)

    def _is_here(self) -> bool:
        """Whether the root is there, or its end is not told in full."""
        return self._identity is not None or bool(self.changes.pending)

    def _is_walking(self) -> bool:
        return self._walking is not None or bool(self._walks)

    def _has_room(self) -> bool:
        return len(self.changes.pending) < PENDING_MAX

    def _next_due(self) -> float:
        due = self.changes.next_due()
        return min(due, self._walked_at + EVERY) if self.queue is None else due

    def _clock(self) -> None:
        if self.queue is None and self._begun and time.monotonic() >= self._walked_at + EVERY:
            self._doubted = True
            self._walk_all()

    def _walk(self, end: float) -> bool:
        """Go on with the walks; whether some are left."""
        while self._is_walking() and self._has_room():
            if time.monotonic() >= end:
                return True
            if self._walking is None:
                self._walking = self.scanner.walk(self._walks.popleft())
            if next(self._walking, self) is self:
                self._walking = None
        return self._is_walking()

    def _read(self, end: float) -> bool:
        """Take what the kernel has; whether there may be more."""
        if self.queue is None or not self._has_room():
            return False
        if len(self._moves) > MOVES_MAX:
            self._moves.clear()
        while notes := self.queue.read():
            for note in notes:
                self._take(note)
            if self._walks or time.monotonic() >= end or not self._has_room():
                return True
        return False

    def _tell(self, end: float) -> list[EventInsert]:
        events, self._said = self._said, []
        if self._is_walking() and self._has_room():
            return events  # the walk may find what was renamed; it would be told as gone
        for path, pending in self.changes.due(time.monotonic()):
            change = settle(self.tree, self.changes, path, pending)
            if change is not None:
                self.changes.told(path, time.monotonic())
                events.append(fs_events.changed(self.root, change))
            if len(events) >= BATCH or time.monotonic() >= end + BITE:
                break
        return events

    # -- the root ------------------------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Whether the root is there, and the one that it was."""
        if not self._doubted:
            return
        self._doubted = False
        if self.around is not None:
            self.around.watch()
        found, known, begun = identity(self.root), self._identity, self._begun
        self._identity, self._begun = found, True
        if found == known:
            return
        if known is not None:
            self._vanish(known[1])
        if found is not None:
            if begun:
                self._said.append(fs_events.root_changed(self.root, "returned", found[1]))
                self._walk_all()
            elif self.since_ns is None:
                self._walk_all(EVERYTHING_IS_OLD)
            else:
                self._walk_all(self.since_ns, recalls=True)

    def _vanish(self, inode: int) -> None:
        self._walking = None
        self._walks.clear()
        self._lose("")
        for path in (*self.changes.pending, *self.changes.open):
            self._note(path, "gone")
        self._said.append(fs_events.root_changed(self.root, "vanished", inode))

    def _walk_all(self, old_before_ns: int = 0, *, recalls: bool = False) -> None:
        self._walked_at = time.monotonic()
        if any(not walk.path and walk.old_before_ns <= old_before_ns for walk in self._walks):
            return
        scope = gitignore_files.scope_around(self.root) if self.gitignore else None
        self._walks.append(Walk("", scope, old_before_ns=old_before_ns, recalls=recalls))

    # -- notifications -------------------------------------------------------------------------------------------------

    def _take(self, note: inotify.Note) -> None:
        if note.mask & inotify.Q_OVERFLOW:
            self._said.append(fs_events.overflowed(self.root))
            self._doubted = True
            self._walk_all()
        elif self.around is not None and self.around.take(note):
            self._take_around(self.around)
        elif (folder := self.tree.by_watch.get(note.watch)) is None:
            return
        elif note.name:
            self._take_name(folder, note)
        elif note.mask & inotify.IGNORED:
            self.tree.by_watch.pop(note.watch, None)
        else:
            self._doubted |= folder.path == "" and bool(note.mask & (inotify.SELF | inotify.UNMOUNT))

    def _take_around(self, around: Around) -> None:
        self._doubted |= around.doubted or self._identity is None
        if around.rules_changed:
            self._walk_all(time.time_ns() - RECENT_NS)
        around.doubted = around.rules_changed = False

    def _take_name(self, folder: Folder, note: inotify.Note) -> None:
        path = joined(folder.path, note.name)
        if self.gitignore and note.name in (gitignore_files.NAME, ".git") and note.mask & RULES:
            self._read_rules(folder, path)
        if note.name == ".git":
            self._doubted = True
            return
        if note.mask & inotify.MOVED_FROM:
            self._moves[note.cookie] = self.changes.origin_of(path, known=self.tree.known(path) is not None)
        if note.mask & inotify.ISDIR:
            self._take_folder(folder, path, note)
        elif self.tree.takes_file(folder, note.name) or self.tree.known(path) is not None:
            self._take_file(path, note)

    def _take_folder(self, folder: Folder, path: str, note: inotify.Note) -> None:
        if note.mask & GONE:
            self._lose(path)
        elif note.mask & COME and self.recursive and self.tree.takes_folder(folder, note.name):
            self._gain(folder, path, note)

    def _gain(self, folder: Folder, path: str, note: inotify.Note) -> None:
        folder.folders.add(note.name)
        since_ns = _changed_ns(self.tree.absolute(path)) if note.mask & inotify.MOVED_TO else 0
        included = self.scanner.is_included(folder, note.name)
        origin = self._moves.pop(note.cookie, None)
        self._walks.append(Walk(path, folder.scope, included, origin=origin, since_ns=since_ns))

    def _take_file(self, path: str, note: inotify.Note) -> None:
        what = next((what for mask, what in KINDS if note.mask & mask), None)
        if what == "arrived":
            origin = self._moves.pop(note.cookie, None)
            known = origin is not None and origin != path and self.tree.known(origin) is not None
            self._note(path, what, origin if known else None)
        elif what is not None:
            self._note(path, what)

    def _read_rules(self, folder: Folder, path: str) -> None:
        """The rules below a folder may be others now: files that they hid so far and that did not change are no news."""
        changed = _changed_ns(self.tree.absolute(path)) or _changed_ns(self.tree.absolute(folder.path))
        if not folder.path:
            self._walk_all(changed)
            return
        parent = self.tree.folders.get(folder.path.rpartition("/")[0])
        self._walks.append(Walk(folder.path, parent.scope if parent else None, folder.included, changed))

    def _note(self, path: str, what: Note, origin: str | None = None, since_ns: int = 0) -> None:
        known = self.tree.known(path) is not None
        self.changes.note(path, what, time.monotonic(), known=known, origin=origin, since_ns=since_ns)

    # -- what a walk tells ---------------------------------------------------------------------------------------------

    def found(self, path: str, seen: Seen, walk: Walk) -> None:
        if walk.recalls and self._was_told(path, seen):
            return
        origin = walk.origin_of(path)
        known = None if origin is None else self.tree.known(origin)
        is_move = known is not None and known.inode == seen.inode
        self._note(path, "found", origin if is_move else None, walk.since_ns)

    def _was_told(self, path: str, seen: Seen) -> bool:
        """Whether the log has it so; if it has it otherwise, that is how it was known."""
        told = None if self.tree.known(path) else last_told(self.tree.absolute(path))
        if told is not None:
            self.tree.keep(path, seen.not_before(told) if told.is_as(seen) else told)
        return told is not None and told.is_as(seen)

    def missing(self, path: str) -> None:
        self._note(path, "gone")

    def left(self, path: str) -> None:
        if not path and identity(self.root) is not None and not _may_read(self.root):
            raise PathError(f"{self.root} may not be read", hint="its owner can allow it with chmod u+rx")
        self._lose(path)

    def hidden(self, path: str) -> None:
        self._remove(path)

    def _lose(self, path: str) -> None:
        for folder in self._remove(path):
            for name, seen in folder.files.items():
                gone = joined(folder.path, name)
                self.tree.ghosts[gone] = seen
                self._note(gone, "gone")

    def _remove(self, path: str) -> list[Folder]:
        gone = self.tree.remove(path)
        if self.queue is not None:
            for folder in gone:
                if folder.watch not in self.tree.by_watch:  # it may have been found at another place meanwhile
                    self.queue.remove(folder.watch)
        return gone

    def _watched(self, place: str) -> int | None:
        if self.queue is not None:
            return self.queue.add(place, inotify.NAMES | inotify.ATTRIB | (inotify.SELF if place == self.root else 0))
        return -1 if identity(place) is not None else None


def _may_read(folder: str) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _changed_ns(path: str) -> int:
    try:
        return os.lstat(path).st_ctime_ns
    except (OSError, ValueError):
        return 0
