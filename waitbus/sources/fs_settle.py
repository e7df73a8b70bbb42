"""A path that is due: look at it, compare it with what was known, and know it as it is."""

from __future__ import annotations

import time

from waitbus.sources.fs_changes import HOLD, Change, Changes, Pending, judge
from waitbus.sources.fs_tree import Seen, Tree, is_being_written, look

TRIES = 2


def settle(tree: Tree, changes: Changes, path: str, pending: Pending) -> Change | None:
    """What to tell of the path; None where there is nothing to tell, or not yet."""
    shown = tree.shows(path)
    if shown is False:
        tree.forget(path)
        return None
    place = tree.absolute(path)
    before, now = tree.known(path), look(place)
    if shown is None and now is not None:
        _wait_for_folder(tree, changes, path, pending)
        return None
    if now is None:
        tree.forget(path)
        return None if before is None else Change("deleted", path, before)
    is_same = before is not None and before.is_as(now)
    if not (is_same or pending.closed) and is_being_written(place):
        changes.leave_open(path, pending)
        return None
    now = now._replace(changed_ns=max(now.changed_ns, pending.since_ns))
    return _keep(tree, path, before, now.not_before(before) if before is not None and is_same else now, pending.origin)


def _keep(tree: Tree, path: str, before: Seen | None, now: Seen, origin: str | None) -> Change | None:
    action = judge(before, now, None if origin is None else tree.known(origin))
    tree.keep(path, now)
    if action is None:
        return None
    if action != "moved" or origin is None:
        return Change(action, path, now)
    tree.forget(origin)
    return Change(action, path, now, origin)


def _wait_for_folder(tree: Tree, changes: Changes, path: str, pending: Pending) -> None:
    """The file is there and its folder is not watched: either that came back, which stands in the queue, or it is hidden now."""
    pending.tries += 1
    if pending.tries > TRIES:
        tree.forget(path)
    else:
        changes.put_back(path, pending, time.monotonic() + HOLD)
