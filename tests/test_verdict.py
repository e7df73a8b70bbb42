"""Progress, verdicts and exit codes: one table of (event, predicate) -> (ends?, exit code) for every built-in source."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.documents import COLUMNS, DOCUMENTS, PREDICATES, document
from waitbus import verdict
from waitbus.document import Document
from waitbus.events import EventFrame, Fields
from waitbus.predicate import Predicate
from waitbus.sources import known_sources
from waitbus.verdict import (
    clause_failed,
    declare_progress,
    ends,
    entity_of,
    exit_code,
    is_progress,
    is_terminal,
    verdict_of,
)

WORDS = {
    "failure": ("failure", "cancelled", "timed_out", "startup_failure", "action_required", "stale"),
    "success": ("success", "neutral", "skipped"),
    "none": ("", "in_progress", "Failure", "some_word_of_tomorrow"),
}


@pytest.mark.parametrize(("said", "word"), [(said, word) for said, words in WORDS.items() for word in words])
def test_the_verdict_of_each_conclusion(said: str, word: str) -> None:
    assert verdict_of(document(source="github", event_type="workflow_run", conclusion=word or None)) == said


def event(
    source: str, event_type: str, status: str | None = None, conclusion: str | None = None, **fields: Any
) -> Document:
    return document(source=source, event_type=event_type, status=status, conclusion=conclusion, fields=fields)


QUEUED = event("github", "workflow_run", "queued", action="requested")
RUN_OK = event("github", "workflow_run", "completed", "success")
RUN_BAD = event("github", "workflow_run", "completed", "failure")
JOB_RUNS = event("github", "workflow_job", "in_progress")
PUSH = event("github", "push")
MERGED = event("github", "pull_request", action="closed")
RELEASE = event("github", "release", action="published")
FIRING = event("alertmanager", "prometheus_alert", "firing")
RESOLVED = event("alertmanager", "prometheus_alert", "resolved")
WATCHDOG = event("alertmanager", "prometheus_watchdog", "firing")
SESSION_BAD = event("pytest", "pytest_session", "completed", "failure")
SESSION_OK = event("pytest", "pytest_session", "completed", "success")
TEST_BAD = event("pytest", "pytest_test", "completed", "failure")
EXIT_1 = event("docker", "docker_container", "completed", "failure", action="die")
EXIT_0 = event("docker", "docker_container", "completed", "success", action="die")
STARTED = event("docker", "docker_event", action="start", name="db")
CHANGED = event("fs", "fs_change", action="modified")
PROCESS_STARTED = event("process", "process_started", "in_progress", name="build")
PROCESS_BAD = event("process", "process_exited", "completed", "failure", name="build")
PROCESS_OK = event("process", "process_exited", "completed", "success", name="build")
PROCESS_UNKNOWN = event("process", "process_exited", "completed")
MESSAGE = event("agent", "agent_message")
CLAIM = event("agent", "agent_claim")
TASK_FAILED = event("agent", "agent_task_failed")
TASK_FAILED_SAID = event("agent", "agent_task_failed", conclusion="failure")
SESSION_CAME = event("agent", "session_registered")
SESSION_WENT = event("agent", "session_ended")
SOURCE_DOWN = event("waitbus", "source_down", name="docker")
SOURCE_UP = event("waitbus", "source_up", name="docker")
DEPLOYED = event("agent", "deploy_finished", conclusion="success")
DEPLOY_BAD = event("agent", "deploy_finished", conclusion="failure")
CLOUDEVENT = event("http", "cloudevent")
WEBHOOK_BAD = event("http", "webhook", conclusion="failure")
PLUGIN = event("nobody_declared", "whatever_happened", "queued")


def asked(*match: str, **options: Any) -> Predicate:
    return Predicate.parse(match, **options)


GITHUB, DOCKER, PROCESS = asked(source="github"), asked(source="docker"), asked(source="process")
TABLE = [
    # github: progress until there is a conclusion
    (QUEUED, GITHUB, False, None),
    (QUEUED, asked("event_type=workflow_run"), False, None),
    (QUEUED, asked("status=queued"), True, 0),
    (QUEUED, asked("fields.status?"), True, 0),
    (QUEUED, asked("action=requested"), True, 0),
    (QUEUED, asked("payload.action?"), True, 0),
    (QUEUED, asked("conclusion!=success"), False, None),
    (JOB_RUNS, GITHUB, False, None),
    (JOB_RUNS, asked("status=in_progress", source="github"), True, 0),
    (event("github", "check_run", "queued"), GITHUB, False, None),
    (event("github", "check_suite", "queued"), GITHUB, False, None),
    (event("github", "status", "pending"), GITHUB, False, None),
    (event("github", "status", "completed", "failure"), GITHUB, True, 1),
    (event("github", "deployment_status", "in_progress"), GITHUB, False, None),
    (event("github", "deployment_status", "completed", "success"), GITHUB, True, 0),
    (RUN_OK, GITHUB, True, 0),
    (RUN_BAD, GITHUB, True, 1),
    (RUN_BAD, asked("conclusion=failure", source="github"), True, 0),
    (RUN_BAD, asked("fields.conclusion!=success"), True, 0),
    (RUN_BAD, asked("status=completed"), True, 1),
    (RUN_BAD, asked("event_type=workflow_run"), True, 1),
    (RUN_BAD, asked(repo="local/*"), True, 1),
    (RUN_BAD, asked(conditions="failed"), True, 0),
    (RUN_BAD, asked(conditions="finished"), True, 1),
    *[
        (event("github", "workflow_run", "completed", word), GITHUB, True, 1)
        for word in ("cancelled", "timed_out", "startup_failure", "action_required", "stale")
    ],
    *[(event("github", "workflow_job", "completed", word), GITHUB, True, 0) for word in ("neutral", "skipped")],
    (event("github", "workflow_run", "completed", "skipped"), asked("conclusion=skipped"), True, 0),
    (event("github", "workflow_run", "completed", "a_new_word"), GITHUB, True, 0),
    (PUSH, GITHUB, True, 0),
    (MERGED, asked("action=closed"), True, 0),
    (RELEASE, asked("event_type=release"), True, 0),
    # alertmanager: the status is the verdict
    (FIRING, asked(source="alertmanager"), True, 1),
    (FIRING, asked("status=firing"), True, 1),
    (FIRING, asked("alert_severity?"), True, 1),
    (RESOLVED, asked(source="alertmanager"), True, 0),
    (RESOLVED, asked("status=resolved"), True, 0),
    (WATCHDOG, asked(source="alertmanager"), True, 0),
    # pytest
    (SESSION_BAD, asked(source="pytest"), True, 1),
    (SESSION_BAD, asked("fields.conclusion=failure", source="pytest"), True, 0),
    (SESSION_OK, asked("event_type=pytest_session", source="pytest"), True, 0),
    (TEST_BAD, asked(source="pytest"), True, 1),
    # docker: the exit ends, everything else is progress
    (EXIT_1, DOCKER, True, 1),
    (EXIT_0, DOCKER, True, 0),
    (EXIT_1, asked("action=die", source="docker"), True, 1),
    (STARTED, DOCKER, False, None),
    (STARTED, asked("name=db", source="docker"), False, None),
    (STARTED, asked("name=db", "action=start", source="docker"), True, 0),
    (STARTED, asked("event_type=docker_event"), True, 0),
    (STARTED, asked("event_type^=docker"), False, None),
    (STARTED, asked("event_type=docker_container", "event_type=docker_event"), True, 0),
    # fs
    (CHANGED, asked(source="fs"), True, 0),
    # process
    (PROCESS_STARTED, asked("name=build", source="process"), False, None),
    (PROCESS_STARTED, PROCESS, False, None),
    (PROCESS_STARTED, asked("event_type=process_started"), True, 0),
    (PROCESS_STARTED, asked("status=in_progress", source="process"), True, 0),
    (PROCESS_BAD, asked("name=build", source="process"), True, 1),
    (PROCESS_OK, PROCESS, True, 0),
    (PROCESS_UNKNOWN, PROCESS, True, 0),
    # agent and anything that `emit` says
    (MESSAGE, asked(source="agent"), True, 0),
    (MESSAGE, asked(to="bob"), True, 0),
    (CLAIM, asked(source="agent"), True, 0),
    (TASK_FAILED, asked(source="agent"), True, 0),
    (TASK_FAILED_SAID, asked(source="agent"), True, 1),
    (SESSION_CAME, asked("event_type=session_registered"), True, 0),
    (SESSION_WENT, asked(source="agent"), True, 0),
    (DEPLOYED, asked("event_type=deploy_finished"), True, 0),
    (DEPLOY_BAD, asked("event_type=deploy_finished"), True, 1),
    (DEPLOY_BAD, asked("conclusion?"), True, 0),
    # waitbus itself: how its sources are, which ends only who asks for that
    (SOURCE_DOWN, asked("name=docker"), False, None),
    (SOURCE_DOWN, asked(source="waitbus"), False, None),
    (SOURCE_DOWN, asked("event_type=source_down", "name=docker"), True, 0),
    (SOURCE_UP, asked("name=docker"), False, None),
    (SOURCE_UP, asked("event_type=source_up"), True, 0),
    # http, and a plugin that nobody knows
    (CLOUDEVENT, asked(source="http"), True, 0),
    (WEBHOOK_BAD, asked(source="http"), True, 1),
    (PLUGIN, asked("status=queued"), True, 0),
    (PLUGIN, asked(source="nobody_declared"), True, 0),
]


@pytest.mark.parametrize(("seen", "predicate", "is_end", "code"), TABLE)
def test_what_ends_a_wait_and_with_which_code(
    seen: Document, predicate: Predicate, is_end: bool, code: int | None
) -> None:
    """The contract, row by row; `--no-exit-status` makes every end a 0."""
    assert ends(seen, predicate) is is_end
    if is_end:
        assert exit_code(seen, predicate) == code
        assert exit_code(seen, predicate, honour=False) == 0


def test_the_table_has_every_source_and_every_event_type_of_progress() -> None:
    """A source that is added has to say what its events mean."""
    rows = {(seen.lookup("source"), seen.lookup("event_type")) for seen, *_ in TABLE}
    declared = {(spec.name, event_type) for spec in known_sources().values() for event_type in spec.event_types}
    assert declared <= rows
    assert set(verdict._progress) <= rows


def test_the_table_of_progress_is_what_the_sources_declare() -> None:
    """Two places say it, one for import time and one for `source show`; they agree."""
    declared = {
        (spec.name, event_type): progress
        for spec in known_sources().values()
        for event_type, progress in spec.progress_rules().items()
    }
    assert verdict._progress == declared


@given(DOCUMENTS, PREDICATES)
def test_the_code_is_0_or_1_and_1_only_for_a_failure(seen: Document, predicate: Predicate) -> None:
    """Whatever happens, a failure that was not asked for is the only 1."""
    code = exit_code(seen, predicate)
    assert code in (0, 1)
    assert code <= (verdict_of(seen) == "failure")
    assert not (code and predicate.names_conclusion)
    assert ends(seen, predicate) or is_progress(seen)


@pytest.mark.parametrize(
    ("seen", "terminal"),
    [
        (QUEUED, False),
        (RUN_BAD, True),
        (FIRING, False),
        (RESOLVED, True),
        (EXIT_1, True),
        (STARTED, False),
        (PROCESS_STARTED, False),
        (PROCESS_UNKNOWN, True),
        (MESSAGE, False),
        (DEPLOYED, True),
    ],
)
def test_what_is_over(seen: Document, terminal: bool) -> None:
    """A conclusion, `completed` or a resolved alert ends what the event is about."""
    assert is_terminal(seen) is terminal


@pytest.mark.parametrize(
    ("predicate", "fails"),
    [
        (asked(source="alertmanager"), True),
        (asked("status=firing"), False),
        (asked("conclusion!=success"), False),
        (asked("alert_name?"), True),
    ],
)
def test_a_clause_that_names_the_status_has_not_failed(predicate: Predicate, fails: bool) -> None:
    """In `--all-of` a term on status asks for the state as well (ARCHITECTURE B13)."""
    assert clause_failed(FIRING, predicate) is fails
    assert not clause_failed(RESOLVED, predicate)


@pytest.mark.parametrize(
    ("seen", "entity"),
    [
        (event("github", "workflow_run", run_id=77, run_attempt=2), ("github", "run", "77")),
        (event("github", "workflow_job", job_id=5, parent_run_id=77), ("github", "job", "5")),
        (event("github", "workflow_run"), None),
        (event("github", "workflow_run", run_id=True), None),
        (event("github", "push", run_id=77), None),
        (event("alertmanager", "prometheus_alert", alert_fingerprint="ab12"), ("alertmanager", "alert", "ab12")),
        (event("docker", "docker_container", container_id="c0ffee", name="db"), ("docker", "container", "c0ffee")),
        (event("docker", "docker_event", name="db"), ("docker", "container", "db")),
        (event("fs", "fs_change", path="/tmp/x"), ("fs", "path", "/tmp/x")),
        (event("process", "process_exited", pid=4242), ("process", "process", "4242")),
        (SOURCE_DOWN, ("waitbus", "source", "docker")),
        (SOURCE_UP, ("waitbus", "source", "docker")),
        (event("pytest", "pytest_test", nodeid="t.py::x"), None),
        (event("agent", "agent_message"), None),
    ],
)
def test_what_an_event_is_about(seen: Document, entity: tuple[str, str, str] | None) -> None:
    """The newest event of an entity can stand for all of them; most events are about themselves."""
    assert entity_of(seen) == entity


def test_frames_are_judged_as_rows_are() -> None:
    """The SDK has frames, the daemon has rows; there is one rule."""
    columns = {"source": "github", "event_type": "workflow_run", "status": "completed", "conclusion": "failure"}
    frame = EventFrame(
        **{**{key: COLUMNS[key] for key in ("event_id", "owner", "repo", "received_at", "delivery_id", "summary")}},
        event_type="workflow_run",
        source="github",
        fields=Fields({**columns, "run_id": 77}),
    )
    assert verdict_of(frame) == "failure"
    assert is_terminal(frame)
    assert not is_progress(frame)
    assert ends(frame, GITHUB)
    assert exit_code(frame, GITHUB) == 1
    assert entity_of(frame) == ("github", "run", "77")


def test_a_source_declares_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's rule counts from the moment it is declared: always, until a conclusion, or as a function says."""
    monkeypatch.setattr(verdict, "_progress", dict(verdict._progress))
    declare_progress(
        "train",
        {"departed": "always", "trip": "without_conclusion", "signal": lambda seen: seen.lookup("colour") == "red"},
    )
    assert is_progress(event("train", "departed", conclusion="success"))
    assert is_progress(event("train", "trip"))
    assert not is_progress(event("train", "trip", conclusion="success"))
    assert is_progress(event("train", "signal", colour="red"))
    assert not is_progress(event("train", "signal", colour="green"))
    assert not is_progress(event("bus", "departed"))
    assert ends(event("train", "departed"), asked("event_type=departed"))
    assert not ends(event("train", "trip"), asked("event_type=trip"))
    assert not ends(event("train", "signal", colour="red"), asked("event_type=signal"))
