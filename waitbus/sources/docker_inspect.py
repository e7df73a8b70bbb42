"""What the engine knows of a container: `GET /containers/ID/json`, and the list of those that have ended. Pure.

The forms are the Docker Engine API's, `ContainerInspectResponse` and `ContainerSummary`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from waitbus.errors import InvalidValue
from waitbus.sources.docker_events import TIME_MAX, TIME_MIN, End, Message, exit_code, labels_of, ran_ms, short, texts
from waitbus.sources.docker_memory import Run

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_OLD = re.compile(r"\b(?:days|weeks?|months?|years?) ago")
"""In `Exited (0) 3 days ago`: longer than any look back."""

_ENDED = frozenset({"exited", "dead", "stopped"})

AT_ONCE = 10**9
"""ns between an end and the start that is noted after it, at most: for more the end is that of a run before."""

SIGKILLED = 137
"""The exit code of a container whose first process was killed, as the kernel does for want of memory."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")


@attrs.frozen(kw_only=True)
class Facts:
    """A container as it is: its last start and end, ns since the epoch by the engine's clock, None where it had none."""

    name: str = ""
    image: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    started_ns: int | None = None
    finished_ns: int | None = None
    exit_code: int | None = None
    oom_killed: bool | None = None
    running: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether what is told is told of a run that is over: an engine that is restarted may have begun the next one.

        What ends at once may have ended before its engine notes that it has started.
        """
        return (
            not self.running and self.finished_ns is not None and (self.started_ns or 0) <= self.finished_ns + AT_ONCE
        )

    @property
    def ran_ms(self) -> int | None:
        if self.started_ns is None or self.finished_ns is None:
            return None
        return max(0, (self.finished_ns - self.started_ns) // 10**6)


def read_facts(body: bytes) -> Facts:
    """The facts in an answer.

    Raises:
      InvalidValue: it is no answer of that form.
    """
    value = _json(body)
    if not isinstance(value, dict) or not isinstance(state := value.get("State"), dict):
        raise InvalidValue("the engine's answer describes no container", hint="is it an engine that listens there?")
    config = value.get("Config")
    config = config if isinstance(config, dict) else {}
    code, oom = state.get("ExitCode"), state.get("OOMKilled")
    return Facts(
        name=short(_text(value.get("Name")).lstrip("/")),
        image=short(_text(config.get("Image")) or _text(value.get("ImageName"))),
        labels=texts(config.get("Labels")),
        started_ns=time_ns(state.get("StartedAt")),
        finished_ns=time_ns(state.get("FinishedAt")),
        exit_code=code if type(code) is int and abs(code) < 10**6 else None,
        oom_killed=oom if isinstance(oom, bool) else None,
        running=state.get("Running") is True,
    )


@attrs.frozen
class Listed:
    """The ids of containers: those that run, and those that may have ended in the last two days."""

    running: list[str]
    ended: list[str]


def read_list(body: bytes) -> Listed:
    """The containers in a list of all.

    Raises:
      InvalidValue: it is no list.
    """
    value = _json(body)
    if not isinstance(value, list):
        raise InvalidValue("the engine's list of containers is no list", hint="is it an engine that listens there?")
    listed = Listed([], [])
    for one in value:
        if not isinstance(one, dict) or not _ID.match(_text(one.get("Id"))):
            continue
        state = _text(one.get("State"))
        if state == "running":
            listed.running.append(one["Id"])
        elif state in _ENDED and not _OLD.search(_text(one.get("Status"))):
            listed.ended.append(one["Id"])
    return listed


def time_ns(value: object) -> int | None:
    """ns since the epoch of a time as RFC 3339 writes it; None for none, which engines write as the year 1."""
    found = _TIME.match(value) if isinstance(value, str) and len(value) < 64 else None
    if found is None:
        return None
    seconds, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(seconds + ("+00:00" if zone in "Zz" else zone)).astimezone(UTC)
        whole = round(moment.timestamp()) * 10**9
    except (ValueError, OverflowError):
        return None
    told = whole + int((fraction or "0").ljust(9, "0"))
    return told if TIME_MIN <= told <= TIME_MAX else None


# -- ends --------------------------------------------------------------------------------------------------------------


def wants_facts(message: Message, run: Run) -> bool:
    """Whether an end is to be asked about: its event does not say how it ended or when it began, or it was SIGKILL, and by whom?

    Every other end has no more to tell than its event: to ask takes 5 ms, and podman holds the answer back while it cleans up.
    """
    code = exit_code(message.attributes)
    return code is None or run.started_ns is None or (code == SIGKILLED and not (run.oom or run.killed))


def end_of(message: Message, run: Run, facts: Facts | None) -> End:
    """The end that a `die` tells of, with what else is known of that very run."""
    if facts is not None and not (facts.has_ended and (facts.finished_ns or 0) <= message.time_ns):
        facts = None  # it runs again already, or ended once more: what is told is another run's
    attributes = message.attributes
    code = exit_code(attributes)
    if code is None and facts is not None:
        code = facts.exit_code
    ran = None if facts is None else facts.ran_ms
    return End(
        id=message.id,
        at_ns=message.time_ns,
        name=attributes.get("name") or (facts.name if facts else ""),
        image=attributes.get("image") or (facts.image if facts else ""),
        labels=labels_of(attributes) or (facts.labels if facts else {}),
        exit_code=code,
        oom_killed=_oom(code, run, facts),
        duration_ms=ran if ran is not None else ran_ms(attributes, run.started_ns, message.time_ns),
        raw=message.raw,
    )


def began_ns(run: Run, facts: Facts | None, ended_ns: int) -> int | None:
    """A moment in the run that ended then: another row of an end between the two is a row of this one."""
    if facts is not None and facts.has_ended and (facts.finished_ns or 0) <= ended_ns:
        return facts.finished_ns
    return run.started_ns


def missed_end(container: str, facts: Facts, since_ns: int) -> End | None:
    """The end of a container that nobody told of, if it came since then: its time is `FinishedAt`, before that of its event."""
    if not facts.has_ended or facts.finished_ns is None or facts.finished_ns < since_ns:
        return None
    return End(
        id=container,
        at_ns=facts.finished_ns,
        name=facts.name,
        image=facts.image,
        labels=facts.labels,
        exit_code=facts.exit_code,
        oom_killed=facts.oom_killed,
        duration_ms=facts.ran_ms,
    )


def _oom(code: int | None, run: Run, facts: Facts | None) -> bool | None:
    if run.oom:
        return True
    if facts is not None:
        return facts.oom_killed
    return None if code is None or (code == SIGKILLED and not run.killed) else False


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
