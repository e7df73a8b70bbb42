"""The rows of the fs source.

The key of a file that is there is its state: path, inode, size and time. So what one watcher calls created, another one, which
knew the file before, modified, and a third, which saw where it came from, moved, is one row. The key of one that is gone is the
state that it had. The time is that of the last write; where the inode was changed later (a move, a time set back as `tar` and
`cp -p` do) that moment is part of it, or a file that comes back as it was would be taken for the row of the first time. Only
what follows a write within 50 ms, the `chmod` of an installer, is not: one watcher sees it before that and one behind it.
"""

from __future__ import annotations

import hashlib
import os

from waitbus.events import EventInsert
from waitbus.sources.fs_changes import Change
from waitbus.sources.fs_tree import Seen

CHANGE = "fs_change"
OVERFLOW = "fs_overflow"
ROOT = "fs_root"

TOGETHER_NS = 50_000_000
PATH_MAX = 300
"""Characters of a path in a key; what is longer stands there by its digest."""


def changed(root: str, change: Change) -> EventInsert:
    """The row of a change below an absolute root."""
    seen, gone = change.seen, change.action == "deleted"
    path = os.path.join(root, change.path)
    old_path = None if change.old_path is None else os.path.join(root, change.old_path)
    return EventInsert(
        source="fs",
        event_type=CHANGE,
        delivery_id=f"fs:{path_key(path)}:{'deleted' if gone else 'is'}:{seen.inode}:{seen.size}:{moment(seen)}",
        status="completed",
        workflow_name=os.path.basename(path),
        fields={
            "path": path,
            "relpath": change.path,
            "action": change.action,
            "kind": change.action,
            "old_path": old_path,
            "size": None if gone else seen.size,
            "mtime_ns": seen.mtime_ns,
            "root": root,
        },
        ingest_method="fs_watch",
    )


def overflowed(root: str) -> EventInsert:
    """Notifications were lost; everything below the root is looked at again, and what has changed is told behind this row."""
    return EventInsert(
        source="fs",
        event_type=OVERFLOW,
        workflow_name=os.path.basename(root) or root,
        fields={"path": root, "action": "overflow", "kind": "overflow", "root": root},
        ingest_method="fs_watch",
    )


def root_changed(root: str, action: str, inode: int) -> EventInsert:
    """The root itself `vanished` or `returned`; the key has when the folder around it changed, in which two watchers agree."""
    return EventInsert(
        source="fs",
        event_type=ROOT,
        delivery_id=f"fs:{path_key(root)}:{action}:{inode}:{_around_ns(root)}",
        workflow_name=os.path.basename(root) or root,
        fields={"path": root, "action": action, "kind": action, "root": root},
        ingest_method="fs_watch",
    )


def moment(seen: Seen) -> str:
    """The time of a key."""
    if 0 <= seen.changed_ns - seen.mtime_ns <= TOGETHER_NS:
        return str(seen.mtime_ns)
    return f"{seen.mtime_ns}.{seen.changed_ns}"


def path_key(path: str) -> str:
    """A path as a key has it: no two that differ are one, and none is too long or has a character that needs escaping."""
    if len(path) <= PATH_MAX and path.isprintable() and path.isascii():
        return path
    digest = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
    plain = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in path[-100:])
    return f"{digest}/{plain}"


def _around_ns(root: str) -> int:
    place = os.path.dirname(root)
    while True:
        try:
            return os.stat(place).st_mtime_ns
        except OSError:
            if place == os.path.dirname(place):
                return 0
            place = os.path.dirname(place)
