"""Retention: what leaves, in what order, and what never does."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.logs import event, is_sound, rows
from waitbus.config import RetentionTable
from waitbus.events import make_event_id
from waitbus.producer import emit
from waitbus.store import Log, retention
from waitbus.store import rows as rows_of
from waitbus.store.bookmarks import IN_USE, keep_from
from waitbus.store.retention import Pruner, Retention, live_bytes, prune_chunk, prune_now_and_then, strip_payloads

INSERT_ONE = """INSERT INTO events(at_ms, delivery_id, source, event_type, owner, repo, received_at, ingest_method, summary,
 fields) VALUES (1, 'never', 'a', 'b', '', '', 1, '', '', '{}')"""
NEVER = Retention(max_age=None, max_bytes=None)
DAY = 86400.0


def fill(log: Log, ages: list[float], **kwargs: Any) -> None:
    """Rows as old as `ages` (s), the oldest first."""
    now = time.time()
    made = [(event(f"{number}", **kwargs), int((now - age) * 1000), None) for number, age in enumerate(ages, 1)]
    log.write_events(made)


def prune(log: Log, keep: Retention) -> int:
    """All that `keep` lets go; how many chunks."""
    pruner, chunks = Pruner(log, keep), 0
    while pruner.step():
        chunks += 1
        assert chunks < 10_000
    return chunks


def seqs(log: Log) -> list[int]:
    return [row.seq for row in rows(log)]


def test_rows_leave_when_they_are_older_than_the_age(log: Log) -> None:
    fill(log, [40 * DAY] * 3 + [10 * DAY] * 3)
    prune(log, Retention(max_age=30 * DAY))
    assert seqs(log) == [4, 5, 6]
    assert log.facts().pruned_to == 3
    assert is_sound(log.path)


@pytest.mark.parametrize(
    "keep",
    [Retention(max_age=DAY), Retention(max_bytes=1), Retention(max_age=None, max_rows=0)],
    ids=["age", "size", "rows"],
)
def test_the_newest_row_never_leaves(log: Log, keep: Retention) -> None:
    """Seq goes on from it, so that no seq is ever given twice."""
    fill(log, [400 * DAY] * 10)
    prune(log, keep)
    assert seqs(log) == [10]
    assert log.append(event()).seq == 11


def test_an_empty_log_and_a_log_of_one_row_have_nothing_to_prune(log: Log) -> None:
    keep = Retention(max_age=0.001, max_bytes=1)
    assert prune_chunk(log, keep) == 0
    fill(log, [400 * DAY])
    assert prune_chunk(log, keep) == 0
    assert seqs(log) == [1]


def test_a_chunk_is_a_chunk(log: Log) -> None:
    fill(log, [40 * DAY] * 100)
    assert prune_chunk(log, Retention(), chunk=30) == 30
    assert log.facts()[1:3] == (31, 100)
    assert log.facts().pruned_to == 30


def test_by_size_the_oldest_leave_until_the_pages_in_use_fit(log: Log) -> None:
    """The file itself never shrinks: going by its size would delete everything."""
    fill(log, [0.0] * 500, payload_json='"' + "x" * 3000 + '"')
    before = log.use(live_bytes)
    cap = before // 2
    prune(log, Retention(max_age=None, max_bytes=cap))
    left = seqs(log)
    assert cap // 2 < log.use(live_bytes) <= cap
    assert left == list(range(left[0], 501))
    assert 100 < len(left) < 400
    assert prune(log, Retention(max_age=None, max_bytes=cap)) == 0


def test_rows_with_large_payloads_leave_one_by_one(log: Log) -> None:
    """A chunk of 500 rows of a megabyte would hold the write lock for seconds, and take far more than had to leave."""
    fill(log, [0.0] * 30, payload_json='"' + "x" * 1_000_000 + '"')
    prune(log, Retention(max_age=None, max_bytes=25_000_000))
    assert 22 <= len(seqs(log)) <= 25
    assert 1 <= prune_chunk(log, Retention(max_age=0.0), chunk=500) <= 3


def test_nothing_leaves_where_nothing_is_asked_for(log: Log) -> None:
    fill(log, [4000 * DAY] * 5)
    assert prune(log, NEVER) == 0
    assert seqs(log) == [1, 2, 3, 4, 5]


def test_imported_rows_stay_whatever_their_age_up_to_the_size(log: Log) -> None:
    """A history that somebody brought over is not gone the next morning."""
    now_ms = time.time_ns() // 1_000_000
    old = now_ms - int(400 * DAY * 1000)
    log.write_events([(event("native old"), old, None)])
    log.write_events([(event(f"imported {number}"), old, f"0000000000000000000000000{number}") for number in range(3)])
    log.write_events([(event("native too"), old, None), (event("new"), now_ms, None)])
    prune(log, Retention(max_age=30 * DAY))
    assert [row.delivery_id for row in rows(log)] == ["imported 0", "imported 1", "imported 2", "new"]
    assert log.alias("00000000000000000000000001") == 3
    assert log.facts().pruned_to == 5
    prune(log, Retention(max_age=30 * DAY, max_bytes=1))
    assert [row.delivery_id for row in rows(log)] == ["new"]
    assert log.alias("00000000000000000000000001") is None


def test_a_hole_in_seq_was_pruned_and_nothing_else_is_one(log: Log) -> None:
    """What readers go by: a row that is there is given, wherever the mark stands, and one that is missing is told."""
    old = time.time_ns() // 1_000_000 - int(400 * DAY * 1000)
    for number, imported in enumerate((False, True, True, False, True, False, True), 1):
        log.write_events([(event(f"{number}"), old, f"{number:026d}" if imported else None)])
    with pytest.raises(ZeroDivisionError):
        log.write(lambda db: (db.execute(INSERT_ONE), 1 / 0))
    assert not log.append(event("7")).inserted
    log.append(event("8"))
    prune(log, Retention(max_age=30 * DAY))
    facts = log.facts()
    assert (seqs(log), facts.first, facts.pruned_to) == ([2, 3, 5, 7, 8], 2, 6)
    assert [log.hole(after, facts) for after in range(9)] == [
        (1, 1), None, None, (4, 4), None, (6, 6), None, None, None
    ]  # fmt: skip
    assert [[row.seq for row in log.page(after).rows] for after in (0, 3, 5)] == [[2, 3], [5], [7, 8]]
    assert [log.page(after).more for after in (0, 3, 5)] == [True, True, False]
    assert [log.newest(seq) for seq in (1, 2, 4, 99)] == [0, 2, 3, 8]


def test_the_mark_is_the_last_row_that_was_deleted(log: Log) -> None:
    """Retention has looked at a history that was imported, and need not again; nobody is missing anything behind it."""
    old = time.time_ns() // 1_000_000 - int(400 * DAY * 1000)
    log.write_events([(event(f"{number}"), old, f"{number:026d}") for number in range(1, 501)])
    log.append(event())
    prune(log, Retention(max_age=30 * DAY))
    assert (len(rows(log)), log.facts().pruned_to) == (501, 0)
    looked: list[str] = []
    log.use(lambda db: db.set_trace_callback(looked.append))
    assert prune_chunk(log, Retention(max_age=30 * DAY)) == 0
    assert not [one for one in looked if "length(" in one], "it weighs no row a second time"
    log.use(lambda db: db.set_trace_callback(None))
    prune(log, Retention(max_age=None, max_bytes=None, max_rows=100))
    assert (len(rows(log)), log.facts().pruned_to) == (100, 401)
    assert [log.seq_before(at_ms) for at_ms in (0, old, old + 1)] == [0, 0, 500]


def test_a_cap_on_rows_is_kept(log: Log) -> None:
    fill(log, [0.0] * 50)
    prune(log, Retention(max_age=None, max_bytes=None, max_rows=20))
    assert seqs(log) == list(range(31, 51))


# -- payloads ----------------------------------------------------------------------------------------------------------


def test_payloads_may_leave_before_their_rows(log: Log) -> None:
    fill(log, [10 * DAY] * 3 + [0.0] * 3, payload_json='{"a": 1}')
    keep = Retention(payload_age=7 * DAY)
    assert strip_payloads(log, keep, chunk=2) > 0
    prune(log, keep)
    assert [log.payload(seq) for seq in range(1, 7)] == [None] * 3 + ['{"a": 1}'] * 3
    assert seqs(log) == [1, 2, 3, 4, 5, 6]
    assert strip_payloads(log, keep) == 0


def test_an_empty_payload_is_not_worth_a_write(log: Log) -> None:
    fill(log, [10 * DAY] * 3)
    strip_payloads(log, Retention(payload_age=7 * DAY))
    assert [log.payload(seq) for seq in (1, 2, 3)] == ["{}"] * 3


# -- bookmarks ---------------------------------------------------------------------------------------------------------


def bookmark(log: Log, name: str, text: str, age: float = 0.0) -> None:
    folder = log.path.parent / "cursors"
    folder.mkdir(exist_ok=True)
    path = folder / f"bookmark-{name}.txt"
    path.write_text(text + "\n")
    at = time.time() - age
    os.utime(path, (at, at))


def test_what_a_bookmark_has_not_passed_stays(log: Log) -> None:
    fill(log, [40 * DAY] * 10)
    bookmark(log, "slow", make_event_id(0, log.tag, 4))
    bookmark(log, "quick", make_event_id(0, log.tag, 8))
    assert keep_from(log) == 5
    prune(log, Retention.in_force(RetentionTable(), log))
    assert seqs(log) == [5, 6, 7, 8, 9, 10]
    assert log.facts().pruned_to == 4, "so that the reader who stands at 4 has no gap"


def test_a_bookmark_that_nobody_moves_keeps_nothing(log: Log) -> None:
    fill(log, [40 * DAY] * 10)
    bookmark(log, "forgotten", make_event_id(0, log.tag, 2), age=IN_USE + 60)
    assert keep_from(log) is None
    bookmark(log, "yesterday", make_event_id(0, log.tag, 6), age=IN_USE - 60)
    assert keep_from(log) == 7


def test_a_bookmark_is_no_excuse_to_grow_beyond_the_size(log: Log) -> None:
    fill(log, [40 * DAY] * 10)
    bookmark(log, "slow", make_event_id(0, log.tag, 2))
    prune(log, Retention.in_force(RetentionTable(max_size=1), log))  # type: ignore[arg-type]
    assert seqs(log) == [10]


@pytest.mark.parametrize("text", ["", "garbage", "\udcff", "0" * 26])
def test_a_bookmark_that_is_none_keeps_nothing(log: Log, text: str) -> None:
    fill(log, [40 * DAY] * 3)
    bookmark(log, "x", "")
    (log.path.parent / "cursors/bookmark-x.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    (log.path.parent / "cursors/bookmark-folder.txt").mkdir()
    (log.path.parent / "cursors/other.txt").write_text(make_event_id(0, log.tag, 1))
    assert keep_from(log) is None


def test_a_bookmark_from_0_2_keeps_its_place(log: Log) -> None:
    old_id = "01M7XJ614PK8CHXM5935SQP1H1"
    log.write_events([(event("a"), 1, None), (event("b"), 1, old_id), (event("c"), 1, None)])
    bookmark(log, "watch", old_id)
    assert keep_from(log) == 3


# -- without a daemon --------------------------------------------------------------------------------------------------


def test_producers_prune_faster_than_they_write(log: Log) -> None:
    """Where no daemon ever runs: what has expired leaves while the log is written to."""
    fill(log, [40 * DAY] * 1000)
    for number in range(6 * retention.EVERY):
        emit(event(f"new {number}"))
    assert seqs(log)[0] > 1000
    assert retention.CHUNK > retention.EVERY


def test_a_batch_prunes_once_when_it_passes_the_mark(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(Pruner, "step", lambda self: steps.append(1))
    for seq, count in ((99, 99), (100, 1), (101, 1), (450, 349), (451, 1), (500, 1)):
        prune_now_and_then(log, seq, count)
    assert len(steps) == 3


def test_where_a_daemon_lives_producers_leave_it_to_it(log: Log) -> None:
    """Its name stands in a file beside the log; one that was killed left the name, and is not waited for."""
    fill(log, [40 * DAY] * 2500)
    lock = log.path.parent / "daemon.lock"
    lock.write_text(f'{{"pid": {os.getpid()}}}')
    prune_now_and_then(log, retention.EVERY)
    assert seqs(log)[0] == 1
    gone = subprocess.Popen(["true"])
    gone.wait()
    for text in (
        f'{{"pid": {gone.pid}}}',
        "",
        "{}",
        "[]",
        "garbage",
        '{"pid": "x"}',
        '{"pid": -1}',
        '{"pid": true}',
        '{"pid": 10000000000000000000000000}',
        "[" * 100_000,
    ):
        lock.write_text(text)
        before = seqs(log)[0]
        prune_now_and_then(log, retention.EVERY)
        assert seqs(log)[0] > before, text


def test_a_broken_configuration_does_not_fail_an_emit(log: Log, home: Path) -> None:
    (home / "c").mkdir()
    (home / "c/config.toml").write_text("[retention]\nmax_age = 'soon'\n")
    prune_now_and_then(log, retention.EVERY)


# -- how large a chunk may be ------------------------------------------------------------------------------------------


def test_a_chunk_that_took_long_makes_the_next_one_smaller(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with large payloads take long to delete, and the write lock is everybody's."""
    took = iter([1.0] * 10 + [0.0] * 10)
    clock = [0.0]

    def prune(log: Log, keep: Retention, chunk: int, locked: Callable[[], None]) -> int:
        locked()
        clock[0] += next(took)
        return chunk

    monkeypatch.setattr(retention, "prune_chunk", prune)
    monkeypatch.setattr("waitbus.store.retention.time.monotonic", lambda: clock[0])
    pruner = Pruner(log, NEVER)
    sizes = [pruner.step() for _ in range(20)]
    assert sizes[:3] == [200, 100, 50]
    assert min(sizes) == retention.CHUNK_MIN
    assert sizes[-1] == retention.CHUNK


def test_waiting_for_the_write_lock_makes_no_chunk_smaller(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make the wait longer: with more chunks, pruning beside writers that never pause took minutes."""
    fill(log, [40 * DAY] * 1000)
    clock, write = [0.0], log.write

    def waited(work: Callable[[Any], int]) -> int:
        clock[0] += 1.0
        return write(work)

    monkeypatch.setattr(log, "write", waited)
    monkeypatch.setattr("waitbus.store.retention.time.monotonic", lambda: clock[0])
    pruner = Pruner(log, Retention(max_age=30 * DAY))
    assert [pruner.step() for _ in range(3)] == [retention.CHUNK] * 3
    assert pruner.chunk == retention.CHUNK


@pytest.mark.parametrize(
    "look",
    [
        lambda log, now: log.seq_before(int((now - DAY) * 1000)),
        lambda log, now: log.seq_before(int((now - DAY) * 1000), told=True),
        lambda log, now: prune_chunk(log, Retention(max_age=DAY, max_bytes=None), now=now),
        lambda log, now: strip_payloads(log, Retention(max_age=None, max_bytes=None, payload_age=DAY), now=now),
    ],
    ids=["seq_before", "seq_before told", "prune_chunk", "strip_payloads"],
)
def test_what_others_prune_between_two_statements_is_no_bug(
    look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every producer prunes now and then: the rows that one is searching may go under its hands."""
    with Log(tmp_path / "one.db") as log:
        fill(log, [9 * DAY] * 5 + [0, 0])
        bounds = rows_of.facts

        def pruned_right_behind(db: Any, tag: int) -> Any:
            found = bounds(db, tag)
            with Log(tmp_path / "one.db") as other:
                prune_chunk(other, Retention(max_age=DAY, max_bytes=None, max_rows=None))
            return found

        with monkeypatch.context() as patch:
            for module in ("retention", "rows"):
                # Only the search's own look at the bounds; the other process's is as it is.
                patch.setattr(f"waitbus.store.{module}.facts", _once(pruned_right_behind, bounds))
            look(log, time.time())
        assert [row[0] for row in log.use(lambda db: db.execute("SELECT seq FROM events").fetchall())] == [6, 7]


def _once(first: Any, then: Any) -> Any:
    answers = iter([first])
    return lambda *args: next(answers, then)(*args)
