"""Event ids: a ULID of 10 characters of commit time in ms, 6 of the log's tag, 10 of the seq.

To clients an id is opaque and sorts as the log does; to us it *is* the pair (log, seq), so that a cursor needs no look-up and
a foreign one is told at once.
"""

from __future__ import annotations

import re

import attrs

from waitbus.errors import InvalidCursor

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")

TAG_BITS = 30
SEQ_MAX = (1 << 50) - 1


@attrs.frozen
class EventId:
    """The parts of an event id: commit time in ms since the epoch, the log's tag, the seq (0: before the first event)."""

    at_ms: int
    tag: int
    seq: int


def make_event_id(at_ms: int, tag: int, seq: int) -> str:
    """The ULID of an event: within one log it increases strictly with `seq`."""
    return f"{_ten(at_ms)}{log_id(tag)}{_ten(seq)}"


def log_id(tag: int) -> str:
    """The log's tag as it stands in its event ids: 6 characters."""
    pairs = _PAIRS
    return f"{pairs[tag >> 20]}{pairs[tag >> 10 & 1023]}{pairs[tag & 1023]}"


def parse_event_id(text: str) -> EventId:
    """The parts of an event id.

    Raises:
      InvalidCursor: it is not 26 characters of Crockford's base 32.
    """
    if not _ULID.match(text):
        shown = repr(text) if len(text) < 60 else f"a text of {len(text)} characters"
        raise InvalidCursor(
            f"{shown} is not an event id", hint="an event id has 26 characters, as `waitbus cursor` prints"
        )
    return EventId(_number(text[:10]), _number(text[10:16]), _number(text[16:]))


def _ten(value: int) -> str:
    # Unrolled: an emit makes one of these, a page of a replay 256.
    pairs = _PAIRS
    return (
        f"{pairs[value >> 40]}{pairs[value >> 30 & 1023]}{pairs[value >> 20 & 1023]}"
        f"{pairs[value >> 10 & 1023]}{pairs[value & 1023]}"
    )


def _number(text: str) -> int:
    value = 0
    for digit in text:
        value = value << 5 | _VALUES[digit]
    return value
