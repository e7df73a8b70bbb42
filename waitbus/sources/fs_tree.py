"""What is known of the files under a root, and how one is looked at.

Memory: about 0.3 KiB for a file that is watched for, its name included, and 1 KiB for a folder; ignored, excluded and not
included files cost nothing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import attrs

from waitbus.sources.gitignore import latin

if TYPE_CHECKING:
    from waitbus.sources.fs_globs import Globs
    from waitbus.sources.gitignore import Scope


class Seen(NamedTuple):
    """A file as it was when it was last looked at. Times are ns; `changed_ns` is when its inode was last changed, or when the
    folder with which it came was moved here, whichever is later."""

    inode: int
    size: int
    mtime_ns: int
    changed_ns: int

    def is_as(self, other: Seen) -> bool:
        """Whether nothing was written and no other file took its place in between."""
        return self[:3] == other[:3]

    def not_before(self, other: Seen) -> Seen:
        """The same, changed at the earliest when the other was: how it came stays known."""
        return self if self.changed_ns >= other.changed_ns else self._replace(changed_ns=other.changed_ns)


@attrs.define(eq=False)
class Folder:
    """A folder that is watched. `path` is relative to the root, "" for the root itself."""

    path: str
    watch: int = -1
    scope: Scope | None = None
    included: bool = False
    """Whether an include took the folder itself, and so all that lies in it."""
    files: dict[str, Seen] = attrs.field(factory=dict)
    folders: set[str] = attrs.field(factory=set)


@attrs.define(eq=False)
class Tree:
    """The folders and files under `root`, an absolute path. All paths within are relative to it, with `/` between their parts."""

    root: str
    globs: Globs
    folders: dict[str, Folder] = attrs.field(factory=dict)
    by_watch: dict[int, Folder] = attrs.field(factory=dict)
    ghosts: dict[str, Seen] = attrs.field(factory=dict)
    """Files whose folder is gone, until that has been told of them."""

    def absolute(self, path: str) -> str:
        return os.path.join(self.root, path) if path else self.root

    def known(self, path: str) -> Seen | None:
        """What was last told of a file, or seen when the watch began."""
        folder, name = self.place_of(path)
        return (folder.files.get(name) if folder else None) or self.ghosts.get(path)

    def keep(self, path: str, seen: Seen) -> None:
        """Know a file; where its folder is not watched, nothing is kept."""
        self.ghosts.pop(path, None)
        folder, name = self.place_of(path)
        if folder is not None:
            folder.files[name] = seen

    def forget(self, path: str) -> None:
        self.ghosts.pop(path, None)
        folder, name = self.place_of(path)
        if folder is not None:
            folder.files.pop(name, None)

    def place_of(self, path: str) -> tuple[Folder | None, str]:
        """The folder that a path is in, if that is watched, and the path's name there."""
        parent, _, name = path.rpartition("/")
        return self.folders.get(parent), name

    def shows(self, path: str) -> bool | None:
        """Whether a file of this path is one to tell of; None where its folder is not watched."""
        folder, name = self.place_of(path)
        return None if folder is None else self.takes_file(folder, name)

    def takes_file(self, folder: Folder, name: str) -> bool:
        if name == ".git":
            return False
        path, latin_name = latin(joined(folder.path, name)), latin(name)
        if not folder.included and not self.globs.includes(path, latin_name, is_folder=False):
            return False
        if self.globs.excludes(path, latin_name, is_folder=False):
            return False
        return folder.scope is None or not folder.scope.ignores(latin_name, is_folder=False)

    def takes_folder(self, folder: Folder, name: str) -> bool:
        if name == ".git" or self.globs.excludes(latin(joined(folder.path, name)), latin(name), is_folder=True):
            return False
        return folder.scope is None or not folder.scope.ignores(latin(name), is_folder=True)

    def is_included(self, folder: Folder, name: str) -> bool:
        """Whether an include takes a folder in a folder, and so all that lies in it."""
        path = latin(joined(folder.path, name))
        return folder.included or (bool(self.globs.include) and self.globs.includes(path, latin(name), is_folder=True))

    def below(self, path: str) -> Iterator[Folder]:
        """A folder and those below it."""
        left = [path]
        while left:
            folder = self.folders.get(left.pop())
            if folder is not None:
                left += [joined(folder.path, name) for name in folder.folders]
                yield folder

    def remove(self, path: str) -> list[Folder]:
        """Take a folder and those below it out; answers them."""
        gone = list(self.below(path))
        for folder in gone:
            del self.folders[folder.path]
            if self.by_watch.get(folder.watch) is folder:
                del self.by_watch[folder.watch]
        parent, name = self.place_of(path)
        if parent is not None and path:
            parent.folders.discard(name)
        return gone


def joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def seen(found: os.stat_result, since_ns: int = 0) -> Seen | None:
    """What a stat says of a file or a link; None for everything else, a folder or a pipe."""
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        return None
    return Seen(found.st_ino, found.st_size, found.st_mtime_ns, max(found.st_ctime_ns, since_ns))


def look(path: str) -> Seen | None:
    """The file at an absolute path, or the link itself; None where there is none."""
    try:
        return seen(os.lstat(path))
    except (OSError, ValueError):
        return None


def is_being_written(path: str) -> bool:
    """Whether somebody has the file open for writing; False where that cannot be known.

    The kernel gives a read lease, fcntl(2), only on a file that nobody writes. If somebody opens it while we hold the lease, he
    waits until we have closed it, and we get a signal: SIGURG, which is ignored, since the default one would end the process.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return False
    try:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:  # not our file, or a file system without leases
        return False
    finally:
        os.close(file)
    return False
