"""The engine's events as events of ours. Pure: bytes of the engine in, `EventInsert`s out.

The form is that of the Docker Engine API, `EventMessage`; podman speaks it too, with differences that are met here: `died` for
`die` and `containerExitCode` for `exitCode` in older ones, no `execDuration`. Whatever a container is called, or labelled with,
was chosen by somebody else: every text has a limit, and what has not the form is refused whole.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from typing import Any

import attrs

from waitbus.errors import InvalidValue
from waitbus.event_checks import encodable, shown
from waitbus.events import EventInsert

EXIT = "docker_container"
OTHER = "docker_event"

TEXT_MAX = 400
LABELS_MAX = 64
TIME_MIN, TIME_MAX = 10**18, 2**63 - 1
"""ns since the epoch that a key can hold: 19 digits, so that keys of one container sort by time."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_ACTION = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
_CODE = re.compile(r"-?[0-9]{1,6}\Z")
_COMPOSE = "com.docker.compose."
_NOT_LABELS = frozenset(
    {"name", "image", "exitCode", "containerExitCode", "execDuration", "execID", "oldName", "podId", "signal"}
)
_SAME = {"died": "die", "exec_died": "exec_die"}


@attrs.frozen(kw_only=True)
class Message:
    """One event of a container: `detail` is what stands behind the action (`health_status: healthy`), `raw` the line itself."""

    id: str
    action: str
    time_ns: int
    detail: str = ""
    attributes: Mapping[str, str] = attrs.field(factory=dict)
    raw: str = "{}"


@attrs.frozen(kw_only=True)
class End:
    """How a container ended; None is what nobody could tell. Times are ns since the epoch by the engine's clock."""

    id: str
    at_ns: int
    name: str = ""
    image: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    exit_code: int | None = None
    oom_killed: bool | None = None
    duration_ms: int | None = None
    raw: str = "{}"


def read_message(line: bytes) -> Message | None:
    """The event in a line of the engine's stream; None for one that is about no container.

    Raises:
      InvalidValue: the line is no event.
    """
    try:
        raw = line.decode()
        value = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _garbage(line, "no JSON") from None
    if not isinstance(value, dict):
        raise _garbage(line, "no object")
    if value.get("Type", "container") != "container":
        return None
    actor = value.get("Actor")
    actor = actor if isinstance(actor, dict) else {}
    container, action = actor.get("ID") or value.get("id"), value.get("Action") or value.get("status")
    if not isinstance(container, str) or not _ID.match(container):
        raise _garbage(line, "no container id")
    if not isinstance(action, str) or not _ACTION.match(action.partition(":")[0]):
        raise _garbage(line, "no action")
    word, _, detail = action.partition(":")
    return Message(
        id=container,
        action=_SAME.get(word, word),
        detail=short(detail.strip() or _text(value.get("HealthStatus"))),
        time_ns=_time_ns(value, line),
        attributes=texts(actor.get("Attributes")),
        raw=raw,
    )


def _time_ns(value: dict[str, Any], line: bytes) -> int:
    time_ns, seconds = value.get("timeNano"), value.get("time")
    if type(time_ns) is not int and type(seconds) is int:
        time_ns = seconds * 10**9
    if type(time_ns) is not int or not TIME_MIN <= time_ns <= TIME_MAX:
        raise _garbage(line, "no time")
    return time_ns


def _garbage(line: bytes, what: str) -> InvalidValue:
    text = shown(line[:70].decode("utf-8", "replace"))
    return InvalidValue(
        f"the engine sent {text}, which is no event: {what}", hint="is it an engine that listens there?"
    )


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def texts(value: object) -> dict[str, str]:
    """The texts of an object of texts: at most 256, none longer than its limit; anything else in it is left out."""
    if not isinstance(value, dict):
        return {}
    kept = [(key, text) for key, text in value.items() if isinstance(text, str)]
    return {short(key): short(text) for key, text in kept[:256]}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def short(text: str) -> str:
    """A text of the engine's, cut where it is too long."""
    return encodable(text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…")[:TEXT_MAX]


# -- the rows ----------------------------------------------------------------------------------------------------------


def exit_keys(container: str, from_ns: int, to_ns: int = TIME_MAX) -> tuple[str, str]:
    """The keys of the ends of a container from one engine time on, up to another one: as texts they sort by time.

    The time is that of the engine's `die`; where that was not heard and the engine has forgotten it, it is the container's
    `FinishedAt`, a moment earlier. So an end is known to the log if there is a key from any moment of its run on.
    """
    return _exit_key(container, max(TIME_MIN, from_ns)), _exit_key(container, max(TIME_MIN, to_ns))


def _exit_key(container: str, at_ns: int) -> str:
    return f"docker:{container}:die:{at_ns}"


def exit_row(end: End) -> EventInsert:
    """The `docker_container` row of an end."""
    name = end.name or end.id[:12]
    code = end.exit_code
    return EventInsert(
        source="docker",
        event_type=EXIT,
        delivery_id=_exit_key(end.id, end.at_ns),
        received_at=end.at_ns,
        status="completed",
        conclusion=None if code is None else "success" if code == 0 else "failure",
        workflow_name=name,
        ingest_method="docker_events",
        payload_json=end.raw,
        fields={
            "name": name,
            "container_id": end.id,
            "image": end.image or None,
            "action": "die",
            "exit_code": code,
            "signal": signal_of(code),
            "oom_killed": end.oom_killed,
            "duration_ms": end.duration_ms,
            **label_fields(end.labels),
        },
    )


def other_row(message: Message, skipped: int = 0) -> EventInsert:
    """The `docker_event` row of any other action; `skipped` of the same kind went before it unwritten."""
    attributes = message.attributes
    name = attributes.get("name") or message.id[:12]
    return EventInsert(
        source="docker",
        event_type=OTHER,
        delivery_id=f"docker:{message.id}:{message.action}:{message.time_ns}",
        received_at=message.time_ns,
        workflow_name=name,
        ingest_method="docker_events",
        payload_json=message.raw,
        fields={
            "name": name,
            "container_id": message.id,
            "image": attributes.get("image") or None,
            "action": message.action,
            "detail": message.detail or None,
            "exit_code": exit_code(attributes) if message.action == "exec_die" else None,
            "signal": _signal_sent(attributes.get("signal")),
            "skipped": skipped or None,
            **label_fields(labels_of(attributes)),
        },
    )


def labels_of(attributes: Mapping[str, str]) -> dict[str, str]:
    """The labels: an event's attributes, less those that are the engine's own."""
    return {key: value for key, value in attributes.items() if key not in _NOT_LABELS}


def label_fields(labels: Mapping[str, str]) -> dict[str, Any]:
    """`labels`, a list of `key=value` (`--match 'labels*=env=prod'`), at most 64; those of compose as fields of their own too."""
    written = [short(f"{key}={value}") for key, value in sorted(labels.items())]
    return {
        "labels": written[:LABELS_MAX] or None,
        "compose_project": labels.get(_COMPOSE + "project") or None,
        "compose_service": labels.get(_COMPOSE + "service") or None,
    }


def exit_code(attributes: Mapping[str, str]) -> int | None:
    """The exit code among an event's attributes."""
    text = attributes.get("exitCode") or attributes.get("containerExitCode") or ""
    return int(text) if _CODE.match(text) else None


def signal_of(code: int | None) -> str | None:
    """The signal that an exit code stands for: engines report 128+n, as a shell does, and nothing else of it."""
    return None if code is None else _signal_name(code - 128)


def is_sigkill(message: Message) -> bool:
    """Whether somebody had the engine kill a container, by its number or its name."""
    return message.action == "kill" and message.attributes.get("signal", "").upper() in ("9", "KILL", "SIGKILL")


def _signal_sent(text: str | None) -> str | None:
    if text is None:
        return None
    return (_signal_name(int(text)) if _CODE.match(text) else None) or text


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def ran_ms(attributes: Mapping[str, str], started_ns: int | None, ended_ns: int) -> int | None:
    """How long a container ran, by the start that was heard, else by what docker says in whole seconds."""
    if started_ns is not None:
        return max(0, (ended_ns - started_ns) // 10**6)
    text = attributes.get("execDuration", "")
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) < 12 else None
