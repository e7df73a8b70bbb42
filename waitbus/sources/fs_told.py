"""What the log knows of a file: how it was when it was told of last, by the key of that row (`fs_events`)."""

from __future__ import annotations

import re

from waitbus.errors import LogError, PathError
from waitbus.sources.fs_events import path_key
from waitbus.sources.fs_tree import Seen
from waitbus.store import shared

NEWEST = (
    "SELECT delivery_id FROM events WHERE (delivery_id >= ?1 || ':deleted:' AND delivery_id < ?1 || ':deleted;') "
    "OR (delivery_id >= ?1 || ':is:' AND delivery_id < ?1 || ':is;') ORDER BY +seq DESC LIMIT 1"
)
_STATE = re.compile(r":is:(\d+):(\d+):(-?\d+)(?:\.(\d+))?", re.ASCII)


def last_told(path: str) -> Seen | None:
    """The file at an absolute path as its newest row has it; None where there is none, or it says that the file is gone."""
    key = f"fs:{path_key(path)}"
    try:
        found = shared(reading=True).use(lambda db: db.execute(NEWEST, (key,)).fetchall())
    except (LogError, PathError):
        return None
    state = _STATE.fullmatch(found[0][0][len(key) :]) if found else None
    if state is None:
        return None
    inode, size, written, changed = state.groups()
    return Seen(int(inode), int(size), int(written), int(changed or written))
