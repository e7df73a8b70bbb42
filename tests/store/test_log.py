"""The log: rows in the order of commit, one for each natural key, read in pages, by versions that may."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.logs import event, look, names, rows
from tests.support import eventually
from waitbus.errors import LogBusy, LogCorrupt, LogError, LogVersionError, SQLiteTooOld
from waitbus.events import Row, parse_event_id
from waitbus.paths import log_path
from waitbus.store import Log, schema, shared
from waitbus.store.rows import PAGE_BYTES, ROW_BYTES

# -- order and identity ------------------------------------------------------------------------------------------------


def test_an_empty_log_has_a_cursor_too(log: Log) -> None:
    """Whoever takes it before the first event misses none."""
    place = parse_event_id(log.cursor())
    assert (place.tag, place.seq) == (log.tag, 0)
    assert log.facts()[1:] == (0, 0, 0, 0)
    assert log.head() == 0
    assert log.page(0) == ([], False)


def test_an_append_says_where_the_event_stands(log: Log) -> None:
    before = time.time_ns() // 1_000_000
    placed = log.append(event("a"))
    assert placed.inserted
    assert placed.seq == log.head() == 1
    place = parse_event_id(log.cursor())
    assert before <= place.at_ms <= time.time_ns() // 1_000_000
    assert (place.tag, place.seq) == (placed.tag, placed.seq)


def test_a_known_delivery_id_is_not_written_and_answers_the_first_one(log: Log) -> None:
    first = log.append(event("a", summary="first"))
    log.append(event("b"))
    again = log.append(event("a", summary="second"))
    assert again == (False, first.seq, first.tag)
    assert [row.summary for row in rows(log)] == ["first", log.by_delivery_id("b").summary]  # type: ignore[union-attr]


def test_a_duplicate_burns_no_seq(log: Log) -> None:
    """Above the prune mark seqs have no holes."""
    for name in ("x", "x", "x", "y"):
        log.append(event(name))
    assert [row.seq for row in rows(log)] == [1, 2]


def test_ids_increase_though_the_clock_steps_back(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """F14: an hour back, as at the end of summer time on a machine that keeps local time."""
    now = time.time_ns()
    clock = iter([now, now - 3_600_000_000_000, now - 3_599_000_000_000, now + 1_000_000_000])
    events = [event() for _ in range(4)]
    log.head()
    monkeypatch.setattr("waitbus.store.log.time.time_ns", lambda: next(clock))
    for one in events:
        log.append(one)
    assert [one.at_ms * 10**6 // 10**9 - now // 10**9 for one in rows(log)] == [0, 0, 0, 1]
    ids = [log.event_id(one.seq, one.at_ms) for one in rows(log)]
    assert ids == sorted(set(ids))


def test_a_batch_is_one_transaction(log: Log) -> None:
    """All or none: an error in the middle of the iterable leaves nothing."""

    def broken() -> Any:
        yield event("a")
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        log.append_many(broken())
    assert log.head() == 0
    placed = log.append_many([event("a"), event("b"), event("a")])
    assert [(one.inserted, one.seq) for one in placed] == [(True, 1), (True, 2), (False, 1)]


def test_an_error_inside_of_a_transaction_rolls_it_back(log: Log) -> None:
    def work(db: sqlite3.Connection) -> None:
        db.execute("UPDATE meta SET value = 99 WHERE key = 'pruned_to'")
        raise ValueError

    with pytest.raises(ValueError):
        log.write(work)
    assert log.facts().pruned_to == 0
    assert log.append(event()).inserted


# -- reading -----------------------------------------------------------------------------------------------------------


def test_pages_follow_one_another_without_a_hole(log: Log) -> None:
    log.append_many(event(str(number)) for number in range(1000))
    seen: list[Row] = []
    while True:
        page = log.page(seen[-1].seq if seen else 0, limit=7)
        assert len(page.rows) <= 7
        seen += page.rows
        if not page.more:
            break
    assert [row.seq for row in seen] == list(range(1, 1001))
    assert [row.delivery_id for row in seen] == [str(number) for number in range(1000)]


def test_a_page_ends_at_its_bytes_and_moves_on_all_the_same(log: Log) -> None:
    """The bound is passed by one row at most, and a row larger than the bound is a page of its own."""
    big = "x" * (PAGE_BYTES // 3)
    log.append_many(event(fields={"text": big}) for _ in range(10))
    after, pages = 0, 0
    while True:
        page = log.page(after)
        weight = sum(len(row.fields) + ROW_BYTES for row in page.rows[:-1])
        assert weight < PAGE_BYTES
        pages += 1
        after = page.rows[-1].seq
        if not page.more:
            break
    assert after == 10
    assert pages >= 4


def test_a_row_is_found_by_seq_and_by_its_natural_key(log: Log) -> None:
    placed = log.append(event("a", payload_json='{"x": 1}'))
    row = log.row(placed.seq)
    assert row is not None
    assert row == log.by_delivery_id("a")
    assert row.seq == placed.seq
    assert log.payload(placed.seq) == '{"x": 1}'
    assert (log.row(99), log.by_delivery_id("b"), log.payload(99)) == (None, None, None)


def test_data_version_tells_of_others_commits_only(log: Log) -> None:
    before = log.data_version()
    log.append(event())
    assert log.data_version() == before
    with Log() as other:
        other.append(event())
    assert log.data_version() != before


def test_a_place_in_time_is_found_by_bisection(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0]
    monkeypatch.setattr("waitbus.store.log.time.time_ns", lambda: clock[0] * 1_000_000)
    for at_ms in (100, 200, 200, 300):
        clock[0] = at_ms
        log.append(event(received_at=10**18))
    assert [log.seq_before(at) for at in (0, 100, 101, 200, 201, 300, 301, 10**13)] == [0, 0, 1, 1, 3, 3, 4, 4]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=60), st.integers(0, 1000))
def test_bisection_finds_what_a_scan_finds_whatever_holes_there_are(steps: list[tuple[int, bool]], at_ms: int) -> None:
    """Rows kept in the middle of pruned ones leave holes of any shape. What was pruned from the moment on lies behind the place;
    where all that was pruned is older, nothing that was does."""
    from waitbus.store.rows import seq_before

    table: list[tuple[int, int]] = []
    pruned, clock = [(0, 0)], 0
    for seq, (step, kept) in enumerate(steps, 1):
        clock += step
        (table if kept or seq == len(steps) else pruned).append((seq, clock))
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(schema.TABLES)
        db.executemany("INSERT INTO meta VALUES (?, ?)", zip(("pruned_to", "pruned_at_ms"), pruned[-1], strict=True))
        db.executemany("INSERT INTO events VALUES (?, ?, hex(randomblob(8)),'','','','','','',0,'','','','')", table)
        found = seq_before(db, at_ms)
    finally:
        db.close()
    before = [seq for seq, at in table if at < at_ms]
    # Any position between the last row before and the first one at or behind it gives the same rows.
    behind = [seq for seq, at in table if at >= at_ms]
    assert max(before, default=0) <= found < min(behind, default=found + 1)
    if all(at < at_ms for _, at in pruned):
        assert found == min(behind, default=table[-1][0] + 1) - 1
    else:
        assert found == max(before, default=0)


# -- one connection for a process --------------------------------------------------------------------------------------


def test_one_log_is_shared_by_whoever_asks_for_the_path(home: Path) -> None:
    assert shared() is shared(log_path())
    assert shared(home / "x.db") is not shared()


def test_many_paths_do_not_hold_many_files_open(home: Path) -> None:
    logs = [shared(home / f"{number}.db") for number in range(20)]
    for log in logs:
        log.append(event())
    assert sum(log._db is not None for log in logs) == 20, "each was used after others had been closed"
    shared(home / "20.db")
    for number in range(21, 30):
        shared(home / f"{number}.db")
    assert sum(log._db is not None for log in logs) == 12, "those asked for the longest time ago were closed"
    for log in logs:
        log.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "NORMAL"),
        ('synchronous = "FULL"', "FULL"),
        ('synchronous = "normal"', "NORMAL"),
        ("synchronous = ", "FULL"),
        ("heartbeat_sec = 5", "NORMAL"),
    ],
)
def test_commits_are_as_durable_as_the_configuration_says(home: Path, text: str | None, expected: str) -> None:
    """A file that cannot be read gives the more durable one: nobody gets less than was asked for."""
    if text is not None:
        (home / "c").mkdir()
        (home / "c/config.toml").write_text(text)
    log = shared(home / "other.db")
    found = log.use(lambda db: db.execute("PRAGMA synchronous").fetchall()[0][0])
    log.close()
    assert found == {"NORMAL": 1, "FULL": 2}[expected]


def test_threads_wait_for_one_another_only_so_long(log: Log) -> None:
    """A thread that holds the connection is another program as far as time-outs go."""
    impatient = Log(busy_timeout=0.05)
    entered, leave = threading.Event(), threading.Event()

    def hold(db: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(10)

    thread = threading.Thread(target=lambda: impatient.use(hold))
    thread.start()
    try:
        assert entered.wait(10)
        with pytest.raises(LogBusy, match="another thread is still busy with the log"):
            impatient.head()
    finally:
        leave.set()
        thread.join()
        impatient.close()


def test_a_log_that_is_dropped_leaves_nothing_open(home: Path) -> None:
    log = Log()
    log.append(event())
    del log
    gc.collect()
    with look(log_path()) as db:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")


@pytest.mark.parametrize("make", ["text", "database", "newer"])
def test_what_cannot_be_opened_is_not_kept_open(home: Path, make: str) -> None:
    """Though whoever caught the error has it, and so the frames, still in hand."""
    path = home / "file"
    if make == "text":
        path.write_text("no log " * 200)
    elif make == "database":
        alter(path, "CREATE TABLE t(x)")
    else:
        Log(path).append(event())
        alter(path, "UPDATE meta SET value = 9 WHERE key = 'min_reader'")
    with pytest.raises(LogError) as caught:
        Log(path).append(event())
    assert caught.value.__traceback__ is not None
    open_files = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert os.path.realpath(path) not in open_files


# -- versions (F18) ----------------------------------------------------------------------------------------------------


def test_the_log_says_from_its_first_start_what_it_is(log: Log) -> None:
    log.append(event())
    with look(log.path) as db:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        assert meta.pop("tag") == log.tag
        assert meta == {"format": 1, "min_reader": 1, "min_writer": 1, "pruned_to": 0, "payload_pruned_to": 0}
        assert db.execute("SELECT number, name FROM schema_migrations").fetchall() == [(1, "initial")]
        assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert "STRICT" not in db.execute("SELECT group_concat(sql) FROM sqlite_master").fetchall()[0][0].upper()


def alter(path: Path, *statements: str) -> None:
    with look(path) as db:
        for statement in statements:
            db.execute(statement)


def test_an_additive_newer_log_is_read_and_written(log: Log) -> None:
    """A column more, a table more, a higher format: older programs go on."""
    log.append(event("old"))
    alter(
        log.path,
        "ALTER TABLE events ADD COLUMN colour TEXT",
        "CREATE TABLE flags(a)",
        "INSERT INTO meta VALUES ('new_fact', 'text')",
        "UPDATE meta SET value = 7 WHERE key = 'format'",
    )
    assert log.append(event("same connection")).inserted
    log.close()
    assert log.append(event("new connection")).inserted
    alter(log.path, "INSERT INTO events SELECT 4, at_ms, 'theirs', source, event_type, owner, repo, status, conclusion,"
          " received_at, ingest_method, summary, fields, payload, 'red' FROM events WHERE seq = 1")  # fmt: skip
    assert [row.delivery_id for row in rows(log)] == ["old", "same connection", "new connection", "theirs"]


def test_a_log_that_asks_for_a_newer_reader_is_refused_with_both_versions(log: Log) -> None:
    log.append(event("a"))
    log.close()
    alter(
        log.path, "UPDATE meta SET value = 3 WHERE key = 'format'", "UPDATE meta SET value = 2 WHERE key LIKE 'min_%'"
    )
    for use in (log.head, lambda: log.append(event("b"))):
        with pytest.raises(LogVersionError) as caught:
            use()
        assert caught.value.message == (
            f"the log {log.path} has format 3; to read it a waitbus must know format 2, and this one knows format 1"
        )
        assert caught.value.hint == "upgrade this waitbus, or set WAITBUS_STATE_DIR to another directory"
        assert caught.value.exit_code == 74
    assert names(log.path) == ["a"]


def test_a_log_that_asks_for_a_newer_writer_is_still_read(log: Log) -> None:
    log.append(event("a"))
    log.close()
    alter(log.path, "UPDATE meta SET value = 2 WHERE key = 'min_writer'")
    assert [row.delivery_id for row in rows(log)] == ["a"]
    for use in (
        lambda: log.append(event("b")),
        lambda: log.append_many([event("b")]),
        lambda: log.write(lambda db: None),
    ):
        with pytest.raises(
            LogVersionError, match="to write it a waitbus must know format 2, and this one knows format 1"
        ):
            use()
    assert names(log.path) == ["a"]


@pytest.mark.parametrize(
    "made",
    ["CREATE TABLE meta(key, value)", "CREATE TABLE events(seq)", "CREATE TABLE meta(a); INSERT INTO meta VALUES (1)"],
)
def test_a_database_of_somebody_else_is_refused_and_left_alone(home: Path, made: str) -> None:
    path = home / "theirs.db"
    with look(path) as db:
        db.executescript(made)
    content = path.read_bytes()
    with Log(path) as log, pytest.raises(LogCorrupt, match=f"{path} is a database, but no waitbus log") as caught:
        log.append(event())
    assert caught.value.hint == "move it away, and a new log is begun"
    assert path.read_bytes() == content


def test_an_old_library_is_refused_with_a_sentence(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr("sqlite3.sqlite_version", "3.34.1")
    with pytest.raises(SQLiteTooOld) as caught:
        log.head()
    assert caught.value.message == "this Python has SQLite 3.34.1; waitbus needs 3.35 or newer"
    assert caught.value.exit_code == 69


# -- being replaced ----------------------------------------------------------------------------------------------------


def test_a_log_that_was_removed_is_begun_anew(log: Log) -> None:
    """The next append is in the file that stands there, not in the one that is gone."""
    log.append(event("a"))
    tag = log.tag
    log.path.unlink()
    placed = log.append(event("b"))
    assert placed.seq == 1
    assert placed.tag == log.tag != tag
    assert names(log.path) == ["b"]


def test_a_log_that_was_moved_away_keeps_what_it_had(log: Log, home: Path) -> None:
    log.append(event("a"))
    for suffix in ("", "-wal", "-shm"):
        Path(f"{log.path}{suffix}").rename(home / f"kept.db{suffix}")
    log.append(event("b"))
    assert names(log.path) == ["b"]
    assert names(home / "kept.db")[:1] == ["a"]


@pytest.mark.parametrize("long_lived", [True, False])
def test_a_log_that_was_replaced_is_not_joined_to_the_wal_of_its_predecessor(
    log: Log, home: Path, long_lived: bool
) -> None:
    """As when a backup is restored by `mv` alone: SQLite would play the WAL that stayed behind into it, and ruin it."""
    log.append_many(event(f"old {number}") for number in range(100))
    with Log(home / "backup.db") as backup:
        backup.append_many(event(f"new {number}") for number in range(5))
        tag = backup.tag
    (home / "backup.db").rename(log.path)
    using = log if long_lived else Log(log.path)
    placed = using.append(event("b"))
    assert (placed.inserted, placed.seq, placed.tag) == (True, 6, tag)
    assert [row.delivery_id for row in rows(using)] == [*(f"new {number}" for number in range(5)), "b"]
    using.close()
    log.close()
    with look(log.path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [*log.path.parent.glob("events.db.orphan-*-wal")], "what was in it is kept"


def test_a_folder_that_was_copied_keeps_its_wal(log: Log, home: Path) -> None:
    """Rows that stand in the WAL only are the log's own there."""
    log.append_many(event(str(number)) for number in range(10))
    copy = home / "copy"
    copy.mkdir()
    for file in log.path.parent.iterdir():
        if file.is_file() and not file.name.endswith("-shm"):
            (copy / file.name).write_bytes(file.read_bytes())
    with Log(copy / "events.db") as other:
        assert [row.delivery_id for row in rows(other)] == [str(number) for number in range(10)]
        assert other.append(event("more")).seq == 11
    assert not [*copy.glob("*orphan*")]


def test_an_idle_reader_notices_too(log: Log) -> None:
    log.append(event("a"))
    with Log() as reader:
        assert reader.head() == 1
        log.path.unlink()
        eventually(lambda: reader.head() == 0)
        assert reader.facts().tag != 0
        assert reader.identity == (log.path.stat().st_dev, log.path.stat().st_ino)


# -- what a row costs --------------------------------------------------------------------------------------------------


def test_a_row_writes_two_pages(log: Log) -> None:
    """The leaf of the table and the one of `delivery_id`: there is no other index, and ids and times are derived."""
    log.append(event("a"))
    wal, frame = Path(f"{log.path}-wal"), schema.PAGE_SIZE + 24
    before = wal.stat().st_size
    log.append(event("b"))
    assert wal.stat().st_size - before == 2 * frame
    with look(log.path) as db:
        assert [row[3] for row in db.execute("PRAGMA index_list(events)")] == ["u"]
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'").fetchone() == (0,)


def test_no_connection_maps_the_file(log: Log) -> None:
    """A mapped file that somebody cuts short is the end of the process, and not an error."""
    assert log.use(lambda db: db.execute("PRAGMA mmap_size").fetchall()) in ([], [(0,)])
