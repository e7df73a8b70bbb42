"""One root that is watched: notifications in, changes out, in turns that take a bounded time.

A turn runs in a thread, one at a time, and is all that touches a watch. It walks first and reads the queue then: while folders
are walked the kernel keeps what comes, up to `fs.inotify.max_queued_events`; beyond that it says so, and everything is looked at
again. Where there is no inotify everything is looked at again each second, and less often where that takes long.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from waitbus.sources import fs_events, gitignore_files, inotify
from waitbus.sources.fs_around import Around, identity
from waitbus.sources.fs_changes import Changes
from waitbus.sources.fs_notes import Notes
from waitbus.sources.fs_rules import RuleFiles
from waitbus.sources.fs_scan import EVERYTHING_IS_OLD, Scanner
from waitbus.sources.fs_settle import settle
from waitbus.sources.fs_tree import Tree
from waitbus.sources.fs_walks import Walks
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
RECENT_NS = 1_000_000_000
"""What changed so shortly before rules outside of the root did is news, if they hid it."""
EVERY = 1.0
"""s between two walks where nothing tells of changes, at least."""
HAS_INOTIFY = sys.platform == "linux"


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
    walks: Walks = attrs.field(init=False)
    notes: Notes = attrs.field(init=False)
    scanner: Scanner = attrs.field(init=False)
    around: Around | None = attrs.field(init=False)
    rules: RuleFiles | None = attrs.field(init=False)
    _identity: tuple[int, int] | None = None
    """Device and inode of the root; None while it is not there."""
    _begun: bool = False
    _said: list[EventInsert] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.tree = Tree(self.root, self.globs)
        self.changes = Changes(self.debounce)
        self.walks = Walks(heard_ns=time.time_ns())
        self.around = None if self.queue is None else Around(self.root, self.queue)
        self.rules = None if self.queue is None or not self.gitignore else RuleFiles(self.queue, self._is_shared)
        self.notes = Notes(self.tree, self.changes, self.walks, self.queue, self.rules, self.recursive, self.gitignore)
        self.scanner = Scanner(self.tree, self.notes, self.notes.watch, self.recursive, self.gitignore)

    def _is_shared(self, watch: int) -> bool:
        return watch in self.tree.by_watch or (self.around is not None and self.around.has(watch))

    def close(self) -> None:
        """Give everything back that the kernel holds for it."""
        self.walks.clear()
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
        self._read_rules()
        self._look_around()
        busy = self._walk(end) or self._read(end)
        events = self._tell(end)
        listens = self._has_room()
        more = len(events) >= BATCH or (listens and (busy or self._has_to_look()))
        return Turn(events, more, self._next_due(), self._is_here(), listens)

    def _has_to_look(self) -> bool:
        return bool(self.walks) or self.notes.doubted or (self.rules is not None and self.rules.doubted)

    def _is_here(self) -> bool:
        """Whether the root is there, or its end is not told in full."""
        return self._identity is not None or bool(self.changes.pending)

    def _has_room(self) -> bool:
        return len(self.changes.pending) < PENDING_MAX

    def _next_due(self) -> float:
        due = self.changes.next_due()
        return min(due, self.walks.next_all(EVERY)) if self.queue is None else due

    def _clock(self) -> None:
        if self.queue is None and self._begun and time.monotonic() >= self.walks.next_all(EVERY):
            self.notes.doubted = True
            self.walks.add_all()

    def _walk(self, end: float) -> bool:
        """Go on with the walks; whether some are left."""
        while self.walks and self._has_room():
            if time.monotonic() >= end:
                return True
            self.walks.go_on(self.scanner.walk)
        if not self.walks:
            self.notes.walked()
        return bool(self.walks)

    def _read(self, end: float) -> bool:
        """Take what the kernel has; whether there may be more."""
        if self.queue is None or not self._has_room():
            return False
        self.notes.forget_moves()
        asked_ns = time.time_ns()
        while notes := self.queue.read():
            for note in notes:
                self.take(note)
            if self.walks.waiting or time.monotonic() >= end or not self._has_room():
                return True
            asked_ns = time.time_ns()
        self.walks.heard_ns = asked_ns
        return False

    def _tell(self, end: float) -> list[EventInsert]:
        events, self._said = self._said, []
        if self.walks and self._has_room():
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

    def _read_rules(self) -> None:
        """Walk anew where files of rules outside of the root have changed."""
        if self.rules is None or not self.rules.doubted:
            return
        for path, changed_ns in self.rules.changed().items():
            self.notes.doubted |= not path
            self.notes.read_rules(path, changed_ns)

    def _look_around(self) -> None:
        """Whether the root is there, and the one that it was."""
        if not self.notes.doubted:
            return
        self.notes.doubted = False
        self._watch_around()
        found, known, begun = identity(self.root), self._identity, self._begun
        self._identity, self._begun = found, True
        if found == known:
            return
        if known is not None:
            self._vanish(known[1])
        if found is not None:
            if begun:
                self._said.append(fs_events.root_changed(self.root, "returned", found[1]))
                self.walks.add_all()
            elif self.since_ns is None:
                self.walks.add_all(EVERYTHING_IS_OLD)
            else:
                self.walks.add_all(self.since_ns, recalls=True)

    def _watch_around(self) -> None:
        if self.around is None:
            return
        repository = gitignore_files.repository_around(self.root) if self.gitignore else None
        self.around.watch(repository)
        if self.rules is not None:
            self.rules.renew()
            awaited = partial(gitignore_files.awaited_at, self.root)
            self.rules.follow("", awaited if repository is None else repository.files)

    def _vanish(self, inode: int) -> None:
        self.walks.clear()
        self.notes.lose("")
        for path in (*self.changes.pending, *self.changes.open):
            self.notes.note(path, "gone")
        self._said.append(fs_events.root_changed(self.root, "vanished", inode))

    # -- notifications -------------------------------------------------------------------------------------------------

    def take(self, note: inotify.Note) -> None:
        """Take a notification."""
        if self.rules is not None:
            self.rules.take(note)
        if note.mask & inotify.Q_OVERFLOW:
            self._lost()
        elif self.around is not None and self.around.take(note):
            self._take_around(self.around)
        else:
            self.notes.take(note)

    def _lost(self) -> None:
        self._said.append(fs_events.overflowed(self.root))
        self.notes.doubted = True
        self.walks.add_all()
        if self.rules is not None:
            self.rules.doubt_all()

    def _take_around(self, around: Around) -> None:
        self.notes.doubted |= around.doubted or self._identity is None
        if around.rules_changed:
            self.walks.add_all(self.walks.old(time.time_ns() - RECENT_NS))
        around.doubted = around.rules_changed = False
