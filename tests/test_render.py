"""One line for an event, and text from outside that cannot touch the terminal."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waitbus.events import EventFrame, EventInsert, Fields
from waitbus.render import clip, json_line, line, neutral, parts, tone

HOSTILE = "\x1b[2J\r\n\x00\x9b\u202e\u2066\u200b\u200d\ufeff\u00ad\U000e0041\U000e0100\udc80\u2028\u3164\x7f"


def frame(source: str, event_type: str, fields: dict[str, Any] | None = None, **given: Any) -> EventFrame:
    """A frame as the log would give it for an event with these fields."""
    insert = EventInsert(source=source, event_type=event_type, fields=fields, **given)
    return EventFrame(
        event_id="01M7XJ614PK8CHXM5935SQP1H1",
        event_type=event_type,
        owner=insert.owner,
        repo=insert.repo,
        received_at=insert.received_at,
        delivery_id=insert.delivery_id,
        summary=insert.summary,
        source=source,
        fields=Fields({**insert.fields, "source": source, "status": insert.status, "conclusion": insert.conclusion}),
    )


SHA = "7f3a1b2" + "0" * 33
URL = "https://github.com/octo/hello/actions/runs/77"
CI = {"workflow_name": "CI", "run_number": 214, "head_branch": "main", "head_sha": SHA, "html_url": URL, "run_id": 77}

LINES = [
    (
        frame("process", "process_exited", {"name": "build", "exit_code": 2, "duration_ms": 14200, "command": "make -j4"},
              status="completed", conclusion="failure"),
        "process_exited  build  failure  exit 2 after 14.2 s  make -j4",
    ),
    (
        frame("process", "process_exited", {"name": "x", "exit_code": 137, "signal": "SIGKILL", "duration_ms": 900},
              conclusion="failure"),
        "process_exited  x  failure  SIGKILL after 900 ms",
    ),
    (
        frame("process", "process_started", {"name": "build", "pid": 42, "command": "make"}, status="in_progress"),
        "process_started  build  in_progress  pid 42  make",
    ),
    (
        frame("process", "process_exited", {"name": "sleep", "pid": 42}, status="completed"),
        "process_exited  sleep  completed  pid 42",
    ),
    (
        frame("fs", "fs_change", {"path": "/home/me/src/app/models.py", "action": "modified"}, status="completed"),
        "fs_change  src/app/models.py  modified",
    ),
    (frame("fs", "fs_change", {"path": "/etc/hosts", "action": "deleted"}), "fs_change  /etc/hosts  deleted"),
    (
        frame("github", "workflow_run", CI, owner="octo", repo="hello", status="completed", conclusion="failure"),
        f"workflow_run  octo/hello  CI #214  failure  main@7f3a1b2  {URL}",
    ),
    (
        frame("github", "workflow_job", {"workflow_name": "CI", "job_name": "test"}, owner="octo", repo="hello",
              status="queued"),
        "workflow_job  octo/hello  CI/test  queued",
    ),
    (
        frame("github", "push", {"head_branch": "main"}, owner="octo", repo="hello", summary="fix the build"),
        "push  octo/hello  main",
    ),
    (
        frame("pytest", "pytest_session", {"failed": 3, "passed": 212, "skipped": 0, "duration_ms": 41800,
              "nodeid": "tests/test_auth.py::test_expiry"}, repo="api", status="completed", conclusion="failure"),
        "pytest_session  api  failure  3 failed, 212 passed in 41.8 s  tests/test_auth.py::test_expiry",
    ),
    (
        frame("pytest", "pytest_session", {"passed": 212, "duration_ms": 41800, "reason": "pytest was ended by SIGKILL"},
              repo="api", status="completed", conclusion="failure"),
        "pytest_session  api  failure  212 passed in 41.8 s (pytest was ended by SIGKILL)",
    ),
    (
        frame("pytest", "pytest_test", {"nodeid": "tests/a.py::b", "duration_ms": 20}, conclusion="failure"),
        "pytest_test  tests/a.py::b  failure  20 ms",
    ),
    (
        frame("pytest", "pytest_test", {"nodeid": "tests/a.py::b", "subtest": "(i=1)"}, conclusion="failure"),
        "pytest_test  tests/a.py::b  failure  (i=1)",
    ),
    (
        frame("docker", "docker_container", {"name": "db", "exit_code": 137, "image": "postgres:16"}, conclusion="failure"),
        "docker_container  db  failure  exit 137  postgres:16",
    ),
    (
        frame("docker", "docker_event", {"name": "db", "action": "start", "image": "postgres:16"}, status="running"),
        "docker_event  db  start  postgres:16",
    ),
    (
        frame("alertmanager", "prometheus_alert", alert_name="HighLatency", alert_severity="page", status="firing"),
        "prometheus_alert  HighLatency  firing  page",
    ),
    (
        frame("agent", "agent_message", msg_from="alice", msg_to="bob", msg_body="is main\n  green?"),
        "agent_message  alice -> bob  is main green?",
    ),
    (frame("agent", "note", msg_from="ci", msg_body="hello"), "note  ci  hello"),
    (frame("agent", "deploy_finished", conclusion="success"), "deploy_finished  success"),
    (
        frame("agent", "deploy_finished", {"env": "staging", "version": "1.4.2"}, conclusion="success"),
        "deploy_finished  success  env=staging version=1.4.2",
    ),
    (
        frame("agent", "deploy_finished", {"env": "staging"}, conclusion="success", summary="all good"),
        "deploy_finished  success  all good",
    ),
    (
        frame("agent", "deploy_finished", {"version": 1.4, "canary": True, "replicas": 3}),
        "deploy_finished  version=1.4 canary=true replicas=3",
    ),
    (frame("deploys", "done", repo="api"), "done  api"),
    (frame("deploys", "done", workflow_name="api", owner="octo", repo="x"), "done  api"),
    (
        frame("http", "cloudevent", {"subject": "disk", "type": "com.example.full"}, summary="90 %"),
        "cloudevent  disk  com.example.full",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("event", "text"), LINES, ids=[text[:40] for _, text in LINES])
def test_the_line_of_an_event(event: EventFrame, text: str) -> None:
    """Type, about, verdict, the one detail, a link: as the transcripts show it."""
    assert line(event, base="/home/me") == text


@pytest.mark.parametrize(("event", "text"), LINES, ids=[text[:40] for _, text in LINES])
def test_only_the_verdict_is_painted(event: EventFrame, text: str) -> None:
    verdict = parts(event).verdict
    painted = line(event, base="/home/me", paint=lambda word: f"<{word}>")
    assert painted == (text.replace(f"  {verdict}", f"  <{verdict}>", 1) if verdict else text)


@pytest.mark.parametrize(
    ("given_", "summary"),
    [
        ({"source": "agent", "event_type": "deploy_finished", "conclusion": "success"}, "deploy_finished success"),
        ({"source": "agent", "event_type": "deploy_finished"}, "deploy_finished"),
        (
            {"source": "agent", "event_type": "deploy_finished", "owner": "octo", "repo": "api", "status": "queued"},
            "octo/api queued",
        ),
        (
            {"source": "process", "event_type": "process_exited", "status": "completed", "conclusion": "failure",
             "fields": {"name": "build", "exit_code": 2, "duration_ms": 14200, "command": "make -j4"}},
            "build failure exit 2 after 14.2 s make -j4",
        ),
        (
            {"source": "github", "event_type": "workflow_run", "owner": "octo", "repo": "hello", "status": "completed",
             "conclusion": "failure", "fields": CI},
            f"octo/hello CI #214 failure main@7f3a1b2 {URL}",
        ),
        ({"source": "github", "event_type": "push", "owner": "octo", "repo": "hello", "head_sha": SHA}, "octo/hello 7f3a1b2"),
        ({"source": "github", "event_type": "status", "head_branch": "main"}, "status main"),
        ({"source": "github", "event_type": "workflow_job", "job_name": "test", "fields": {"number": 7}}, "test #7"),
    ],
    ids=str,
)  # fmt: skip
def test_a_summary_is_made_of_what_is_known(given_: dict[str, Any], summary: str) -> None:
    """0.2 said `? web run None (?) -- completed/failure` of a container."""
    assert EventInsert(**given_).summary == summary


def test_a_summary_is_bounded_and_one_line() -> None:
    """However long or odd the fields are."""
    made = EventInsert(source="agent", event_type="x", fields={"name": "a\nb" * 50_000}).summary
    assert len(made) == 400
    assert "\n" not in made


def test_a_hostile_event_has_a_bounded_neutral_line() -> None:
    """Every field is somebody else's text."""
    long = HOSTILE + "x" * 1_000_000
    fields = Fields({"workflow_name": long, "html_url": long, "head_branch": long, "conclusion": long})
    event = attrs.evolve(frame("github", "push"), owner=long, repo=long, event_type=long, summary=long, fields=fields)
    text = line(event)
    assert len(text) < 1200
    assert text == neutral(text)
    assert text.isprintable()


def test_a_stub_of_an_oversize_event_has_a_line() -> None:
    """A `truncated` frame has no fields."""
    stub = EventFrame(
        event_id="x", event_type="", owner="", repo="", received_at=0, delivery_id="", summary="too large"
    )
    assert line(stub).endswith("too large")


@pytest.mark.parametrize(
    ("word", "is_"),
    [
        ("failure", "failure"),
        ("stale", "failure"),
        ("firing", "failure"),
        ("skipped", "success"),
        ("resolved", "success"),
        ("success", "success"),
        ("queued", "dim"),
        ("", "dim"),
    ],
)
def test_the_tone_of_a_verdict(word: str, is_: str) -> None:
    assert tone(word) == is_


# -- hostile text ------------------------------------------------------------------------------------------------------

ANY = st.text(alphabet=st.characters()) | st.text(
    alphabet=st.sampled_from([*HOSTILE, "\\", "x", "1", "b", "é", "✓", "日"])
)


def _moves_or_hides(character: str) -> bool:
    # By Unicode's own classes, not by our expression: controls, surrogates, separators of lines, bidi, tags, no width.
    return (
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        or 0xE0000 <= ord(character) <= 0xE0FFF
        or character in "\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff\u00ad\u061c"
    )


@given(ANY)
@example(HOSTILE)
def test_neutral_text_moves_and_hides_nothing(text: str) -> None:
    assert not [character for character in neutral(text) if _moves_or_hides(character)]


@given(ANY)
@example(HOSTILE)
def test_neutral_is_idempotent(text: str) -> None:
    assert neutral(neutral(text)) == neutral(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202eevil", "\\u202eevil"),
        ("\U000e0041", "\\U000e0041"),
        ("\udc80", "\\udc80"),
        ("naïve 日本 ✓ ❤\ufe0f é", "naïve 日本 ✓ ❤\ufe0f é"),
        ("C:\\temp", "C:\\temp"),
    ],
)
def test_hostile_letters_are_written_out_and_others_left(text: str, shown: str) -> None:
    assert neutral(text) == shown


@given(ANY, st.integers(2, 50))
def test_a_clipped_text_is_neutral_and_no_longer_than_asked(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    assert len(clipped) <= limit
    assert neutral(clipped) == clipped


@given(
    st.recursive(ANY | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY, inner)),
    st.booleans(),
)
@example({HOSTILE: HOSTILE}, False)
def test_json_is_faithful_harmless_and_utf8(value: Any, ascii_only: bool) -> None:
    """A reader gets back each character; a terminal and a log viewer get none that acts."""
    text = json_line(value, ascii_only=ascii_only)
    assert not [character for character in text if _moves_or_hides(character)]
    assert json.loads(text.encode("utf-8")) == json.loads(json.dumps(value))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_of_an_event_survives_json(text: str) -> None:
    assert json.loads(json_line({"a": text})) == {"a": text}
