"""What the sources write is what their declarations say: types of events, fields and what they hold, words, natural keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sources.test_docker_events import message
from waitbus.events import COLUMN_FIELDS, EventInsert
from waitbus.sources import fs_events, process, source
from waitbus.sources.docker_events import exit_row, other_row
from waitbus.sources.docker_inspect import end_of
from waitbus.sources.docker_memory import Run
from waitbus.sources.fs_changes import Change
from waitbus.sources.fs_tree import Seen
from waitbus.sources.pidfd import Process
from waitbus.sources.pytest_rows import COUNTS, OUTCOMES, Session

KINDS: dict[str, tuple[type, ...]] = {
    "integer": (int,), "number": (int, float), "boolean": (bool,), "text": (str,), "texts": (list,),
}  # fmt: skip
OPEN = {("docker", "action")}
"""Vocabularies that name the commonest words only."""


def of_pytest() -> Iterator[EventInsert]:
    counts = dict.fromkeys(COUNTS, 1)
    start = {"what": "start", "session": "0123456789abcdef", "rootdir": "/src/api", "args": "-q"}
    tests: list[dict[str, Any]] = [
        {"what": "test", "nodeid": "a", "outcome": one, "duration_ms": 1, "counts": counts}
        for one in (*OUTCOMES, "failed")
    ]
    tests[0]["subtest"] = "(i=1)"
    end = {"what": "end", "exit_status": 1, "duration_ms": 5, "first_failures": ["a"], "reason": "enough"}
    for last in (end, {**end, "exit_status": 0}, {**end, "interrupted": True}):
        yield from Session().feed(b"".join(json.dumps(one).encode() + b"\n" for one in (start, *tests, last)))


def of_process() -> Iterator[EventInsert]:
    it = process.Subject(process=Process(42, 7), name="build", command=["make", "-j4"], run=Process(41, 6))
    yield process.started(it)
    yield from (process.exited(it, status, 1.5) for status in (0, 2 << 8, 9, None))


def of_fs() -> Iterator[EventInsert]:
    seen = Seen(11, 5, 10**18, 10**18)
    yield from (fs_events.changed("/src", Change(one, "a/b.py", seen)) for one in ("created", "modified", "deleted"))
    yield fs_events.changed("/src", Change("moved", "a/b.py", seen, "a/c.py"))
    yield fs_events.overflowed("/src")
    yield from (fs_events.root_changed("/src", one, 11) for one in ("vanished", "returned"))


def of_docker() -> Iterator[EventInsert]:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "db"}
    for code in ("0", "1", "137", ""):
        yield exit_row(end_of(message(attributes={"exitCode": code, **labels}), Run(started_ns=10**18), None))
    yield other_row(message(action="kill", attributes={"signal": "9", **labels}), skipped=3)
    yield other_row(message(action="exec_die", attributes={"exitCode": "1"}))
    yield other_row(message(action="health_status: healthy"))


ROWS = [*of_pytest(), *of_process(), *of_fs(), *of_docker()]


def ids(row: EventInsert) -> str:
    return f"{row.event_type}-{row.conclusion or row.fields.get('action') or row.status}"


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_a_row_is_as_declared(row: EventInsert) -> None:
    spec = source(row.source)
    assert row.event_type in spec.event_types
    assert set(row.fields) <= set(spec.fields)
    for key, value in row.fields.items():
        assert type(value) in KINDS[spec.type_of(key)], key
    for key, words in spec.vocabulary.items():
        found = getattr(row, key) if key in COLUMN_FIELDS else row.fields.get(key)
        assert found is None or found in words or (row.source, key) in OPEN, key


@pytest.mark.parametrize("row", ROWS, ids=ids)
def test_its_key_and_its_summary_are_its_own(row: EventInsert) -> None:
    """One line, which says what it is about."""
    if row.event_type != "fs_overflow":  # each is one of its own
        assert row.delivery_id.startswith(source(row.source).natural_key.partition("<")[0])
    about = row.fields.get("nodeid") or row.fields.get("path") or row.workflow_name
    assert row.summary.startswith(f"{about} ")
    assert row.summary.isprintable()


def test_every_declared_field_is_written_by_something() -> None:
    """What is declared and never there is a promise that nobody keeps."""
    written: dict[str, set[str]] = {}
    for row in ROWS:
        written.setdefault(row.source, set()).update(row.fields)
    assert {name: set(source(name).fields) - keys for name, keys in written.items()} == {
        name: set() for name in written
    }


def test_an_example_has_a_key_of_the_form_that_is_declared() -> None:
    from waitbus.sources.builtin import BUILT_IN

    for spec in BUILT_IN:
        example: dict[str, Any] = dict(spec.example)
        assert "<" not in example["delivery_id"]
        assert example["delivery_id"].startswith(spec.natural_key.partition("<")[0]), spec.name
