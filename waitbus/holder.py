"""What a daemon writes of itself into `daemon.lock`, and how it is read whatever is in that file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from waitbus import whole

if TYPE_CHECKING:
    from pathlib import Path

LINE_MAX = 4096
_NUMBER_MAX = {"pid": 2**31 - 1, "since": 2**63 - 1}
_TEXTS = ("how", "version")


def line(*, pid: int, since: int, how: str, version: str) -> bytes:
    """The line; `since` is in ns since the epoch."""
    return json.dumps({"pid": pid, "since": since, "how": how, "version": version}).encode()


def read(path: Path) -> dict[str, Any]:
    """Those of `pid`, `since`, `how` and `version` that the file at `path` tells; none if it is empty, garbage, or not there."""
    try:
        about = json.loads(whole.read(path, LINE_MAX) or b"{}")
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: about[name] for name in about if _is_told(name, about[name])} if isinstance(about, dict) else {}


def _is_told(name: str, value: object) -> bool:
    if name in _NUMBER_MAX:
        # Whoever is shown a pid may kill it: 0, -1 and true are no process.
        return type(value) is int and 0 < value <= _NUMBER_MAX[name]
    return name in _TEXTS and isinstance(value, str)
