"""Walking a folder in steps: watch it, read its rules, then look at what is in it; in that order, so that nothing is missed.

A generator, so that whoever walks can stop after any entry and go on later.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

from waitbus.sources import gitignore_files
from waitbus.sources.fs_tree import Folder, Seen, Tree, joined, seen
from waitbus.sources.gitignore import Scope
from waitbus.sources.gitignore_files import Repository

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""That a folder cannot be opened for want of these says nothing of what is in it."""
EVERYTHING_IS_OLD = 1 << 63
"""For `old_before_ns`: what is found was there before."""


class Hears(Protocol):
    """What a walk tells, of paths relative to the root."""

    def found(self, path: str, seen: Seen, walk: Walk) -> None:
        """A file that was not known, or is another one than was known."""

    def is_noted(self, path: str) -> bool:
        """Whether something of a file is still to be told."""

    def missing(self, path: str) -> None:
        """A file that was known, and is not there."""

    def left(self, path: str) -> None:
        """A folder that is not there any more."""

    def hidden(self, path: str) -> None:
        """A folder that the rules hide by now."""

    def repository(self, path: str, found: Repository | None) -> None:
        """A folder, and the repository whose top it is; its rules are read behind this."""


@attrs.frozen
class Walk:
    """What a walk begins with: a folder, and what is known of how it came. `scope`: of the folder around it, as it is by then.

    A file that was not known and whose inode was changed before `old_before_ns` was there all the time, out of our sight; so was
    one that was before `seen_ns`, when everything was last walked, where the rules are others by now.
    `origin` is the path from which the folder was renamed to here, at `since_ns`.
    """

    path: str
    included: bool = False
    old_before_ns: int = 0
    seen_ns: int = 0
    origin: str | None = None
    since_ns: int = 0
    recalls: bool = False
    """Whether others watched before: what the log has of a file is what was known of it."""
    scope: Scope | None = None
    changed: bool = False
    """Whether the rules around it are others than in the walk before."""

    def origin_of(self, path: str) -> str | None:
        """Where a file that is found came from."""
        return None if self.origin is None else self.origin + path[len(self.path) :]


@attrs.define(eq=False)
class Scanner:
    """Walks; `watch` gives a folder's number in the kernel's queue, None if it is not there."""

    tree: Tree
    hears: Hears
    watch: Callable[[str], int | None]
    recursive: bool = True
    gitignore: bool = True

    def walk(self, walk: Walk) -> Iterator[None]:
        """Yields after each entry."""
        begun = self._begun(walk)
        left = [] if begun is None else [begun]
        while left:
            walk = left.pop()
            before = self.tree.folders.get(walk.path)
            scope = None if before is None else before.scope
            folder = self._enter(walk.path, walk.scope, walk.included)
            if folder is None:
                self.hears.left(walk.path)
                continue
            changed = walk.changed or (scope is not None and scope != folder.scope)
            yield from self._look_into(folder, walk, left, changed)

    def _begun(self, walk: Walk) -> Walk | None:
        """The walk in the rules of now: they may have changed since it was asked for, and hide it."""
        if not walk.path:
            return attrs.evolve(walk, scope=gitignore_files.scope_around(self.tree.root) if self.gitignore else None)
        around, name = self.tree.place_of(walk.path)
        if around is None or not self.tree.takes_folder(around, name):
            return None
        return attrs.evolve(walk, scope=around.scope)

    def _enter(self, path: str, outer: Scope | None, included: bool) -> Folder | None:
        place = self.tree.absolute(path)
        watch = self.watch(place)
        if watch is None:
            return None
        folder = self.tree.folders.get(path) or Folder(path)
        if folder.watch != watch and self.tree.by_watch.get(folder.watch) is folder:
            del self.tree.by_watch[folder.watch]
        folder.watch, folder.included = watch, included
        folder.scope = self._scope(path, place, outer) if self.gitignore else None
        self.tree.folders[path] = self.tree.by_watch[watch] = folder
        return folder

    def _scope(self, path: str, place: str, outer: Scope | None) -> Scope:
        repository = gitignore_files.repository_at(place)
        self.hears.repository(path, repository)
        return gitignore_files.scope_of(place, os.path.basename(place), outer, repository)

    def _look_into(self, folder: Folder, walk: Walk, left: list[Walk], changed: bool) -> Iterator[None]:
        old_before_ns = max(walk.old_before_ns, walk.seen_ns) if changed else walk.old_before_ns
        unseen, unseen_folders = set(folder.files), set(folder.folders)
        for name, is_folder, now in self._entries(folder):
            if is_folder:
                if self.recursive and self.tree.takes_folder(folder, name):
                    unseen_folders.discard(name)
                    folder.folders.add(name)
                    left.append(self._inner(folder, name, walk, changed))
            elif now is not None and self.tree.takes_file(folder, name):
                unseen.discard(name)
                self._compare(folder, name, now, walk, old_before_ns)
            yield
        for name in unseen:
            self._miss(folder, name)
        for name in unseen_folders:
            self._miss_folder(folder, name)

    def _inner(self, folder: Folder, name: str, walk: Walk, changed: bool) -> Walk:
        path, included = joined(folder.path, name), self.tree.is_included(folder, name)
        if walk.recalls and (moved_ns := _moved_ns(self.tree.absolute(path), walk.old_before_ns)):
            return Walk(path, included, since_ns=moved_ns, recalls=True, scope=folder.scope)
        origin = walk.origin_of(path)
        return attrs.evolve(walk, path=path, scope=folder.scope, included=included, origin=origin, changed=changed)

    def _entries(self, folder: Folder) -> Iterator[tuple[str, bool, Seen | None]]:
        try:
            place = os.open(
                self.tree.absolute(folder.path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            )
        except ValueError:
            return
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            return
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    try:
                        is_folder = entry.is_dir(follow_symlinks=False)
                        yield entry.name, is_folder, None if is_folder else seen(entry.stat(follow_symlinks=False))
                    except OSError:  # gone since
                        yield entry.name, False, None
        except OSError:  # the whole folder is
            pass
        finally:
            os.close(place)

    def _compare(self, folder: Folder, name: str, now: Seen, walk: Walk, old_before_ns: int) -> None:
        path = joined(folder.path, name)
        before = self.tree.known(path)
        if before is None and now.changed_ns < old_before_ns and not self.hears.is_noted(path):
            folder.files[name] = now
        elif before is None or not before.is_as(now):
            self.hears.found(path, now, walk)
        else:
            self.tree.keep(path, now.not_before(before))

    def _miss(self, folder: Folder, name: str) -> None:
        if not self.tree.takes_file(folder, name):
            folder.files.pop(name, None)  # the rules have changed, the file has not
        else:
            self.hears.missing(joined(folder.path, name))

    def _miss_folder(self, folder: Folder, name: str) -> None:
        path = joined(folder.path, name)
        if self.tree.takes_folder(folder, name):
            self.hears.left(path)
        else:
            self.hears.hidden(path)


def _moved_ns(place: str, since_ns: int) -> int:
    """When a folder was renamed to here, if that was since then and nothing came into it later; else 0.

    That changes it, and not its content. So does a chmod, and then files that nobody ever told of are told of once.
    """
    try:
        found = os.lstat(place)
    except OSError:
        return 0
    changed_ns = found.st_ctime_ns
    return changed_ns if since_ns <= changed_ns != found.st_mtime_ns else 0
