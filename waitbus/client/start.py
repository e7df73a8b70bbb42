"""Where a reader begins: now, behind an event, or at a moment. One grammar for `--since` and `since=`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import InvalidCursor, InvalidDuration, InvalidTime
from waitbus.events import parse_event_id
from waitbus.quantities import parse_duration, parse_time

if TYPE_CHECKING:
    from typing import Final


@attrs.frozen
class Start:
    """At most one is set: `event_id` (strictly behind it) or `at_ns` (commit time, ns since the epoch). None of them: now."""

    event_id: str | None = None
    at_ns: int | None = None


NOW: Final = Start()


def parse_since(text: str | None, *, what: str = "since", now_ns: int | None = None) -> Start:
    """`now`, an event id or cursor, a duration (`5m`: so long ago), or a time (RFC 3339). None is `now`.

    Raises:
      InvalidCursor: it is none of these.
    """
    if text is None or text.strip() == "now":
        return NOW
    bare = text.strip()
    if len(bare) == 26 and bare.isalnum():
        parse_event_id(bare.upper())
        return Start(event_id=bare.upper())
    now_ns = time.time_ns() if now_ns is None else now_ns
    try:
        seconds = parse_duration(bare)
    except InvalidDuration:
        seconds = None
    if seconds is not None:
        return Start(at_ns=max(0, now_ns - int(seconds * 1e9)))
    try:
        return Start(at_ns=parse_time(bare))
    except InvalidTime:
        raise InvalidCursor(
            f"{what} {text!r} is no place in the log",
            hint="write now, an event id (`waitbus cursor` prints one), 10m, or 2026-01-31T12:00:00Z",
        ) from None
