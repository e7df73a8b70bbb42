"""Where a reader begins: now, behind an event, or at a moment. One grammar for `--since` and `since=`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import InvalidCursor, InvalidDuration, InvalidTime
from waitbus.event_checks import shown
from waitbus.events import parse_event_id
from waitbus.quantities import parse_duration, parse_time

if TYPE_CHECKING:
    from typing import Final

    from waitbus.store import Facts, Log


@attrs.frozen
class Start:
    """At most one is set: `event_id` (strictly behind it) or `at_ns` (commit time, ns since the epoch). None of them: now.

    `told`: `at_ns` was just read from this machine's clock, and what was committed before that clock was stepped back is out.
    """

    event_id: str | None = None
    at_ns: int | None = None
    told: bool = False


NOW: Final = Start()


BARE_TIME = 10**9
"""A bare number from here on is a time (s or ns since 1970), a smaller one seconds ago: 31 years would be a slip."""
LONGEST = 1000
"""Digits of a number that is looked at; Python itself refuses to read one of more than 4,300."""

_HINT = "write now, 10m, a time as in 2025-01-31T12:00:00Z, or an event id as `waitbus cursor` prints"


def parse_since(text: str | None, *, what: str = "since", now_ns: int | None = None) -> Start:
    """`now`, an event id or cursor, a duration (`5m`: so long ago), or a time (RFC 3339, s, ns). None is `now`.

    Raises:
      InvalidCursor: it is none of these.
    """
    if not isinstance(text, str | None):
        raise InvalidCursor(f"{what} {shown(text)} is not a text", hint=_HINT)
    bare = "now" if text is None else text.strip()
    if bare.lower() == "now":
        return NOW
    found = _of_id(bare) or _of_duration(bare, now_ns) or _of_time(bare)
    if found is None:
        raise InvalidCursor(
            f"{what} {shown(text)} is neither a cursor nor a time",
            hint=_HINT,
        )
    return found


def _of_id(text: str) -> Start | None:
    try:
        parse_event_id(text.upper())
    except InvalidCursor:
        return None
    return Start(event_id=text.upper())


def _of_duration(text: str, now_ns: int | None) -> Start | None:
    if text.isdecimal() and (len(text) > LONGEST or int(text) >= BARE_TIME):
        return None
    try:
        seconds = parse_duration(text)
    except InvalidDuration:
        return None
    now_ns = time.time_ns() if now_ns is None else now_ns
    return None if seconds is None else Start(at_ns=max(0, now_ns - int(seconds * 1e9)))


def _of_time(text: str) -> Start | None:
    try:
        return Start(at_ns=parse_time(text))
    except InvalidTime:
        return None


def position(log: Log, start: Start, facts: Facts) -> tuple[int, str | None]:
    """The seq that `start` stands at in a log of which `facts` were just read, and why it is none of this log's places:
    `other_log`, `unknown`, or None. It may lie before what was pruned."""
    if start.at_ns is not None:
        return log.seq_before(start.at_ns // 1_000_000, told=start.told), None
    if start.event_id is None:
        return facts.last, None
    place = parse_event_id(start.event_id)
    if place.tag == facts.tag and place.seq <= facts.last:
        row = log.row(place.seq)
        if place.seq <= facts.pruned_to or (row is not None and row.at_ms == place.at_ms):
            return place.seq, None
    alias = log.alias(start.event_id)
    if alias is not None:
        return alias, None
    return 0, "unknown" if place.tag == facts.tag else "other_log"
