"""What each source says of itself: its event types, which of them are only progress, the words in its `fields`, its natural key.

Declarations alone: nothing here opens, listens or imports a source's code, so that `emit`, `wait` and `--help` may ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from waitbus.errors import InvalidName, UnknownSource
from waitbus.events import NAME, NAME_MAX

if TYPE_CHECKING:
    from waitbus.verdict import ProgressRule

NAMED = {"workflow_name": "what the event is about, by name"}


def _words(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


def _set(given: Iterable[str]) -> frozenset[str]:
    return frozenset(given)


def _read_only(given: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(given))


def _check_name(what: str, value: object) -> None:
    if not isinstance(value, str) or not NAME.match(value) or len(value) > NAME_MAX:
        raise InvalidName(
            f"{what} {value!r} is not a name", hint=f"a name is a-z, then a-z, 0-9 and _, {NAME_MAX} characters at most"
        )


def _name(_: SourceSpec, field: attrs.Attribute[str], value: str) -> None:
    _check_name(field.name, value)


def _event_types(spec: SourceSpec, _: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    if not value:
        raise InvalidName(f"source {spec.name!r} declares no event type", hint="a source has one at least")
    for event_type in value:
        _check_name("event_type", event_type)


def _subset(spec: SourceSpec, field: attrs.Attribute[frozenset[str]], value: frozenset[str]) -> None:
    if unknown := sorted(value - set(spec.event_types)):
        raise InvalidName(
            f"source {spec.name!r}: {field.name} names {unknown[0]!r}, which is none of its event types",
            hint=f"its event types are {' '.join(spec.event_types)}",
        )


@attrs.frozen(kw_only=True)
class SourceSpec:
    """A source's declaration.

    Raises:
      InvalidName: a name is not `[a-z][a-z0-9_]*`, or `progress`/`concludes` names a type that is not declared.
    """

    name: str = attrs.field(validator=_name)
    event_types: tuple[str, ...] = attrs.field(converter=_words, validator=_event_types)
    about: str = ""
    """One sentence for `source list`."""
    progress: frozenset[str] = attrs.field(factory=frozenset, converter=_set, validator=_subset)
    """Event types that are progress whatever they carry: they end a wait only where it names them."""
    concludes: frozenset[str] = attrs.field(factory=frozenset, converter=_set, validator=_subset)
    """Event types that are progress for as long as they have no conclusion."""
    fields: Mapping[str, str] = attrs.field(factory=dict, converter=_read_only, hash=False)
    """Key of `fields` -> what it holds, in a few words, with its unit."""
    natural_key: str = ""
    """The form of its delivery ids, in which two watchers of one thing agree."""
    embeddable: bool = False
    """Whether a wait may run the source by itself where nobody else does."""

    def progress_rules(self) -> dict[str, ProgressRule]:
        """The declaration in the words of `verdict`."""
        rules: dict[str, ProgressRule] = dict.fromkeys(self.concludes, "without_conclusion")
        return rules | dict.fromkeys(self.progress, "always")


_BUILT_IN = (
    SourceSpec(
        name="github",
        about="CI runs, checks, pushes, pull requests and releases of GitHub repositories.",
        event_types=(
            "workflow_run",
            "workflow_job",
            "check_run",
            "check_suite",
            "status",
            "pull_request",
            "push",
            "deployment_status",
            "release",
        ),
        concludes=frozenset(
            {"workflow_run", "workflow_job", "check_run", "check_suite", "status", "deployment_status"}
        ),
        fields={
            **NAMED,
            "run_id": "id of the workflow run",
            "run_attempt": "attempt of that run, from 1",
            "job_id": "id of the job",
            "job_name": "name of the job",
            "parent_run_id": "the run a job belongs to",
            "head_branch": "branch",
            "head_sha": "commit",
            "action": "what happened to it, in GitHub's word",
            "number": "number of the pull request",
            "html_url": "its page",
        },
        natural_key="github:run:<run_id>:<run_attempt>:<status>:<conclusion>",
        embeddable=True,
    ),
    SourceSpec(
        name="alertmanager",
        about="Alerts of Prometheus Alertmanager, one event for each alert.",
        event_types=("prometheus_alert", "prometheus_watchdog"),
        fields={
            "alert_name": "label alertname",
            "alert_severity": "label severity",
            "alert_fingerprint": "identity of the alert",
        },
        natural_key="alertmanager:<fingerprint>:<status>:<start or end time>",
    ),
    SourceSpec(
        name="pytest",
        about="Test sessions, and each failure as it happens.",
        event_types=("pytest_session", "pytest_test"),
        fields={
            **NAMED,
            "nodeid": "the test",
            "passed": "how many passed",
            "failed": "how many failed",
            "skipped": "how many were skipped",
            "exit_code": "pytest's own",
            "duration_ms": "ms",
        },
        natural_key="pytest:<session>[:<nodeid>:<outcome>]",
    ),
    SourceSpec(
        name="docker",
        about="Containers of Docker or Podman: docker_container is the exit and only that.",
        event_types=("docker_container", "docker_event"),
        progress=frozenset({"docker_event"}),
        fields={
            **NAMED,
            "name": "name of the container",
            "container_id": "id of the container",
            "image": "its image",
            "action": "what the engine says happened",
            "exit_code": "of the container's first process",
        },
        natural_key="docker:<container id>:<action>:<engine time, ns>",
        embeddable=True,
    ),
    SourceSpec(
        name="fs",
        about="Files that appear, change, move or go.",
        event_types=("fs_change",),
        fields={
            **NAMED,
            "path": "absolute path",
            "action": "created, modified, deleted, moved or overflow",
            "size": "bytes",
            "mtime_ns": "ns since the epoch",
        },
        natural_key="fs:<path>:<action>:<mtime, ns>",
        embeddable=True,
    ),
    SourceSpec(
        name="process",
        about="Commands started with `waitbus run`, and any process by its pid.",
        event_types=("process_started", "process_exited"),
        progress=frozenset({"process_started"}),
        fields={
            **NAMED,
            "name": "--name, else the command's file name",
            "pid": "process id",
            "start_ticks": "start time in clock ticks since boot; with the pid it names one process",
            "command": "the command line, 400 characters at most",
            "exit_code": "what `$?` would be: 128+n after signal n; absent where nobody can tell",
            "signal": "the signal that ended it, as in SIGKILL",
            "duration_ms": "ms from start to end",
            "run_pid": "pid of the `waitbus run` that started it",
            "run_start_ticks": "start time of that one",
        },
        natural_key="process:<boot id>:<pid>:<start time in ticks>:started|exited",
        embeddable=True,
    ),
    SourceSpec(
        name="agent",
        about="What programs and agents say: `waitbus emit`, messages, sessions.",
        event_types=(
            "agent_message",
            "agent_claim",
            "agent_task_failed",
            "session_registered",
            "session_ended",
        ),
        fields={
            "msg_to": "addressee",
            "msg_from": "sender",
            "msg_body": "text",
            "msg_thread": "thread",
            "msg_correlation_id": "ties a reply to its request",
            "msg_reply_to": "where a reply goes",
        },
        natural_key="agent:<sender>:request|reply|msg:<correlation id>",
    ),
    SourceSpec(
        name="http",
        about="CloudEvents and signed webhooks from any program.",
        event_types=("cloudevent", "webhook"),
        fields={**NAMED, "type": "the sender's type", "subject": "the sender's subject", "id": "the sender's id"},
        natural_key="http:<sender>:<id>",
    ),
)

_registered: dict[str, SourceSpec] = {}


def known_sources() -> Mapping[str, SourceSpec]:
    """Name -> declaration: the built-in sources, then those registered in this process."""
    return MappingProxyType({**{spec.name: spec for spec in _BUILT_IN}, **_registered})


def source(name: str) -> SourceSpec:
    """The declaration of one source.

    Raises:
      UnknownSource: nobody declared that name here.
    """
    specs = known_sources()
    if name not in specs:
        raise UnknownSource(f"no source {name!r} is known here", hint=f"known are {' '.join(specs)}")
    return specs[name]


def register_source(spec: SourceSpec) -> None:
    """Declare a source in this process, for as long as it lives; the same declaration twice is one.

    Events of a source that nobody declared are delivered all the same: this adds the words (`source show`, spelling hints) and
    what is progress, no permission.

    Raises:
      InvalidName: another source has that name or one of the event types.
    """
    from waitbus.verdict import declare_progress

    for other in known_sources().values():
        if other == spec:
            return
        if other.name == spec.name:
            raise InvalidName(f"source {spec.name!r} is already declared", hint="choose another name")
        if shared := sorted(set(other.event_types) & set(spec.event_types)):
            raise InvalidName(
                f"event type {shared[0]!r} belongs to source {other.name!r} already", hint="choose another event type"
            )
    _registered[spec.name] = spec
    declare_progress(spec.name, spec.progress_rules())
