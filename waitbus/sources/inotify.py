"""The kernel's notifications of what happens in folders: inotify(7), called by ctypes.

Directly, because what is between us and it elsewhere costs: a thread that polls, or moves without their cookies.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache
from typing import Any, NamedTuple

from waitbus.errors import ServiceMissing

ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
Q_OVERFLOW = 0x4000
IGNORED = 0x8000
ONLYDIR = 0x0100_0000
DONT_FOLLOW = 0x0200_0000
MASK_ADD = 0x2000_0000
ISDIR = 0x4000_0000

NAMES = CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
"""What happens to what lies in a folder."""
SELF = DELETE_SELF | MOVE_SELF
"""What happens to the folder itself; that it was unmounted is told in any case."""
FILE = CLOSE_WRITE | ATTRIB | SELF
"""What happens to a file; that another took its place is told as a change of its attributes, the number of its names."""

HEADER = struct.Struct("iIII")
BUFFER = 65536

NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})


class Note(NamedTuple):
    """One notification; `cookie` joins the two halves of a move, `name` is empty for what concerns the folder itself."""

    watch: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """One queue of notifications. `fd` is readable while there are any.

    Raises:
      ServiceMissing: the kernel has no such queue, or no further one for this user.
    """

    def __init__(self) -> None:
        self.fd: int = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            code = ctypes.get_errno()
            raise ServiceMissing(
                f"the kernel gives no inotify queue: {os.strerror(code)}",
                hint="raise the sysctl fs.inotify.max_user_instances, or end programs that watch files"
                if code == errno.EMFILE
                else "a sandbox may forbid the system call inotify_init1",
            )

    def add(self, folder: str, mask: int) -> int | None:
        """Watch a folder; its number, the same for the same folder. None where it is not there, is a link, or may not be read.

        Raises:
          ServiceMissing: the user's watches are used up.
        """
        return self._add(folder, mask | ONLYDIR | DONT_FOLLOW)

    def add_too(self, path: str, mask: int) -> int | None:
        """Watch a file or a folder, or that to which a link leads, besides what is told of it already; else as `add`."""
        return self._add(path, mask | MASK_ADD)

    def _add(self, place: str, mask: int) -> int | None:
        try:
            path = os.fsencode(place)
        except ValueError:
            return None
        watch: int = _libc().inotify_add_watch(self.fd, path, mask)
        if watch >= 0:
            return watch
        code = ctypes.get_errno()
        if code in NOT_THERE:
            return None
        raise ServiceMissing(
            f"{place} cannot be watched: {os.strerror(code)}",
            hint="raise the sysctl fs.inotify.max_user_watches, or exclude large folders"
            if code == errno.ENOSPC
            else "inotify is what tells of changes; it failed here",
        )

    def remove(self, watch: int) -> None:
        """Watch no more; what is in the queue stays there."""
        _libc().inotify_rm_watch(self.fd, watch)  # fails where the folder is gone, which is as good

    def read(self) -> list[Note]:
        """What has come, a buffer full at most; [] if nothing has."""
        try:
            return parse(os.read(self.fd, BUFFER))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give the queue back, once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def parse(data: bytes) -> list[Note]:
    """The notifications in a buffer, `struct inotify_event` one after the other."""
    notes, at = [], 0
    while at < len(data):
        watch, mask, cookie, length = HEADER.unpack_from(data, at)
        at += HEADER.size
        notes.append(Note(watch, mask, cookie, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
        at += length
    return notes


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
    libc.inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]
    return libc
