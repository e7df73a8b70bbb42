"""A log of 0.2 is brought over: made by the real program where it is at hand, and by hand for what it should not have taken."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.logs import event, rows
from tests.support import run
from waitbus.errors import InvalidValue, LogUnavailable
from waitbus.events import TEXT_FIELDS, parse_event_id
from waitbus.store import Log, old
from waitbus.store.old import Imported, import_old

SCHEMA = """
CREATE TABLE events(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, delivery_id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, event_type TEXT NOT NULL,
  owner TEXT NOT NULL, repo TEXT NOT NULL, run_id INTEGER, workflow_name TEXT, head_branch TEXT, head_sha TEXT, status TEXT,
  conclusion TEXT, received_at INTEGER NOT NULL, payload_json TEXT NOT NULL, ingest_method TEXT NOT NULL, job_id INTEGER,
  job_name TEXT, parent_run_id INTEGER, alert_name TEXT, alert_severity TEXT, alert_fingerprint TEXT, msg_to TEXT,
  msg_from TEXT, msg_correlation_id TEXT, msg_reply_to TEXT, msg_thread TEXT, msg_body TEXT, event_id TEXT)
"""
"""The table as section 2 of its description has it."""

NOW = time.time_ns()
DAY = 86400 * 10**9


class OldLog:
    """A `github.db` made by hand."""

    def __init__(self, path: Path, schema: str = SCHEMA) -> None:
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute(schema)
        self.count = 0

    def add(self, **columns: Any) -> str:
        self.count += 1
        event_id = f"01M7XJ614PK8CHXM5935SQP{self.count:03}"
        row = {
            "delivery_id": f"d{self.count}",
            "source": "github",
            "event_type": "workflow_run",
            "owner": "octo",
            "repo": "hello",
            "received_at": NOW - DAY,
            "payload_json": "{}",
            "ingest_method": "webhook",
            "event_id": event_id,
            **columns,
        }
        marks = ", ".join("?" * len(row))
        self.db.execute(f"INSERT INTO events({', '.join(row)}) VALUES ({marks})", [*row.values()])
        return event_id


@pytest.fixture
def theirs(home: Path) -> Any:
    made = OldLog(home / "github.db")
    yield made
    made.db.close()


def test_rows_come_over_in_their_order_with_all_they_had(log: Log, theirs: OldLog) -> None:
    text = {name: f"its {name}" for name in TEXT_FIELDS}
    ids = [
        theirs.add(run_id=7, job_id=8, parent_run_id=9, status="completed", conclusion="failure", **text),
        theirs.add(payload_json='{"a": [1, "é"]}'),
        theirs.add(received_at=NOW - 2 * DAY),
    ]
    theirs.db.execute("DELETE FROM events WHERE seq = 2")
    ids[1] = theirs.add(payload_json='{"a": [1, "é"]}')
    done = import_old(theirs.path, log)
    assert done == Imported(3, 3, 0)
    found = rows(log)
    assert [row.delivery_id for row in found] == ["d1", "d3", "d4"]
    assert (found[0].owner, found[0].repo, found[0].status, found[0].conclusion) == (
        "octo",
        "hello",
        "completed",
        "failure",
    )
    assert json.loads(found[0].fields) == {"run_id": 7, "job_id": 8, "parent_run_id": 9, **text}
    assert (found[0].ingest_method, found[0].received_at) == ("webhook", NOW - DAY)
    assert log.payload(3) == '{"a": [1, "é"]}'


def test_an_old_id_still_finds_its_event(log: Log, theirs: OldLog) -> None:
    ids = [theirs.add() for _ in range(3)]
    import_old(theirs.path, log)
    assert [log.alias(one) for one in ids] == [1, 2, 3]
    assert parse_event_id(log.cursor()).tag == log.tag


def test_the_time_of_commit_is_when_it_was_received_as_far_as_the_order_allows(log: Log, theirs: OldLog) -> None:
    """So that `--since 1h` behind an import is not the whole history."""
    for days in (30, 10, 20, 1):
        theirs.add(received_at=NOW - days * DAY)
    theirs.add(received_at=NOW + 365 * DAY)
    import_old(theirs.path, log)
    times = [row.at_ms for row in rows(log)]
    assert times[:4] == [(NOW - days * DAY) // 10**6 for days in (30, 10, 10, 1)]
    assert times[4] <= time.time_ns() // 10**6
    assert log.seq_before((NOW - 5 * DAY) // 10**6) == 3
    log.append(event("mine"))
    assert rows(log)[-1].at_ms >= times[4]


def test_a_second_import_brings_what_is_new_and_doubles_nothing(log: Log, theirs: OldLog) -> None:
    first = [theirs.add() for _ in range(3)]
    import_old(theirs.path, log)
    log.append(event("mine"))
    more = theirs.add()
    assert import_old(theirs.path, log) == Imported(4, 1, 3)
    assert import_old(theirs.path, log) == Imported(4, 0, 4)
    assert [row.delivery_id for row in rows(log)] == ["d1", "d2", "d3", "mine", "d4"]
    assert [log.alias(one) for one in [*first, more]] == [1, 2, 3, 5]


def test_an_event_that_is_here_already_keeps_its_place_and_gets_its_old_name(log: Log, theirs: OldLog) -> None:
    log.append(event("d1", summary="ours"))
    name = theirs.add()
    assert import_old(theirs.path, log) == Imported(1, 0, 1)
    assert log.alias(name) == 1
    assert rows(log)[0].summary == "ours"


def test_batches_are_committed_one_by_one_and_an_interrupted_import_goes_on(
    log: Log, theirs: OldLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old, "BATCH_ROWS", 10)
    for _ in range(35):
        theirs.add()
    heard: list[int] = []

    def told(so_far: Imported) -> None:
        heard.append(so_far.read)
        if so_far.read == 20 and len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_old(theirs.path, log, told=told)
    assert log.head() == 20
    assert import_old(theirs.path, log, told=told) == Imported(35, 15, 20)
    assert heard == [10, 20, 10, 20, 30, 35]
    assert [row.delivery_id for row in rows(log)] == [f"d{number}" for number in range(1, 36)]


def test_a_batch_ends_where_payloads_are_large(log: Log, theirs: OldLog) -> None:
    for _ in range(12):
        theirs.add(payload_json=json.dumps("x" * 1_000_000))
    sizes: list[int] = []
    import_old(theirs.path, log, told=lambda done: sizes.append(done.read))
    assert len(sizes) >= 2
    assert sizes[-1] == 12


ODD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"payload_json": "not json"}, {"payload": '"not json"'}),
    ({"payload_json": ""}, {"payload": '""'}),
    ({"payload_json": "[NaN]"}, {"payload": '"[NaN]"'}),
    ({"payload_json": "[" * 100_000}, {"payload": json.dumps("[" * 100_000)}),
    ({"payload_json": b"\xff{}"}, {"payload": json.dumps("\\xff{}")}),
    ({"payload_json": 7}, {"payload": "7"}),
    ({"run_id": -1}, {"fields": {"old_run_id": -1}}),
    ({"run_id": 0}, {"fields": {"old_run_id": 0}}),
    ({"run_id": "seven"}, {"fields": {"old_run_id": "seven"}}),
    ({"head_sha": b"\xff"}, {"fields": {"old_head_sha": "ff"}}),
    ({"msg_body": ""}, {"fields": {"msg_body": ""}}),
    ({"event_id": None}, {}),
    ({"event_type": "undeclared_type"}, {}),
    ({"msg_body": "\x1b[31m\u202e\x00"}, {"fields": {"msg_body": "\x1b[31m\u202e\x00"}}),
]


@pytest.mark.parametrize(("columns", "kept"), ODD, ids=[f"{n}-{next(iter(one))}" for n, (one, _) in enumerate(ODD)])
def test_what_0_2_took_without_a_look_is_kept_safely(
    log: Log, theirs: OldLog, columns: dict[str, Any], kept: dict[str, Any]
) -> None:
    theirs.add(**columns)
    assert import_old(theirs.path, log) == Imported(1, 1, 0)
    (row,) = rows(log)
    assert json.loads(row.fields) == kept.get("fields", {})
    payload = log.payload(1)
    assert payload == kept.get("payload", "{}")
    json.loads(payload or "")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"owner": ""}, "owner is empty"),
        ({"source": "GitHub"}, "source 'GitHub' is not a name"),
        ({"received_at": 1_700_000_000}, "received_at 1700000000 is not a time in ns"),
        ({"received_at": "soon"}, "received_at 'soon' is not a time in ns"),
        ({"status": "x" * 100}, "status has 100 characters"),
        ({"msg_body": "x" * 300_000}, "fields has"),
    ],
)
def test_what_can_be_no_event_is_named_and_the_others_come_over(
    log: Log, theirs: OldLog, columns: dict[str, Any], reason: str
) -> None:
    theirs.add()
    theirs.add(**columns)
    theirs.add()
    done = import_old(theirs.path, log)
    assert (done.read, done.inserted, done.known) == (3, 2, 0)
    ((seq, said),) = done.refused
    assert seq == 2
    assert said.startswith(reason)


def test_the_oldest_shape_has_no_seq_and_no_messages(log: Log, home: Path) -> None:
    schema = SCHEMA.replace("seq INTEGER PRIMARY KEY AUTOINCREMENT, ", "")
    for name in [name for name in TEXT_FIELDS if name.startswith("msg_")]:
        schema = schema.replace(f"{name} TEXT,", "")
    made = OldLog(home / "github.db", schema)
    ids = [made.add(), made.add()]
    assert import_old(made.path, log) == Imported(2, 2, 0)
    assert [log.alias(one) for one in ids] == [1, 2]
    made.db.close()


def test_a_file_that_is_no_log_of_0_2_is_refused_with_what_it_lacks(log: Log, home: Path) -> None:
    with pytest.raises(LogUnavailable, match="cannot be opened"):
        import_old(home / "none.db", log)
    assert not (home / "none.db").exists()
    empty = sqlite3.connect(home / "empty.db")
    empty.execute("CREATE TABLE x(a)")
    empty.close()
    with pytest.raises(InvalidValue, match=r"is no log of waitbus 0\.2: it lacks a table of events") as caught:
        import_old(home / "empty.db", log)
    assert "github.db" in caught.value.hint
    log.append(event())
    with pytest.raises(InvalidValue, match="is a log of this waitbus already"):
        import_old(log.path, log)
    part = OldLog(home / "part.db", "CREATE TABLE events(seq INTEGER PRIMARY KEY, delivery_id TEXT)")
    part.db.close()
    with pytest.raises(InvalidValue, match="it lacks the column source"):
        import_old(home / "part.db", log)


def test_what_the_real_program_wrote_comes_over(log: Log, home: Path, old_venv: Path) -> None:
    folders = {f"WAITBUS_{name}_DIR": str(home / "old" / name.lower()) for name in ("STATE", "RUNTIME", "CONFIG")}
    program = str(old_venv / "bin" / "waitbus")
    assert run([program, "init"], env=folders, timeout=60).code == 0
    ids = []
    for number in range(3):
        done = run(
            [program, "emit", "--delivery-id", f"old {number}", "--source", "agent", "--event-type", "agent_message",
             "--owner", "local", "--repo", "agents", "--received-at", "2026-01-02T03:04:05Z",
             "--payload-json", json.dumps({"n": number, "text": "é"}), "--ingest-method", "api"],
            env=folders, timeout=60,
        )  # fmt: skip
        assert done.code == 0, done
        ids.append(json.loads(done.out)["event"]["event_id"])
    path = home / "old" / "state" / "github.db"
    assert import_old(path, log) == Imported(3, 3, 0)
    assert [row.delivery_id for row in rows(log)] == ["old 0", "old 1", "old 2"]
    assert [log.alias(one) for one in ids] == [1, 2, 3]
    assert [json.loads(log.payload(seq) or "") for seq in (1, 2, 3)] == [{"n": n, "text": "é"} for n in range(3)]
    assert {row.received_at for row in rows(log)} == {1767323045 * 10**9}
    assert import_old(path, log) == Imported(3, 0, 3)
