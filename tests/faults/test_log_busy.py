"""F3, F14, F16, F17: many writers, writers that hold the lock, and clocks that disagree."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest

from tests.logs import event, finish, is_sound, look, names, python, rows
from waitbus.errors import LogBusy
from waitbus.events import parse_event_id
from waitbus.paths import log_path
from waitbus.producer import emit
from waitbus.store import Log, shared

HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
"""


@pytest.fixture
def holder():
    """Another process that holds the write lock until it hears a line."""
    with Log() as log:
        log.append(event("before"))
    child = python(HOLDER, log_path())
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    if child.poll() is None:
        child.communicate("\n", timeout=10)


def test_emit_gives_up_after_five_seconds_and_says_why(holder) -> None:
    """The one test with the real time-out: not sooner, and not much later on a machine that does other things."""
    began = time.monotonic()
    with pytest.raises(LogBusy) as caught:
        emit(event("during"))
    assert 5.0 <= time.monotonic() - began < 8.0
    assert caught.value.exit_code == 74
    assert caught.value.message == f"the log {log_path()} is locked by another process (database is locked)"
    assert caught.value.hint.startswith("another program holds the log's write lock")
    holder.communicate("\n", timeout=10)
    assert emit(event("after")).inserted
    assert names(log_path()) == ["before", "after"], "what was said to have failed was not written"


def test_a_signal_handler_may_emit_in_the_middle_of_an_emit() -> None:
    """`signal.signal(SIGTERM, lambda *_: emit(...))`: the thread that holds the log cannot wait for itself."""
    raised: list[LogBusy] = []

    def told(*_: object) -> None:
        try:
            emit(event(f"told {len(raised)}"))
        except LogBusy as error:
            raised.append(error)

    before = signal.signal(signal.SIGUSR1, told)
    try:
        emit(event("before"))
        began = time.monotonic()
        shared().use(lambda _: signal.raise_signal(signal.SIGUSR1))
        assert names(log_path()) == ["before", "told 0"]
        shared().write(lambda _: signal.raise_signal(signal.SIGUSR1))
        assert time.monotonic() - began < 2, "with the write lock in its own hands nobody is waited for either"
        assert len(raised) == 1
        with pytest.raises(LogBusy, match="in the middle of another use"):
            shared().use(lambda _: shared().head())
        emit(event("after"))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert names(log_path()) == ["before", "told 0", "after"]
    assert is_sound(log_path())


def test_readers_go_on_while_a_writer_holds_the_lock(holder) -> None:
    with Log(busy_timeout=0) as log:
        assert log.head() == 1
        assert [row.delivery_id for row in rows(log)] == ["before"]
        assert log.facts().last == 1
        with pytest.raises(LogBusy):
            log.append(event("x"))
        with pytest.raises(LogBusy):
            log.append_many([event("x")])


def test_a_writer_goes_on_as_soon_as_the_lock_is_free(holder) -> None:
    placed = []
    thread = threading.Thread(target=lambda: placed.append(emit(event("patient"))))
    thread.start()
    holder.communicate("\n", timeout=10)
    thread.join(timeout=10)
    assert placed[0].inserted
    assert names(log_path()) == ["before", "patient"]


JITTER = """
import json, random, sys, time
from waitbus.events import EventInsert
from waitbus.store import Log
me, count, skew_ms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
noise, real = random.Random(me), time.time_ns
time.time_ns = lambda: real() + (skew_ms + noise.randint(-50, 50)) * 1_000_000
out = []
with Log() as log:
    for number in range(count):
        placed = log.append(EventInsert(source="agent", event_type="x", delivery_id=f"{me} {number}"))
        out.append((log.event_id(placed.seq, log.row(placed.seq).at_ms), placed.seq))
print(json.dumps(out))
"""


@pytest.mark.parametrize(
    "skews", [[0] * 8, [0, 0, 0, 0, -3_600_000, -3_600_000, 5000, 0]], ids=["jitter", "stepped back"]
)
def test_ids_of_eight_processes_sort_as_their_seqs_whatever_their_clocks_say(skews: list[int]) -> None:
    said = finish([python(JITTER, number, 400, skew) for number, skew in enumerate(skews)])
    ids = [tuple(pair) for one in said for pair in json.loads(one)]
    in_order = sorted(ids, key=lambda pair: pair[1])
    assert [seq for _, seq in in_order] == list(range(1, 3201))
    assert sorted(ids) == in_order
    assert len({parse_event_id(text).tag for text, _ in ids}) == 1
    for one in said:
        own = [seq for _, seq in json.loads(one)]
        assert own == sorted(own), "each process sees its own events in its own order"


SAME = """
import sys
from waitbus.events import EventInsert
from waitbus.producer import emit
found = [emit(EventInsert(source="agent", event_type="x", delivery_id=f"run {n}", summary=sys.argv[1])) for n in range(300)]
print(sum(one.inserted for one in found), *[one.event.seq for one in found])
"""


def test_two_watchers_of_one_thing_make_one_row() -> None:
    """F16: four at once; each is told the place of the first row, whoever wrote it."""
    said = [list(map(int, one.split())) for one in finish([python(SAME, number) for number in range(4)])]
    assert sum(one[0] for one in said) == 300
    assert said[0][1:] == said[1][1:] == said[2][1:] == said[3][1:]
    assert sorted(names(log_path())) == sorted(f"run {number}" for number in range(300))


WRITER = """
import sys
from waitbus.events import EventInsert
from waitbus.producer import emit
for number in range(int(sys.argv[2])):
    emit(EventInsert(source="agent", event_type="x", delivery_id=f"{sys.argv[1]} {number}"))
"""


def test_eight_processes_by_a_thousand_emits() -> None:
    """F17: nobody is told that the log is busy; every row once, each writer's in its order."""
    finish([python(WRITER, number, 1000) for number in range(8)])
    written = names(log_path())
    assert len(written) == len(set(written)) == 8000
    for number in range(8):
        own = [name for name in written if name.startswith(f"{number} ")]
        assert own == [f"{number} {count}" for count in range(1000)]
    assert is_sound(log_path())


def test_a_checkpoint_by_somebody_else_harms_nobody() -> None:
    with Log() as log:
        log.append(event("before"))
    child = python(WRITER, "writer", 1000)
    with look(log_path()) as db:
        while child.poll() is None:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finish([child])
    assert len(names(log_path())) == 1001
    assert is_sound(log_path())
