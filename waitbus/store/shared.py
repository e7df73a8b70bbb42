"""The process's own log for each path: producers and readers use one connection."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from waitbus import whole
from waitbus.paths import config_path, log_path
from waitbus.store.log import Log

if TYPE_CHECKING:
    from pathlib import Path

OPEN_MAX = 8
"""Beyond this many paths, the log that was asked for the longest time ago is closed."""

_shared: dict[tuple[str, bool], Log] = {}
_lock = threading.Lock()


def shared(path: Path | None = None, *, reading: bool = False) -> Log:
    """The process's own `Log` for this path, made when first asked for; `synchronous` is what the configuration says.

    `reading`: another one, for those who never append; a thread that waits for the write lock holds the first for 5 s.
    """
    path = log_path() if path is None else path
    name = (os.fspath(path), reading)
    with _lock:
        log = _shared.pop(name, None) or Log(path, synchronous=_durability())
        _shared[name] = log
        oldest = _shared.pop(next(iter(_shared))) if len(_shared) > OPEN_MAX else None
    if oldest is not None:
        oldest.close()
    return log


def _durability() -> str:
    """The `synchronous` of the configuration, by itself: the rest of the file costs 15 ms more to judge than an emit to run.

    Where the file cannot be read it is FULL, so that nobody gets less than was asked for.
    """
    path = config_path()
    try:
        text = whole.read(path).decode()
        import tomllib

        asked = tomllib.loads(text).get("synchronous", "NORMAL")
    except (FileNotFoundError, NotADirectoryError):
        return "NORMAL"
    except (OSError, ValueError, RecursionError):
        return "FULL"
    return "NORMAL" if str(asked).upper() == "NORMAL" else "FULL"


def _after_fork() -> None:
    # Whoever held it is not in the child.
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
