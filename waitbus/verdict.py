"""What an event means for whoever waits: is it progress, does it end the wait, was it good, and the exit code of that.

One rule for `wait`, `on`, clauses, the SDK and MCP. It needs no knowledge of any source but the table of what is progress,
which sources declare (`declare_progress`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from waitbus.document import Document, Path

if TYPE_CHECKING:
    from waitbus.events import EventFrame
    from waitbus.predicate import Predicate

Verdict = Literal["success", "failure", "none"]
Entity = tuple[str, str, str]
"""(source, kind, id), as ("github", "run", "77")."""

FAILURE = frozenset({"failure", "cancelled", "timed_out", "startup_failure", "action_required", "stale"})
SUCCESS = frozenset({"success", "neutral", "skipped"})
ALERT_TYPE = "prometheus_alert"
_ALERT_VERDICTS: dict[str, Verdict] = {"firing": "failure", "resolved": "success"}

ProgressRule = Literal["always", "without_conclusion"] | Callable[[Document], bool]
"""`always`: the type is progress only. `without_conclusion`: its events are, until one has a conclusion."""

_progress: dict[tuple[str, str], ProgressRule] = {
    ("github", "workflow_run"): "without_conclusion",
    ("github", "workflow_job"): "without_conclusion",
    ("github", "check_run"): "without_conclusion",
    ("github", "check_suite"): "without_conclusion",
    ("github", "status"): "without_conclusion",
    ("github", "deployment_status"): "without_conclusion",
    ("docker", "docker_event"): "always",
    ("fs", "fs_overflow"): "always",
    ("fs", "fs_root"): "always",
    ("process", "process_started"): "always",
    ("waitbus", "source_down"): "always",
    ("waitbus", "source_up"): "always",
}

_asked: set[str] = {*("agent", "alertmanager", "docker", "fs", "github", "http", "process", "pytest", "waitbus")}
"""Sources whose progress is known: our own, and those that the index of installed declarations was asked about."""
_ASKED_MAX = 1000

_ENTITIES: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("github", "workflow_run"): ("run", ("run_id",)),
    ("github", "workflow_job"): ("job", ("job_id",)),
    ("github", "check_run"): ("check_run", ("check_run_id", "job_id")),
    ("github", "check_suite"): ("check_suite", ("check_suite_id",)),
    ("github", "pull_request"): ("pull_request", ("number",)),
    ("github", "deployment_status"): ("deployment", ("deployment_id",)),
    ("alertmanager", ALERT_TYPE): ("alert", ("alert_fingerprint",)),
    ("docker", "docker_container"): ("container", ("container_id", "container", "name", "workflow_name")),
    ("docker", "docker_event"): ("container", ("container_id", "container", "name", "workflow_name")),
    ("fs", "fs_change"): ("path", ("path",)),
    ("process", "process_started"): ("process", ("pid",)),
    ("process", "process_exited"): ("process", ("pid",)),
    ("waitbus", "source_down"): ("source", ("name",)),
    ("waitbus", "source_up"): ("source", ("name",)),
}
"""(source, event type) -> kind of entity, and the fields that may hold its id, the best one first."""

_STATUS = Path("column", "status")
_CONCLUSION = Path("column", "conclusion")


def declare_progress(source: str, rules: Mapping[str, ProgressRule]) -> None:
    """Say which event types of a source are progress, and when. A type that is not named never is."""
    for event_type, rule in rules.items():
        _progress[source, event_type] = rule


def verdict_of(event: Document | EventFrame) -> Verdict:
    """What the event says about what it is about; `none` where it says nothing."""
    document = _document(event)
    conclusion = document.get(_CONCLUSION)
    if conclusion in FAILURE:
        return "failure"
    if conclusion in SUCCESS:
        return "success"
    if not conclusion and document.columns.get("event_type") == ALERT_TYPE:
        return _ALERT_VERDICTS.get(str(document.get(_STATUS)), "none")
    return "none"


def is_progress(event: Document | EventFrame) -> bool:
    """Whether the event only says that something goes on."""
    document = _document(event)
    rule = _rule(document)
    if rule is None or isinstance(rule, str):
        return rule == "always" or (rule == "without_conclusion" and not document.get(_CONCLUSION))
    return rule(document)


def is_terminal(event: Document | EventFrame) -> bool:
    """Whether what the event is about is over: it has a conclusion, is `completed`, or is a resolved alert."""
    document = _document(event)
    if is_progress(document):
        return False
    if document.get(_CONCLUSION) or document.get(_STATUS) == "completed":
        return True
    return document.columns.get("event_type") == ALERT_TYPE and document.get(_STATUS) == "resolved"


def ends(event: Document | EventFrame, predicate: Predicate) -> bool:
    """Whether an event that matches ends the wait.

    Progress does so only if a term names `status`, `action`, or that very event type where the type is progress only.
    """
    document = _document(event)
    if not is_progress(document) or predicate.names_status_or_action:
        return True
    return _rule(document) == "always" and predicate.names_event_type(str(document.columns.get("event_type")))


def exit_code(event: Document | EventFrame, predicate: Predicate, *, honour: bool = True) -> int:
    """0 or 1 for the event that ended a wait; always 0 with `honour=False` (`--no-exit-status`).

    If a term names `conclusion`, a match is what was asked for. A term on `status` does not do that.
    """
    return int(honour and not predicate.names_conclusion and verdict_of(event) == "failure")


def clause_failed(event: Document | EventFrame, predicate: Predicate) -> bool:
    """Whether the event that met one clause of `--all-of` makes the whole a failure (ARCHITECTURE B13)."""
    return verdict_of(event) == "failure" and not (predicate.names_conclusion or predicate.names_status)


def entity_of(event: Document | EventFrame) -> Entity | None:
    """What the event is about (a run, an alert, a container, a path), so that the newest one of it can stand for all."""
    document = _document(event)
    source, event_type = str(document.columns.get("source")), str(document.columns.get("event_type"))
    kind, keys = _ENTITIES.get((source, event_type), ("", ()))
    for key in keys:
        value = document.get(Path("fields", key))
        if _is_id(value):
            return source, kind, str(value)
    return None


def _is_id(value: Any) -> bool:
    return bool(value) and isinstance(value, (str, int)) and not isinstance(value, bool)


def _rule(document: Document) -> ProgressRule | None:
    columns = document.columns
    key = str(columns.get("source")), str(columns.get("event_type"))
    rule = _progress.get(key)
    if rule is None and key[0] not in _asked and len(_asked) < _ASKED_MAX:
        _ask_about(key[0])
        rule = _progress.get(key)
    return rule


def _ask_about(source: str) -> None:
    from waitbus import declared  # only an event of somebody else's source needs it

    _asked.add(source)
    for event_type, rule in declared.progress_rules(source).items():
        _progress.setdefault((source, event_type), rule)


def _document(event: Document | EventFrame) -> Document:
    return event if isinstance(event, Document) else Document.of_frame(event)
