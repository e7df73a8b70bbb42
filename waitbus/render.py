"""One line for an event, the same everywhere: type, what it is about, verdict, the one detail a person wants, a link.

Pure. Whatever text comes from outside is neutralised on its way to a person (`neutral`) and to JSON (`json_line`), and
stays byte-faithful in the log: an escape code in a branch name is shown, not obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from waitbus.events import EventFrame

SUMMARY_MAX = 400
"""Characters of a summary, as the log takes it."""
PART_MAX = 160
"""Characters of one part of a line: a name of a megabyte shall not fill the screen."""

Fields = Mapping[str, Any]

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


class _Event(NamedTuple):
    """What the writers below look at, whether the event was written or is about to be."""

    source: str
    event_type: str
    owner: str
    repo: str
    status: str | None
    conclusion: str | None
    fields: Fields


class _Said(NamedTuple):
    about: str
    verdict: str
    detail: str = ""
    tail: str = ""
    guessed: bool = False
    """Whether `detail` is only what keys there are: a sentence of the writer's says more."""


def line(frame: EventFrame, *, paint: Callable[[str], str] | None = None, base: str = "") -> str:
    """The line of an event; `paint` colours the verdict, paths below `base` are shown relative to it."""
    said = parts(frame, base=base)
    if paint is not None and said.verdict:
        said = said._replace(verdict=paint(said.verdict))
    return "  ".join(part for part in said if part)


def parts(frame: EventFrame, *, base: str = "") -> Parts:
    """The parts of an event's line. The writer's own summary is the detail where we know no better one."""
    fields = frame.fields
    status, conclusion = fields.get("status"), fields.get("conclusion")
    event = _Event(frame.source, frame.event_type, frame.owner, frame.repo, status, conclusion, fields)
    said = _said(event)
    detail = said.detail
    if (said.guessed or not detail) and frame.summary != _summary(event, said):
        detail = frame.summary
    about = said.about
    if base and about.startswith(base.rstrip("/") + "/"):
        about = about[len(base.rstrip("/")) + 1 :]
    # Two spaces inside `about` part a repository from what ran in it, as they part the parts.
    about = "  ".join(clip(piece) for piece in about.split("  ") if piece)
    return Parts(clip(frame.event_type), about, clip(said.verdict), clip(detail, 240), clip(said.tail, 240))


def tone(word: str) -> str:
    """`failure`, `success`, or `dim` for every word that is no verdict."""
    from waitbus.verdict import FAILURE, SUCCESS

    if word in FAILURE or word == "firing":
        return "failure"
    return "success" if word in SUCCESS or word == "resolved" else "dim"


def made_summary(
    source: str, event_type: str, owner: str, repo: str, status: str | None, conclusion: str | None, fields: Fields
) -> str:
    """The summary of an event whose writer gave none: at most 400 characters."""
    if not fields and owner == "local" and repo == source:
        verdict = conclusion or status
        return f"{event_type} {verdict}" if verdict else event_type
    event = _Event(source, event_type, owner, repo, status, conclusion, fields)
    return _summary(event, _said(event))


def _summary(event: _Event, said: _Said) -> str:
    pieces = (said.about or event.event_type, said.verdict, said.detail, said.tail)
    text = " ".join([piece for piece in pieces if piece])
    if len(text) > SUMMARY_MAX or "  " in text or not text.isprintable():
        text = " ".join(text[: 4 * SUMMARY_MAX].split())[:SUMMARY_MAX]
    return text


def _said(event: _Event) -> _Said:
    return _DESCRIBE.get(event.source, _generic)(event)


# -- what each source says ---------------------------------------------------------------------------------------------


def _generic(event: _Event) -> _Said:
    return _Said(_about(event), _word(event), _own_fields(event.fields), guessed=True)


def _github(event: _Event) -> _Said:
    fields = event.fields
    what = "/".join(filter(None, (_text(fields, "workflow_name"), _text(fields, "job_name"))))
    number = _text(fields, "run_number") or _text(fields, "number")
    title = f"{what} #{number}".strip() if number else what
    branch, sha = _text(fields, "head_branch"), _text(fields, "head_sha")[:7]
    return _Said(
        f"{_place(event)}  {title}".strip(),
        _word(event),
        f"{branch}@{sha}" if branch and sha else branch or sha,
        _text(fields, "html_url"),
    )


def _alertmanager(event: _Event) -> _Said:
    fields = event.fields
    return _Said(
        _text(fields, "alert_name"),
        event.status or event.conclusion or "",
        _text(fields, "alert_severity"),
        _text(fields, "url"),
    )


def _pytest(event: _Event) -> _Said:
    fields = event.fields
    nodeid = _text(fields, "nodeid")
    if event.event_type == "pytest_test":
        return _Said(nodeid or _about(event), _word(event), _after(fields).removeprefix(" after "))
    counts = ", ".join(f"{fields[key]} {key}" for key in ("failed", "errors", "passed", "skipped") if fields.get(key))
    return _Said(_about(event), _word(event), counts + _after(fields, "in") if counts else "", nodeid)


def _docker(event: _Event) -> _Said:
    fields = event.fields
    action = event.event_type == "docker_event"
    return _Said(_about(event), _action(event) if action else _word(event), _exit(fields), _text(fields, "image"))


def _fs(event: _Event) -> _Said:
    return _Said(_text(event.fields, "path") or _about(event), _action(event))


def _process(event: _Event) -> _Said:
    fields = event.fields
    ended = _exit(fields) + _after(fields)
    pid = f"pid {fields['pid']}" if fields.get("pid") else ""
    return _Said(_about(event), _word(event), ended.strip() or pid, _text(fields, "command"))


def _agent(event: _Event) -> _Said:
    fields = event.fields
    sender, addressee = _text(fields, "msg_from"), _text(fields, "msg_to")
    if not (sender or addressee):
        body = _text(fields, "msg_body")
        return _generic(event)._replace(detail=body, guessed=False) if body else _generic(event)
    return _Said(f"{sender or '?'} -> {addressee}" if addressee else sender, _word(event), _text(fields, "msg_body"))


def _http(event: _Event) -> _Said:
    fields = event.fields
    return _Said(_about(event) or _text(fields, "subject"), _word(event), _text(fields, "type"), _text(fields, "url"))


_DESCRIBE: dict[str, Callable[[_Event], _Said]] = {
    "github": _github,
    "alertmanager": _alertmanager,
    "pytest": _pytest,
    "docker": _docker,
    "fs": _fs,
    "process": _process,
    "agent": _agent,
    "http": _http,
}

_NOT_A_DETAIL = frozenset(
    {
        *("source", "event_type", "owner", "repo", "status", "conclusion", "ingest_method"),
        *("name", "workflow_name", "job_name", "path", "head_sha", "run_id", "job_id", "parent_run_id", "run_attempt"),
        *("msg_to", "msg_from", "msg_correlation_id", "msg_reply_to", "msg_thread", "msg_body"),
    }
)


def _about(event: _Event) -> str:
    fields = event.fields
    for key in ("name", "workflow_name", "path", "job_name", "alert_name"):
        value = fields.get(key)
        if value:
            return str(value)
    return _place(event)


def _place(event: _Event) -> str:
    if event.owner != "local":
        return f"{event.owner}/{event.repo}"
    return event.repo if event.repo != event.source else ""


def _word(event: _Event) -> str:
    return event.conclusion or event.status or ""


def _action(event: _Event) -> str:
    return _text(event.fields, "action") or _word(event)


def _exit(fields: Fields) -> str:
    if fields.get("signal"):
        return str(fields["signal"])
    code = fields.get("exit_code")
    return "" if code is None else f"exit {code}"


def _after(fields: Fields, word: str = "after") -> str:
    took = fields.get("duration_ms")
    if not isinstance(took, int | float):
        return ""
    from waitbus.quantities import say_duration

    return f" {word} {say_duration(took / 1000)}"


def _own_fields(fields: Fields) -> str:
    """`env=staging version=1.4.2`: the writer's own keys, where nobody wrote a sentence."""
    own = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in fields.items()
        if key not in _NOT_A_DETAIL and isinstance(value, str | int | float)
    ]
    return " ".join(own[:3])


def _text(fields: Fields, key: str) -> str:
    value = fields.get(key)
    return "" if value is None else str(value)
