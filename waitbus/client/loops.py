"""Which event loop runs in this thread, asked without loading any: whoever runs one has loaded it."""

from __future__ import annotations

import sys
from typing import Any


def running() -> object | None:
    """The loop of trio or asyncio that runs in this thread; None if none does."""
    token = running_trio()
    if token is not None:
        return token
    asyncio: Any = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


def running_trio() -> object | None:
    """The loop of trio that runs in this thread."""
    trio: Any = sys.modules.get("trio")
    if trio is not None:
        try:
            return trio.lowlevel.current_trio_token()  # type: ignore[no-any-return]
        except RuntimeError:
            pass
    return None
