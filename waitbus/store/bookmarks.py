"""What bookmarks keep: events that a reader who goes away and comes back has not seen yet."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from waitbus.errors import InvalidCursor
from waitbus.events import parse_event_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waitbus.store.log import Log

IN_USE = 90 * 86400
"""s. A bookmark that was not moved for so long keeps nothing any more."""


def keep_from(log: Log, *, now: float | None = None) -> int | None:
    """The first seq that some bookmark in use has not passed; None where there is no bookmark."""
    at = time.time() if now is None else now
    places = [_seq(log, text) for text in _in_use(os.fspath(log.path.parent / "cursors"), at)]
    known = [seq for seq in places if seq is not None]
    return min(known) + 1 if known else None


def _in_use(folder: str, now: float) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if not (entry.name.startswith("bookmark-") and entry.name.endswith(".txt")):
            continue
        try:
            if now - entry.stat().st_mtime < IN_USE:
                with open(entry.path, encoding="ascii") as file:
                    yield file.read(100).strip()
        except (OSError, ValueError):
            continue


def _seq(log: Log, text: str) -> int | None:
    try:
        place = parse_event_id(text)
    except InvalidCursor:
        return None
    return place.seq if place.tag == log.tag else log.alias(text)
