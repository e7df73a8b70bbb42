"""`waitbus events query`: questions in SQL, answers as JSON or text, and a log that stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import schemas, support
from waitbus.events import EventInsert
from waitbus.producer import emit
from waitbus.store import shared

Call = Callable[..., support.Result]


@pytest.fixture(autouse=True)
def log(home: Path) -> list[str]:
    """Three events; their ids."""
    given: tuple[dict[str, Any], ...] = ({"conclusion": "success"}, {"conclusion": "failure", "head_sha": "abc"}, {})
    return [emit(EventInsert(source="agent", event_type="a", **more)).event.event_id for more in given]


def rows(done: support.Result) -> Any:
    assert done.code == 0, done
    return schemas.conform("events-query", json.loads(done.out))


def test_rows_are_a_json_array_of_objects(call: Call, log: list[str]) -> None:
    assert rows(call("events", "query", "select event_id, conclusion, head_sha from events order by seq")) == [
        {"event_id": log[0], "conclusion": "success", "head_sha": None},
        {"event_id": log[1], "conclusion": "failure", "head_sha": "abc"},
        {"event_id": log[2], "conclusion": None, "head_sha": None},
    ]
    assert rows(call("events", "query", "--json", "select 1 where 0")) == []


def test_text_is_one_value_a_line_and_an_empty_one_between_rows(call: Call) -> None:
    done = call("events", "query", "--text", "select seq, conclusion as c from events where seq != 2")
    assert (done.code, done.out, done.err) == (0, "seq: 1\nc: success\n\nseq: 3\nc: null\n", "")


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("select 'a--b' as x", {"x": "a--b"}),
        ("-- why\nselect 1 as x", {"x": 1}),
        ("--why\nselect 1 as x", {"x": 1}),
        ("/* why */ select 1 as x;", {"x": 1}),
        ("select seq as x from events limit 1, 2", {"x": 2}),
        ("values (1)", {"column1": 1}),
        ("with t(x) as (values (5)) select x from t", {"x": 5}),
        ("select 1 as a, 2 as a, 3 as a_2", {"a": 1, "a_2": 2, "a_2_2": 3}),
        ("select x'00ff' as x", {"x": "00ff"}),
        ("select 9e999 as x, -9e999 as y", {"x": "inf", "y": "-inf"}),
        ("select 'PRAGMA' as x", {"x": "PRAGMA"}),
        ("select char(27) || '[2J' as x", {"x": "\x1b[2J"}),
    ],
)
def test_sql_is_left_to_sqlite(call: Call, sql: str, first: dict[str, Any]) -> None:
    """What 0.2 misread: comments, quotes, LIMIT with an offset, VALUES, bytes."""
    assert rows(call("events", "query", sql))[0] == first


def test_explain_is_a_question_too(call: Call) -> None:
    assert rows(call("events", "query", "explain query plan select * from events where seq = 1"))


def test_rows_are_limited_and_the_rest_is_told(call: Call) -> None:
    done = call("events", "query", "select seq from events", "-n", "2")
    assert len(rows(done)) == 2
    assert done.err == "warning: there are more than 2 rows; -n N or --no-limit shows more\n"
    assert call("events", "query", "select seq from events", "--limit", "3").err == ""
    many = "with recursive n(i) as (values (1) union all select i + 1 from n where i < 1500) select i from n"
    assert len(rows(call("events", "query", many))) == 1000
    assert len(rows(call("events", "query", many, "--no-limit"))) == 1500


def test_hostile_values_are_neutral_as_text(call: Call) -> None:
    done = call("events", "query", "--text", 'select char(27) || char(10) as "a\x1b"')
    assert done.out == "a\\x1b: \\x1b\\n\n"


def test_a_statement_comes_from_stdin(cli: Call) -> None:
    assert rows(cli("events", "query", "-", input="select 1 as x\n")) == [{"x": 1}]
    assert cli("events", "query", "-").code == 2


def test_another_log(call: Call, home: Path) -> None:
    emit(EventInsert(source="x", event_type="y"), db_path=home / "other.db")
    assert rows(call("events", "query", "select source from events", "--db", str(home / "other.db"))) == [
        {"source": "x"}
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "delete from events",
        "insert into events(seq) values (9)",
        "update events set source = 'x'",
        "drop table events",
        "create table t(x)",
        "create temp table t(x)",
        "attach '/tmp/x' as x",
        "pragma journal_mode=delete",
        "pragma user_version=5",
        "vacuum",
        "vacuum into '/tmp/x'",
        "begin",
        "select 1; delete from events",
        "select load_extension('x')",
        "with t as (select 1) delete from events",
        "selec",
        "",
        ";",
        "-- nothing",
    ],
)
def test_whatever_is_no_question_is_refused(call: Call, sql: str) -> None:
    before = shared().facts()
    done = call("events", "query", sql)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")
    assert shared().facts() == before


WORDS = "write waitbus events query [OPTIONS] SQL; quote what has blanks in it"
NO_LOG = "the first event makes it; `waitbus status` names the one in use"
HELP = "see `waitbus events query --help`"
BAD: list[tuple[list[str], str, str]] = [
    ([], "missing argument SQL", HELP),
    (["select 1", "select 2"], "'select 2' is one word too many", WORDS),
    (["select 1", "-n", "0"], "--limit '0' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["select 1", "-n", "-1"], "--limit '-1' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["select 1", "--limit", "all"], "--limit 'all' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["select 1", "--limits", "5"], "no option '--limits'", f"did you mean '--limit'? {HELP}"),
    (["select 1", "--db", ""], "--db '' is not the name of a file", "give the file of a log, or leave it out"),
    (["select 1", "--db", "/nowhere/x"], "there is no log at /nowhere/x", NO_LOG),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "error", "hint"), BAD, ids=[repr(argv)[:60] for argv, _, _ in BAD])
def test_bad_input_is_two_lines(call: Call, argv: list[str], error: str, hint: str) -> None:
    done = call("events", "query", *argv)
    assert (done.out, done.err) == ("", f"error: {error}\nhint: {hint}\n")
    assert done.code in (2, 74)


def test_bytes_that_are_no_utf_8_are_no_bug(cli: Call) -> None:
    assert cli("events", "query", b"select '\xff' as x".decode("utf-8", "surrogateescape")).code in (0, 2)
