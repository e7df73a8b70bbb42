"""One line for an event, the same everywhere: type, what it is about, verdict, the one detail a person wants, a link.

Pure. Whatever text comes from outside is neutralised on its way to a person (`neutral`) and to JSON (`json_line`), and
stays byte-faithful in the log: an escape code in a branch name is shown, not obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from waitbus.summary import made_summary, own_fields, said

if TYPE_CHECKING:
    from waitbus.events import EventFrame

PART_MAX = 160
"""Characters of one part of a line: a name of a megabyte shall not fill the screen."""

# -- hostile text ------------------------------------------------------------------------------------------------------

_HOSTILE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: escape codes and line breaks
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi: text that reads in another order than it is
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f"  # no width
    "\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"  # no width, blank letters, variation selectors but text and emoji
    "\u2028\u2029"  # line breaks
    "\ud800-\udfff"  # lone surrogates: bytes that were no UTF-8
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # no width; tags: hidden ASCII
    "]"
)


def neutral(text: str) -> str:
    r"""`text` with everything that moves, hides or reorders letters written out: `\x1b`, `\n`, `\u202e`.

    Idempotent; not reversible, since a backslash stays a backslash.
    """
    if text.isascii() and text.isprintable():
        return text
    return _HOSTILE.sub(_visible, text)


def clip(text: str, limit: int = PART_MAX) -> str:
    """One line, single spaces, neutral, at most `limit` characters."""
    text = neutral(" ".join(text[: limit * 4].split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def json_line(value: Any, *, ascii_only: bool = False) -> str:
    """`value` as JSON on one line: the same data, with every hostile character written as its JSON escape."""
    text = _encoder(ascii_only)(value)
    return text if text.isascii() and text.isprintable() else _HOSTILE.sub(_json_escape, text)


@cache
def _encoder(ascii_only: bool) -> Callable[[Any], str]:
    # json.dumps with an option makes an encoder at each call, which takes longer than most events.
    import json

    return json.JSONEncoder(ensure_ascii=ascii_only).encode


def _visible(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


# -- one line ----------------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """What a line is made of, each part neutral, bounded and possibly empty."""

    event_type: str
    about: str = ""
    verdict: str = ""
    detail: str = ""
    tail: str = ""


def line(frame: EventFrame, *, paint: Callable[[str], str] | None = None, base: str = "") -> str:
    """The line of an event; `paint` colours the verdict, paths below `base` are shown relative to it."""
    found = parts(frame, base=base)
    if paint is not None and found.verdict:
        found = found._replace(verdict=paint(found.verdict))
    return "  ".join(part for part in found if part)


def parts(frame: EventFrame, *, base: str = "") -> Parts:
    """The parts of an event's line. The writer's own summary is the detail where we know no better one."""
    about, verdict, detail, tail = said(frame)
    if (not detail or detail == own_fields(frame.fields)) and frame.summary != made_summary(frame):
        detail = frame.summary
    if base and about.startswith(base.rstrip("/") + "/"):
        about = about[len(base.rstrip("/")) + 1 :]
    # Two spaces inside `about` part a repository from what ran in it, as they part the parts.
    about = "  ".join(clip(piece) for piece in about.split("  ") if piece)
    return Parts(clip(frame.event_type), about, clip(verdict), clip(detail, 240), clip(tail, 240))


def tone(word: str) -> str:
    """`failure`, `success`, or `dim` for every word that is no verdict."""
    from waitbus.verdict import FAILURE, SUCCESS

    if word in FAILURE or word == "firing":
        return "failure"
    return "success" if word in SUCCESS or word == "resolved" else "dim"
