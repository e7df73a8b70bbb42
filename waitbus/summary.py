"""What an event says in words, by its source: the summary of one whose writer gave none, and the parts of its line (`render`).

An emit makes one of these at 100 times its usual cost: what runs seldom finds nothing of its own in the CPU's caches. So a
writer is one function over one dict, and answers a plain tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

SUMMARY_MAX = 400
"""Characters of a summary, as the log takes it."""

Fields = Mapping[str, Any]
Said = tuple[str, str, str, str]
"""What it is about, its verdict, the one detail a person wants, and a link or the like; each may be empty."""


class Event(Protocol):
    """What the writers look at, whether the event is about to be written or was read."""

    @property
    def source(self) -> str: ...
    @property
    def event_type(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def repo(self) -> str: ...
    @property
    def status(self) -> str | None: ...
    @property
    def conclusion(self) -> str | None: ...
    @property
    def fields(self) -> Fields: ...


def made_summary(event: Event) -> str:
    """The summary of an event whose writer gave none: at most 400 characters."""
    about, verdict, detail, tail = _WRITERS.get(event.source, _generic)(event)
    text = about or event.event_type
    if verdict:
        text = f"{text} {verdict}"
    if detail:
        text = f"{text} {detail}"
    if tail:
        text = f"{text} {tail}"
    if len(text) > SUMMARY_MAX or "  " in text or not text.isprintable():
        text = " ".join(text[: 4 * SUMMARY_MAX].split())[:SUMMARY_MAX]
    return text


def said(event: Event) -> Said:
    """What the event's source says of it."""
    return _WRITERS.get(event.source, _generic)(event)


def own_fields(fields: Fields) -> str:
    """`env=staging version=1.4.2`: the writer's own keys, where nobody wrote a sentence."""
    own = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in fields.items()
        if key not in _NOT_A_DETAIL and isinstance(value, str | int | float)
    ]
    return " ".join(own[:3])


# -- the sources -------------------------------------------------------------------------------------------------------


def _generic(event: Event) -> Said:
    fields = event.fields
    return _about(event), event.conclusion or event.status or "", own_fields(fields) if fields else "", ""


def _github(event: Event) -> Said:
    get = event.fields.get
    what, job = get("workflow_name"), get("job_name")
    if job:
        what = f"{what}/{job}" if what else job
    number = get("run_number") or get("number")
    if number:
        what = f"{what} #{number}" if what else f"#{number}"
    branch, sha = get("head_branch"), get("head_sha")
    if sha:
        branch = f"{branch}@{str(sha)[:7]}" if branch else str(sha)[:7]
    place = _place(event)
    about = (f"{place}  {what}" if place else str(what)) if what else place
    return about, event.conclusion or event.status or "", str(branch or ""), str(get("html_url") or "")


def _alertmanager(event: Event) -> Said:
    fields = event.fields
    verdict = event.status or event.conclusion or ""
    return _text(fields, "alert_name"), verdict, _text(fields, "alert_severity"), _text(fields, "url")


def _pytest(event: Event) -> Said:
    fields = event.fields
    nodeid = _text(fields, "nodeid")
    if event.event_type == "pytest_test":
        took = _after(fields).removeprefix(" after ")
        return nodeid or _about(event), _word(event), took, _text(fields, "subtest")
    counts = ", ".join(
        f"{fields[key]} {'error' if key == 'errors' and fields[key] == 1 else key}"
        for key in ("failed", "errors", "passed", "skipped", "xfailed", "xpassed")
        if fields.get(key)
    )
    reason = _text(fields, "reason")
    detail = counts + _after(fields, "in") if counts else reason or _no_tests(fields)
    if counts and reason:  # it was killed, or stopped early
        detail = f"{detail} ({reason})"
    first = fields.get("first_failures")
    return _about(event), _word(event), detail, nodeid or (str(first[0]) if isinstance(first, list) and first else "")


def _no_tests(fields: Fields) -> str:
    status = fields.get("exit_status")
    if status in (0, 5):
        return "no tests ran"
    return "" if status is None else f"exit {status}"


def _docker(event: Event) -> Said:
    fields = event.fields
    verdict = _action(event) if event.event_type == "docker_event" else _word(event)
    return _about(event), verdict, _exit(fields), _text(fields, "image")


def _fs(event: Event) -> Said:
    fields = event.fields
    old_path = _text(fields, "old_path")
    return _text(fields, "path") or _about(event), _action(event), f"from {old_path}" if old_path else "", ""


def _process(event: Event) -> Said:
    fields = event.fields
    ended = (_exit(fields) + _after(fields)).strip()
    if not ended and fields.get("pid"):
        ended = f"pid {fields['pid']}"
    return _about(event), _word(event), ended, _text(fields, "command")


def _agent(event: Event) -> Said:
    fields = event.fields
    sender, addressee = _text(fields, "msg_from"), _text(fields, "msg_to")
    body = _text(fields, "msg_body")
    if not (sender or addressee):
        about, verdict, detail, tail = _generic(event)
        return about, verdict, body or detail, tail
    return f"{sender or '?'} -> {addressee}" if addressee else sender, _word(event), body, ""


def _http(event: Event) -> Said:
    fields = event.fields
    return _about(event) or _text(fields, "subject"), _word(event), _text(fields, "type"), _text(fields, "url")


def _waitbus(event: Event) -> Said:
    fields = event.fields
    return _about(event), event.event_type.removeprefix("source_"), _text(fields, "reason"), ""


_WRITERS: dict[str, Callable[[Event], Said]] = {
    "github": _github,
    "alertmanager": _alertmanager,
    "pytest": _pytest,
    "docker": _docker,
    "fs": _fs,
    "process": _process,
    "agent": _agent,
    "http": _http,
    "waitbus": _waitbus,
}

_NOT_A_DETAIL = frozenset(
    {
        *("source", "event_type", "owner", "repo", "status", "conclusion", "ingest_method"),
        *("name", "workflow_name", "job_name", "path", "head_sha", "run_id", "job_id", "parent_run_id", "run_attempt"),
        *("msg_to", "msg_from", "msg_correlation_id", "msg_reply_to", "msg_thread", "msg_body"),
    }
)


def _about(event: Event) -> str:
    fields = event.fields
    for key in ("name", "workflow_name", "path", "job_name", "alert_name"):
        value = fields.get(key)
        if value:
            return str(value)
    return _place(event)


def _place(event: Event) -> str:
    owner, repo = event.owner, event.repo
    if owner != "local":
        return f"{owner}/{repo}"
    return repo if repo != event.source else ""


def _word(event: Event) -> str:
    return event.conclusion or event.status or ""


def _action(event: Event) -> str:
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


def _text(fields: Fields, key: str) -> str:
    value = fields.get(key)
    return "" if value is None else str(value)
