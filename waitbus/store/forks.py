"""One log a process, and forks: every connection is closed before a fork, and opened anew on both sides when first used.

POSIX file locks are not inherited, but SQLite's memory of them is: a connection that a child opens beside its parent's takes
no lock of its own, the next process to close the log believes itself to be the last and deletes the WAL, and what the child
commits from then on is seen by nobody. Nothing short of closing before the fork helps. (`subprocess` needs none of this.)
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waitbus.store.log import Log

_logs: weakref.WeakSet[Log] = weakref.WeakSet()
_registry = threading.Lock()
_held: list[Log] = []


def register(log: Log) -> None:
    """Close `log` before each fork from now on."""
    with _registry:
        _logs.add(log)


def _before() -> None:
    # Each log's lock is waited for outside of the registry's, so that a thread in the middle of an append may finish it; the
    # registry stays locked until the fork is done, so that no log comes into being meanwhile.
    while True:
        _registry.acquire()
        waiting = [log for log in list(_logs) if log not in _held]
        if not waiting:
            return
        _registry.release()
        for log in waiting:
            log._lock.acquire()
            log._close()
            _held.append(log)


def _after() -> None:
    while _held:
        _held.pop()._lock.release()
    _registry.release()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
