"""Durations, sizes and points in time: one grammar for each, read and said the same everywhere.

Python's own number parsers are not used on what a person wrote: `float` takes `nan`, `1e-1` and `1_0`, and 0.2 crashed
on the first and misread the others.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

from waitbus.errors import InvalidDuration, InvalidSize, InvalidTime

DURATION_MAX_S = 36_500 * 86_400
"""A hundred years. Longer is a slip of the hand; `none` says "for ever"."""
HEARTBEAT_MIN = 0.05
"""s between two heartbeats: whoever beats more often does little else."""
INT64_MAX = 2**63 - 1
TIME_MIN_NS = 10**15
"""12 January 1970. What reads as an earlier moment was milliseconds, or no time at all."""
SECONDS_MAX = 10**12
"""A bare number up to here is seconds since 1970, a larger one nanoseconds."""

_HINT_DURATION = "write 500ms, 30s, 10m, 1h30m, or none"
_HINT_FINITE = "write 500ms, 30s, 10m or 1h30m"
_HINT_SIZE = "write 500k, 64MiB, 1GiB, or a number of bytes"
_HINT_TIME = "write now, 2025-01-31T12:00:00Z, 2025-01-31, or seconds or nanoseconds since 1970"

_NUMBER = r"([0-9]{1,20})(?:\.([0-9]{1,20}))?"
_BARE_NUMBER = re.compile(_NUMBER)
_DURATION = re.compile("".join(rf"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms")))
_DURATION_UNITS_MS = (86_400_000, 3_600_000, 60_000, 1_000, 1)
_SIZE = re.compile(rf"{_NUMBER}\s*([kmgt]?)(i?)b?")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,20}))?)?\s*(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# -- read --------------------------------------------------------------------------------------------------------------


def parse_duration(text: str, *, what: str = "") -> float | None:
    """Seconds of `500ms`, `30`, `1.5s`, `1h30m`, `2d`; None of `none`. `what` names the option in the error."""
    return None if _is_none(text) else _duration(text, what, _HINT_DURATION)


def parse_finite_duration(text: str, *, what: str = "") -> float:
    """`parse_duration` where "for ever" means nothing: `none` is refused too."""
    if _is_none(text):
        raise InvalidDuration(f"{_named(text, what)} is not possible here", hint=_HINT_FINITE)
    return _duration(text, what, _HINT_FINITE)


def parse_size(text: str, *, what: str = "") -> int:
    """Bytes of `1GiB`, `64MiB`, `500k`, `4096`: k, M, G, T are powers of 1000, with an `i` of 1024, in either case."""
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or (found[4] and not found[3]):
        raise InvalidSize(_not_a("size", text, what), hint=_HINT_SIZE)
    size = _scaled(found[1], found[2], (1024 if found[4] else 1000) ** " kmgt".index(found[3] or " "))
    if not 0 < size <= INT64_MAX:
        fault = "is less than one byte" if not size else "is larger than any disk"
        raise InvalidSize(f"{_named(text, what)} {fault}", hint=_HINT_SIZE)
    return size


def parse_time(text: str, *, what: str = "", now_ns: int | None = None) -> int:
    """Nanoseconds since 1970 of `now`, an RFC 3339 time (no offset: UTC), a date, or a number (see `SECONDS_MAX`)."""
    bare = text.strip()
    if bare.lower() == "now":
        return time.time_ns() if now_ns is None else now_ns
    moment = _moment(bare)
    if moment is None:
        raise InvalidTime(_not_a("time", text, what), hint=_HINT_TIME)
    if not TIME_MIN_NS <= moment <= INT64_MAX:
        raise InvalidTime(f"{_named(text, what)} lies outside of 1970 to 2262", hint=_HINT_TIME)
    return moment


def _is_none(text: str) -> bool:
    return text.strip().lower() == "none"


def _duration(text: str, what: str, hint: str) -> float:
    seconds = _seconds(text.strip().lower())
    if seconds is None:
        raise InvalidDuration(_not_a("duration", text, what), hint=hint)
    if not 0 < seconds <= DURATION_MAX_S:
        fault = "must be longer than nothing" if not seconds else "is longer than a hundred years"
        raise InvalidDuration(f"{_named(text, what)} {fault}", hint=hint)
    return seconds


def _seconds(bare: str) -> float | None:
    if found := _BARE_NUMBER.fullmatch(bare):
        return float(found[0])
    found = _DURATION.fullmatch(bare)
    if found is None or not bare:
        return None
    numbers = zip(found.groups()[::2], found.groups()[1::2], _DURATION_UNITS_MS, strict=True)
    return sum(_scaled(whole, part, unit * 1000) for whole, part, unit in numbers if whole) / 1e6


def _moment(bare: str) -> int | None:
    if found := _BARE_NUMBER.fullmatch(bare):
        return _scaled(found[1], found[2], 10**9 if int(found[1]) <= SECONDS_MAX else 1)
    found = _TIME.fullmatch(bare)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    offset = timedelta(hours=int(found[10] or 0), minutes=int(found[11] or 0)) * (-1 if found[9] == "-" else 1)
    leap = second == 60  # RFC 3339 allows 23:59:60; datetime does not
    try:
        at = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone(offset))
    except ValueError:
        return None
    whole = (at - _EPOCH) // timedelta(seconds=1) + leap
    return whole * 10**9 + _scaled("0", found[7], 10**9)


def _scaled(whole: str, part: str | None, unit: int) -> int:
    """`whole.part * unit`, rounded down, without a float in between."""
    part = part or ""
    scale: int = 10 ** len(part)
    return int(whole + part) * unit // scale


def _named(text: str, what: str) -> str:
    return f"{what} {text!r}".strip()


def _not_a(kind: str, text: str, what: str) -> str:
    return f"{_named(text, what)} is not a {kind}"


# -- say ---------------------------------------------------------------------------------------------------------------


def say_duration(seconds: float, *, parts: int = 2) -> str:
    """`0.4 ms`, `2.1 s`, `14 min`, `6 min 12 s`, `3 d 4 h`: at most `parts` units, zeros left out."""
    if seconds < 0:
        return "-" + say_duration(-seconds, parts=parts)
    if seconds < 0.9995:
        return f"{_short(seconds * 1000, 10)} ms"
    if seconds < 59.95:
        return f"{_short(seconds, 60)} s"
    left, units = round(seconds), []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        units.append((count, unit))
    while not units[0][0]:
        units.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in units[:parts] if count)


def say_count(count: int, noun: str, plural: str = "") -> str:
    """`1 event`, `48,211 events`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def say_size(size: int) -> str:
    """`512 B`, `1.5 KiB`, `31 MiB`, `214 GiB`: powers of 1024, one decimal below ten."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1023.5:
            break
        value, unit = value / 1024, larger
    return f"{_short(value, 10)} {unit}"


def say_time(at_ns: int) -> str:
    """RFC 3339 in UTC, microseconds, the form of every JSON output."""
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _short(value: float, precise_below: float) -> str:
    text = f"{value:.1f}" if value < precise_below else f"{value:.0f}"
    return text.removesuffix(".0")
