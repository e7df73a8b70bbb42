"""Read-only SQL: what SQL can ask is answered, what would change anything is refused, by SQLite and not by the look of it."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.logs import event, look, names
from waitbus.errors import LogCorrupt, LogUnavailable, LogVersionError, QueryRefused
from waitbus.events import INT_FIELDS, TEXT_FIELDS, parse_event_id
from waitbus.paths import log_path
from waitbus.store import Log, query


@pytest.fixture(autouse=True)
def log(home: Path) -> Any:
    with Log() as log:
        log.append(
            event("a", conclusion="failure", run_id=7, head_sha="abc", fields={"own": [1, 2]}, payload_json='{"x":1}')
        )
        log.append(event("b", conclusion="success"))
        log.append(event("c"))
        yield log


def ask(sql: str, limit: int | None = 1000, **kwargs: Any) -> list[tuple[Any, ...]]:
    return query.query(log_path(), sql, limit, **kwargs)[1]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select 'a--b'", [("a--b",)]),
        ("SELECT seq FROM events ORDER BY seq LIMIT 1,2", [(2,), (3,)]),
        ("VALUES (1, 'x'), (2, 'y')", [(1, "x"), (2, "y")]),
        ("WITH bad AS (SELECT * FROM events WHERE conclusion = 'failure') SELECT delivery_id FROM bad", [("a",)]),
        (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT x FROM n",
            [(1,), (2,), (3,)],
        ),
        ("SELECT 1; -- and a remark", [(1,)]),
        ("-- a remark first\nSELECT 1", [(1,)]),
        ("/* DELETE FROM events */ SELECT 1 ;", [(1,)]),
        ("SELECT 'attach; pragma; insert' AS x", [("attach; pragma; insert",)]),
        ("SELECT count(*) FROM events WHERE source = 'nobody'", [(0,)]),
        ("SELECT delivery_id FROM events WHERE 0", []),
        ("SELECT run_id, head_sha, msg_to FROM events WHERE delivery_id = 'a'", [(7, "abc", None)]),
        ("SELECT json_extract(fields, '$.own[1]') FROM events WHERE seq = 1", [(2,)]),
        ("SELECT value FROM events, json_each(events.fields, '$.own') WHERE seq = 1", [(1,), (2,)]),
        ("SELECT payload_json FROM events ORDER BY seq", [('{"x":1}',), ("{}",), ("{}",)]),
        ("SELECT name FROM pragma_table_info('events') WHERE cid < 2", [("seq",), ("event_id",)]),
        ("SELECT x'ff00'", [(b"\xff\x00",)]),
        ("SELECT CAST(x'ff41' AS TEXT)", [("\\xffA",)]),
        ("SELECT main.events.payload FROM main.events WHERE seq = 2", [("{}",)]),
    ],
)
def test_whatever_reads_is_answered(sql: str, rows: list[tuple[Any, ...]]) -> None:
    assert ask(sql) == rows


def test_the_columns_are_those_of_0_2_and_every_well_known_field() -> None:
    columns, rows, truncated = query.query(log_path(), "SELECT * FROM events")
    assert columns == query.COLUMNS
    assert columns[:5] == ("seq", "event_id", "delivery_id", "source", "event_type")
    assert set(INT_FIELDS | TEXT_FIELDS) <= set(columns)
    assert (len(rows), truncated) == (3, False)


def test_the_event_id_is_the_one_that_everybody_else_sees(log: Log) -> None:
    (text,) = ask("SELECT event_id FROM events ORDER BY seq DESC LIMIT 1")[0]
    assert text == log.cursor()
    assert parse_event_id(text).seq == 3
    assert ask(f"SELECT delivery_id FROM events WHERE event_id = '{text}'") == [("c",)]


def test_explain_shows_the_plan() -> None:
    (row,) = ask("EXPLAIN QUERY PLAN SELECT * FROM events WHERE seq > 2")
    assert "USING INTEGER PRIMARY KEY" in row[-1]
    (row,) = ask("EXPLAIN QUERY PLAN SELECT * FROM events WHERE delivery_id = 'a'")
    assert "USING INDEX" in row[-1], "a natural key is found by its index, through the view"


def test_the_limit_says_when_there_is_more() -> None:
    for limit, expected in ((1, (1, True)), (2, (2, True)), (3, (3, False)), (4, (3, False)), (None, (3, False))):
        _, rows, truncated = query.query(log_path(), "SELECT seq FROM events ORDER BY seq", limit)
        assert (len(rows), truncated) == expected


REFUSED = [
    ("INSERT INTO main.events(seq) VALUES (9)", "INSERT events is refused"),
    ("INSERT INTO events(seq) VALUES (9)", "INSERT events is refused"),
    ("REPLACE INTO main.meta VALUES ('tag', 1)", "INSERT meta is refused"),
    ("UPDATE main.events SET source = 'x'", "UPDATE events is refused"),
    ("DELETE FROM main.events", "DELETE events is refused"),
    ("WITH x AS (SELECT 1) DELETE FROM main.events", "DELETE events is refused"),
    ("EXPLAIN DELETE FROM main.events", "DELETE events is refused"),
    ("DROP TABLE main.events", "a change of the schema is refused"),
    ("DROP VIEW events", "a change of the schema is refused"),
    ("CREATE TABLE x(a)", "a change of the schema is refused"),
    ("CREATE TEMP TABLE x AS SELECT 1", "a change of the schema is refused"),
    ("ATTACH '{home}/new.db' AS x", "ATTACH {home}/new.db is refused"),
    ("DETACH main", "DETACH main is refused"),
    ("VACUUM", "VACUUM is refused"),
    ("VACUUM INTO '{home}/new.db'", "ATTACH {home}/new.db is refused"),
    ("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode is refused"),
    ("PRAGMA user_version = 7", "PRAGMA user_version is refused"),
    ("PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint is refused"),
    ("PRAGMA writable_schema = 1", "PRAGMA writable_schema is refused"),
    ("BEGIN IMMEDIATE", "BEGIN is refused"),
    ("SAVEPOINT x", "SAVEPOINT BEGIN is refused"),
    ("REINDEX", "REINDEX"),
    ("ANALYZE", "is refused"),
    ("SELECT load_extension('x')", "the function load_extension is refused"),
    ("SELECT fts3_tokenizer('x')", "the function fts3_tokenizer is refused"),
    ("SELECT writefile('{home}/new.db', 'x')", "SQLite says: no such function: writefile"),
    ("SELECT 1; SELECT 2", "one statement at a time"),
    ("SELECT 1; DELETE FROM main.events", "one statement at a time"),
    ("", "there is no statement that answers rows"),
    ("   ;  ", "there is no statement that answers rows"),
    ("-- nothing", "there is no statement that answers rows"),
    ("SELEC 1", 'SQLite says: near "SELEC": syntax error'),
    ("SELECT ?", "the statement has a ? or a :name"),
    ("SELECT :name", "the statement has a ? or a :name"),
    ("SELECT '\0'", "SQLite says"),
    ("SELECT '\udcff'", "the statement is not UTF-8"),
    ("SELECT * FROM nowhere", "SQLite says: no such table: nowhere"),
    ("SELECT length(zeroblob(400000000))", "SQLite says: string or blob too big"),
    ("SELECT abs(-9223372036854775808)", "SQLite says: integer overflow"),
    ("SELECT json_extract('{', '$.x')", "SQLite says: malformed JSON"),
]


@pytest.mark.parametrize(("sql", "message"), REFUSED, ids=[ascii(sql)[:40] for sql, _ in REFUSED])
def test_whatever_does_not_read_is_refused_by_name_and_changes_nothing(home: Path, sql: str, message: str) -> None:
    before = names(log_path()), sorted(path.name for path in home.rglob("*"))
    with pytest.raises(QueryRefused) as caught:
        ask(sql.replace("{home}", str(home)))
    assert message.replace("{home}", str(home)) in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert (names(log_path()), sorted(path.name for path in home.rglob("*"))) == before


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT concluson FROM events", "did you mean conclusion?"),
        ("SELECT e.payload FROM events e", "did you mean payload_json?"),
        ("SELECT zzzzz FROM events", "the columns of events are seq, event_id"),
    ],
)
def test_a_misspelt_column_is_answered_with_the_right_one(sql: str, hint: str) -> None:
    with pytest.raises(QueryRefused, match="no such column") as caught:
        ask(sql)
    assert caught.value.hint.startswith(hint)


def test_ctrl_c_in_a_long_statement_is_ctrl_c() -> None:
    """And no statement that took too long: SQLite's module keeps what is raised while it asks for the time to itself."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n", time_limit=20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_statement_that_runs_for_ever_is_ended() -> None:
    with pytest.raises(QueryRefused, match=r"the statement ran for more than 0\.05 s"):
        ask("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n", time_limit=0.05)


def test_a_statement_that_runs_for_ever_between_rows_is_ended_too() -> None:
    with pytest.raises(QueryRefused, match="ran for more than"):
        ask("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n", None, time_limit=0.05)


def test_a_question_does_not_hold_the_log(log: Log) -> None:
    """It is over when it is answered, and writes nothing, so a producer and a checkpoint go on."""
    ask("SELECT seq FROM events", 1)
    assert log.append(event()).inserted
    with look(log_path()) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0] == 0


def test_a_log_that_is_not_there_is_not_made(home: Path) -> None:
    with pytest.raises(LogUnavailable, match=f"there is no log at {home / 'none.db'}"):
        query.query(home / "none.db", "SELECT 1")
    assert not (home / "none.db").exists()
    with pytest.raises(LogUnavailable):
        query.query(home, "SELECT 1")


def test_a_file_that_is_no_log_is_left_alone(home: Path) -> None:
    (home / "text.db").write_text("hello\n" * 1000)
    with pytest.raises(LogCorrupt, match="is not a log"):
        query.query(home / "text.db", "SELECT 1")
    with look(home / "theirs.db") as db:
        db.execute("CREATE TABLE x(a)")
    with pytest.raises(LogCorrupt, match="but no waitbus log"):
        query.query(home / "theirs.db", "SELECT 1")
    assert [*home.glob("*corrupt*")] == []


def test_a_log_that_asks_for_a_newer_reader_is_refused(log: Log) -> None:
    with look(log_path()) as db:
        db.execute("UPDATE meta SET value = 2 WHERE key = 'min_reader'")
    with pytest.raises(LogVersionError):
        ask("SELECT 1")


def test_a_name_with_every_special_letter_is_reached(log: Log, home: Path) -> None:
    odd = home / "a b?c#d%41é"
    log.close()
    shutil.copytree(log_path().parent, odd)
    assert query.query(odd / "events.db", "SELECT count(*) FROM events")[1] == [(3,)]
    with Log(odd / "events.db") as other:
        assert other.append(event("d")).seq == 4
