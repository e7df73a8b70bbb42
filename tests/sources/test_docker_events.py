"""The engine's words as rows: tables of what docker and podman say, and whatever else may come over their socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus.document import Document
from waitbus.errors import InvalidValue
from waitbus.events import EventInsert
from waitbus.predicate import Predicate
from waitbus.sources import source as declared
from waitbus.sources.docker import DockerSettings, DockerSource
from waitbus.sources.docker_events import (
    LABELS_MAX,
    TEXT_MAX,
    End,
    Message,
    exit_row,
    other_row,
    read_message,
    signal_of,
)
from waitbus.sources.docker_inspect import (
    Facts,
    Listed,
    began_ns,
    end_of,
    missed_end,
    read_facts,
    read_list,
    time_ns,
    wants_facts,
)
from waitbus.sources.docker_memory import EXEC_PER_HOUR, REMEMBERED, Memory, Run
from waitbus.sources.docker_stream import Lines

ID = "4f66ad9a0b2e" + "0" * 52
T = 1_764_406_800_123_456_789
S = 10**9


def line(action: str = "die", at_ns: int = T, attributes: dict[str, Any] | None = None, **more: Any) -> bytes:
    """What an engine sends."""
    actor = {"ID": ID, "Attributes": {"name": "db", "image": "postgres:16", **(attributes or {})}}
    return json.dumps(
        {"Type": "container", "Action": action, "Actor": actor, "time": at_ns // S, "timeNano": at_ns, **more}
    ).encode()


def message(*args: Any, **kwargs: Any) -> Message:
    found = read_message(line(*args, **kwargs))
    assert found is not None
    return found


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "action", "detail", "at_ns"),
    [
        (line(), "die", "", T),
        (line("died"), "die", "", T),
        (line("exec_died"), "exec_die", "", T),
        (line("health_status: healthy"), "health_status", "healthy", T),
        (line("health_status", HealthStatus="unhealthy"), "health_status", "unhealthy", T),
        (line("exec_create: sh -c 'a: b'"), "exec_create", "sh -c 'a: b'", T),
        (line(timeNano=None), "die", "", T // S * S),
        (json.dumps({"status": "start", "id": ID, "timeNano": T}).encode(), "start", "", T),
    ],
)
def test_what_an_engine_says(sent: bytes, action: str, detail: str, at_ns: int) -> None:
    found = read_message(sent)
    assert found is not None
    assert (found.id, found.action, found.detail, found.time_ns) == (ID, action, detail, at_ns)


def test_what_is_about_no_container_is_passed_over() -> None:
    assert read_message(line(Type="network")) is None


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"<html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"NaN", "no JSON"),
        (b"[]", "no object"),
        (line(Actor=5), "no container id"),
        (line(Actor={"ID": "a/../b"}), "no container id"),
        (line(Actor={"ID": "a" * 129}), "no container id"),
        (line(action=""), "no action"),
        (line(action="Die\x1b[2J"), "no action"),
        (line(action="x" * 65), "no action"),
        (line(timeNano=True, time=None), "no time"),
        (line(timeNano=5), "no time"),
        (line(timeNano=2**63), "no time"),
        (line(timeNano="now", time="now"), "no time"),
    ],
)
def test_what_is_no_event_is_refused_in_a_line(sent: bytes, said: str) -> None:
    with pytest.raises(InvalidValue, match=f"which is no event: {said}") as caught:
        read_message(sent)
    assert len(caught.value.message) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["Type", "Action", "Actor", "ID", "Attributes", "time", "timeNano", "State", "Config", "Labels", "Id"]
)


@given(st.dictionaries(KEYS, JSON | st.just("container") | st.just(T)), st.dictionaries(st.text(), st.text()))
def test_any_json_is_a_row_or_refused(value: dict[str, Any], labels: dict[str, str]) -> None:
    for sent in (value, {**json.loads(line()), **value}, json.loads(line(attributes=labels))):
        try:
            found = read_message(json.dumps(sent).encode())
        except InvalidValue:
            continue
        if found is not None:
            other_row(found)
            exit_row(end_of(found, Run(), None))


@given(JSON | st.dictionaries(KEYS, JSON))
def test_any_answer_is_facts_or_refused(value: Any) -> None:
    for read in (read_facts, read_list):
        try:
            read(json.dumps(value).encode())
        except InvalidValue:
            pass


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "code", "conclusion", "signal"),
    [
        ({"exitCode": "0"}, 0, "success", None),
        ({"exitCode": "3"}, 3, "failure", None),
        ({"exitCode": "137"}, 137, "failure", "SIGKILL"),
        ({"exitCode": "143"}, 143, "failure", "SIGTERM"),
        ({"exitCode": "255"}, 255, "failure", None),
        ({"containerExitCode": "1"}, 1, "failure", None),
        ({"exitCode": "x"}, None, None, None),
        ({"exitCode": "9" * 400}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_an_exit_by_its_code(
    attributes: dict[str, str], code: int | None, conclusion: str | None, signal: str | None
) -> None:
    row = exit_row(end_of(message(attributes=attributes), Run(), None))
    assert (row.event_type, row.status, row.conclusion) == ("docker_container", "completed", conclusion)
    assert (row.fields.get("exit_code"), row.fields.get("signal")) == (code, signal)


def test_an_exit_row() -> None:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "db", "env": "prod"}
    run = Run(started_ns=T - 1500 * 10**6)
    row = exit_row(end_of(message(attributes={"exitCode": "0", **labels}), run, None))
    assert row.delivery_id == f"docker:{ID}:die:{T}"
    assert row.received_at == T
    assert row.fields == {
        "name": "db",
        "workflow_name": "db",
        "container_id": ID,
        "image": "postgres:16",
        "action": "die",
        "exit_code": 0,
        "oom_killed": False,
        "duration_ms": 1500,
        "labels": ["com.docker.compose.project=shop", "com.docker.compose.service=db", "env=prod"],
        "compose_project": "shop",
        "compose_service": "db",
    }
    assert row.summary == "db success exit 0 postgres:16"
    assert json.loads(row.payload_json)["Action"] == "die"
    document = Document.of_insert(row)
    assert Predicate.parse(["labels*=env=prod", "compose_service=db"]).matches(document)
    assert not Predicate.parse("labels*=env").matches(document)


@pytest.mark.parametrize(
    ("action", "attributes", "fields"),
    [
        ("start", {}, {"action": "start"}),
        ("kill", {"signal": "9"}, {"action": "kill", "signal": "SIGKILL"}),
        ("kill", {"signal": "SIGUSR1"}, {"action": "kill", "signal": "SIGUSR1"}),
        ("health_status: healthy", {}, {"action": "health_status", "detail": "healthy"}),
        ("exec_die", {"exitCode": "1", "execID": "x"}, {"action": "exec_die", "exit_code": 1}),
        ("rename", {"oldName": "/x"}, {"action": "rename"}),
    ],
)
def test_a_row_of_any_other_action(action: str, attributes: dict[str, str], fields: dict[str, object]) -> None:
    row = other_row(message(action, attributes=attributes))
    assert (row.event_type, row.status, row.conclusion) == ("docker_event", None, None)
    assert row.delivery_id == f"docker:{ID}:{fields['action']}:{T}"
    assert row.fields == {"name": "db", "workflow_name": "db", "container_id": ID, "image": "postgres:16", **fields}


def test_the_declaration_tells_all_of_it() -> None:
    spec = declared("docker")
    assert spec.implementation == f"{DockerSource.__module__}:{DockerSource.__name__}"
    assert spec.settings == f"{DockerSettings.__module__}:{DockerSettings.__name__}"
    rows = [
        exit_row(end_of(message(attributes={"exitCode": "137", "a": "b"}), Run(T - S, oom=True), None)),
        other_row(message("health_status: healthy"), 5),
        other_row(message("kill", attributes={"signal": "9"})),
    ]
    for fields in (spec.example["fields"], *(row.fields for row in rows)):
        assert fields.keys() <= spec.fields.keys()
    shown = EventInsert(source="docker", **spec.example)
    assert all(Predicate.parse(term).matches(Document.of_insert(shown)) for term in spec.matches)


def test_texts_and_labels_have_limits() -> None:
    hostile = {f"label{number}\x1b[31m": "v" * 5000 for number in range(1000)}
    row = exit_row(end_of(message(attributes={**hostile, "name": "n" * 5000, "exitCode": "0"}), Run(), None))
    assert len(row.fields["name"]) == TEXT_MAX
    assert len(row.fields["labels"]) == LABELS_MAX
    assert len(row.fields_json) < 64 * 1024


def test_a_lone_surrogate_is_written_out() -> None:
    row = other_row(message("start", attributes={"name": "a\udcff", "x\ud800": "\udfff"}))
    assert row.fields["name"] == "a\\udcff"
    assert row.fields["labels"] == ["x\\ud800=\\udfff"]


def test_only_signals_have_names() -> None:
    assert [signal_of(code) for code in (None, 0, 128, 129, 192, 193, 255, -1)] == [
        None,
        None,
        None,
        "SIGHUP",
        "SIGRTMAX",
        None,
        None,
        None,
    ]


# -- what the engine knows besides -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("2025-11-29T09:00:00.123456789Z", T),
        ("2025-11-29T10:00:00.123456789+01:00", T),
        ("2025-11-29t09:00:00.1234567891z", T),
        ("2025-11-29T09:00:00Z", T // S * S),
        ("2025-11-29T09:00:00.5Z", T // S * S + S // 2),
        ("0001-01-01T00:00:00Z", None),
        ("2025-13-29T09:00:00Z", None),
        ("2025-11-29T09:00:00", None),
        ("9999-12-31T23:59:59Z", None),
        ("", None),
        (5, None),
        ("2" * 100_000, None),
    ],
)
def test_times_of_rfc_3339(text: object, at_ns: int | None) -> None:
    assert time_ns(text) == at_ns


def inspected(**state: Any) -> bytes:
    told = {
        "Running": False,
        "ExitCode": 137,
        "OOMKilled": True,
        "StartedAt": "2025-11-29T08:59:58.123456789Z",
        "FinishedAt": "2025-11-29T09:00:00.023456789Z",
    }
    config = {"Image": "postgres:16", "Labels": {"env": "prod"}}
    return json.dumps({"Name": "/db", "Config": config, "State": {**told, **state}}).encode()


FACTS = read_facts(inspected())


def test_what_an_inspection_tells() -> None:
    assert (
        Facts(
            name="db",
            image="postgres:16",
            labels={"env": "prod"},
            started_ns=T - 2 * S,
            finished_ns=T - S // 10,
            exit_code=137,
            oom_killed=True,
        )
        == FACTS
    )
    assert (FACTS.has_ended, FACTS.ran_ms) == (True, 1900)


AGAIN = read_facts(inspected(Running=True, StartedAt="2025-11-29T09:00:00.2Z"))
AGAIN_ENDED = read_facts(inspected(StartedAt="2025-11-29T09:00:00.2Z", FinishedAt="2025-11-29T09:00:01Z"))
AT_ONCE = read_facts(inspected(StartedAt="2025-11-29T09:00:00.05Z"))
STALE = read_facts(inspected(StartedAt="2025-11-29T08:59:59Z", FinishedAt="2025-11-29T08:00:00Z"))


@pytest.mark.parametrize(
    ("run", "facts", "attributes", "oom", "duration", "began"),
    [
        (Run(), FACTS, {}, True, 1900, T - S // 10),
        (Run(T - 3 * S), FACTS, {}, True, 1900, T - S // 10),
        (Run(T - 3 * S), None, {}, None, 3000, T - 3 * S),
        (Run(T - 3 * S, oom=True), None, {}, True, 3000, T - 3 * S),
        (Run(T - 3 * S, killed=True), None, {}, False, 3000, T - 3 * S),
        (Run(), None, {"execDuration": "7"}, None, 7000, None),
        (Run(), None, {"execDuration": "-7"}, None, None, None),
        (Run(), None, {}, None, None, None),
        (Run(), AGAIN, {}, None, None, None),
        (Run(), AGAIN_ENDED, {}, None, None, None),
        (Run(), STALE, {}, None, None, None),
        (Run(), AT_ONCE, {}, True, 0, T - S // 10),
        (Run(T + S), None, {}, None, 0, T + S),
    ],
)
def test_an_end_takes_only_what_is_known_of_its_own_run(
    run: Run, facts: Facts | None, attributes: dict[str, str], oom: bool | None, duration: int | None, began: int | None
) -> None:
    died = message(attributes={"exitCode": "137", **attributes})
    end = end_of(died, run, facts)
    assert (end.oom_killed, end.duration_ms, began_ns(run, facts, T)) == (oom, duration, began)


@pytest.mark.parametrize(
    ("attributes", "run", "asked"),
    [
        ({"exitCode": "0"}, Run(T - S), False),
        ({"exitCode": "0"}, Run(), True),
        ({"exitCode": "137"}, Run(T - S), True),
        ({"exitCode": "137"}, Run(T - S, oom=True), False),
        ({"exitCode": "137"}, Run(T - S, killed=True), False),
        ({"exitCode": "3"}, Run(T - S), False),
        ({"exitCode": "3"}, Run(), True),
        ({}, Run(T - S), True),
    ],
)
def test_the_engine_is_asked_only_where_it_has_more_to_tell(attributes: dict[str, str], run: Run, asked: bool) -> None:
    assert wants_facts(message(attributes=attributes), run) is asked


def test_an_end_that_nobody_told_of_has_the_key_of_its_moment() -> None:
    end = missed_end(ID, FACTS, T - S)
    assert end == End(
        id=ID,
        at_ns=T - S // 10,
        name="db",
        image="postgres:16",
        labels={"env": "prod"},
        exit_code=137,
        oom_killed=True,
        duration_ms=1900,
    )
    assert exit_row(end).delivery_id == f"docker:{ID}:die:{T - S // 10}"
    assert missed_end(ID, FACTS, T) is None
    assert missed_end(ID, AGAIN, T - S) is None
    assert missed_end(ID, read_facts(inspected(FinishedAt="0001-01-01T00:00:00Z")), T - S) is None


def test_containers_that_ended_long_ago_are_not_asked_about() -> None:
    told = [
        ("a1", "exited", "Exited (0) About a minute ago"),
        ("a2", "dead", "Exited (0) 47 hours ago"),
        ("a3", "exited", "Exited (1) 2 days ago"),
        ("a4", "exited", "Exited (1) 1 week ago"),
        ("a5", "stopped", ""),
        ("a/6", "exited", ""),
        ("a7", "running", "Up 5 seconds"),
        ("a8", ["exited"], ""),
    ]
    body = json.dumps(
        [*({"Id": container, "State": state, "Status": status} for container, state, status in told), 5, {}]
    ).encode()
    assert read_list(body) == Listed(running=["a7"], ended=["a1", "a2", "a5"])


# -- memory and lines --------------------------------------------------------------------------------------------------


def test_the_exec_events_of_a_container_have_a_measure() -> None:
    memory = Memory()
    admitted = [memory.admit(message("exec_start: sh", T + number)) for number in range(EXEC_PER_HOUR + 5)]
    assert admitted == [0] * EXEC_PER_HOUR + [None] * 5
    assert memory.admit(message("start")) == 0
    later = message("exec_die", T + 3600 * S)
    assert (memory.admit(later), memory.admit(later)) == (5, 0)
    assert other_row(later, 5).fields["skipped"] == 5


def test_a_run_is_remembered_until_it_ends() -> None:
    memory = Memory()
    for action in ("create", "start", "oom"):
        memory.note(message(action))
    assert memory.run_of(ID) == Run(T, oom=True)
    memory.ended(ID)
    assert memory.run_of(ID) == Run()


@pytest.mark.parametrize(
    ("signal", "killed"), [("9", True), ("SIGKILL", True), ("KILL", True), ("15", False), ("", False)]
)
def test_a_run_that_the_engine_was_told_to_kill_is_remembered_as_that(signal: str, killed: bool) -> None:
    memory = Memory()
    memory.note(message("start"))
    memory.note(message("kill", T + S, {"signal": signal}))
    assert memory.run_of(ID) == Run(T, killed=killed)


def test_what_is_learnt_of_a_run_is_believed_where_it_is_newer_than_what_was_heard() -> None:
    """An engine that was restarted may have begun the next run unheard."""
    memory = Memory()
    memory.learn(ID, T)
    assert memory.run_of(ID) == Run(T)
    memory.note(message("start", T + S))
    memory.learn(ID, T)
    assert memory.run_of(ID) == Run(T + S)
    memory.learn(ID, T + 2 * S)
    assert memory.run_of(ID) == Run(T + 2 * S)


def test_memory_is_bounded() -> None:
    memory = Memory()
    for number in range(REMEMBERED + 10):
        memory.note(Message(id=f"c{number}", action="start", time_ns=T))
        memory.admit(Message(id=f"c{number}", action="exec_start", time_ns=T))
    assert len(memory._runs) == len(memory._execs) == REMEMBERED
    assert memory.run_of("c9") == Run()
    assert memory.run_of("c10") == Run(T)


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.integers(1, 9))
def test_lines_are_the_same_however_they_are_cut(sent: list[bytes], size: int) -> None:
    data = b"".join(piece + b"\n" for piece in sent)
    lines = Lines(limit=6)
    found = [line for start in range(0, len(data), size) for line in lines.feed(data[start : start + size])]
    assert found == [kept for piece in sent if len(piece) <= 6 and (kept := piece.strip(b"\x1e\r\t "))]
    assert lines.dropped == sum(len(piece) > 6 for piece in sent)


def test_a_line_that_does_not_end_takes_no_memory() -> None:
    lines = Lines(limit=100)
    for _ in range(1000):
        assert lines.feed(b"x" * 64) == []
    assert (lines.dropped, len(lines._begun)) == (1, 0)
    assert lines.feed(b"\nafter\n") == [b"after"]
