"""The log read by itself: what is behind a place, in both directions, whatever was pruned."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.logs import prune
from waitbus.client.history import History, locate
from waitbus.client.session import Gap, Note
from waitbus.client.start import NOW, Start
from waitbus.errors import CursorGap, OtherLog, UnknownEvent
from waitbus.events import EventInsert
from waitbus.predicate import Predicate, Wanted
from waitbus.producer import emit, emit_all, emit_batch
from waitbus.store import Log, shared


def tell(count: int, **keywords: Any) -> list[str]:
    events = [EventInsert(source="agent", event_type=f"t{number % 3}", **keywords) for number in range(count)]
    return [result.event.event_id for result in emit_all(events)]


def test_emit_all_answers_for_each_event_what_emit_would() -> None:
    """A known delivery id, in the log or earlier in the batch, gives the first event with it."""
    first = emit(EventInsert(source="a", event_type="x", delivery_id="d"))
    results = emit_all(
        EventInsert(source="a", event_type=name, delivery_id=key) for name, key in (("y", "d"), ("z", "e"), ("w", "e"))
    )
    assert [(result.inserted, result.event.event_type) for result in results] == [
        (False, "x"),
        (True, "z"),
        (False, "z"),
    ]
    assert results[0].event == first.event
    assert emit_batch([EventInsert(source="a", event_type="x", delivery_id=key) for key in ("d", "f")]) == 1


def test_pages_are_joined_without_a_hole_in_both_directions() -> None:
    tell(600)
    history = History(shared())
    assert [row.seq for row in history.forwards()] == list(range(1, 601))
    assert [row.seq for row in history.backwards()] == list(range(600, 0, -1))


def test_large_rows_make_short_pages_and_no_hole() -> None:
    """A page ends at 256 KiB, too."""
    tell(12, fields={"k": "x" * 60_000})
    assert [row.seq for row in History(shared()).backwards()] == list(range(12, 0, -1))


def test_it_ends_where_the_log_ended_when_it_was_made() -> None:
    tell(3)
    history = History(shared())
    late = tell(1)
    assert [row.seq for row in history.forwards()] == [1, 2, 3] == [row.seq for row in history.backwards()][::-1]
    assert history.cursor < late[0]


def test_what_did_not_match_is_counted() -> None:
    tell(6)
    wanted = Wanted.of([Predicate.parse("event_type=t1")])
    history = History(shared(), None, wanted)
    assert [row.seq for row in history.forwards()] == [2, 5]
    assert history.passed == 4


def test_a_predicate_sees_the_payload() -> None:
    tell(1, payload_json='{"x": 1}')
    tell(1, payload_json='{"x": 2}')
    wanted = Wanted.of([Predicate.parse("payload.x=2")])
    assert [row.seq for row in History(shared(), None, wanted).forwards()] == [2]


def test_pruned_events_are_told_once_to_who_asked_for_them() -> None:
    ids = tell(5)
    prune(4)
    told: list[Note | Gap] = []
    history = History(shared(), Start(event_id=ids[0]), told=told.append)
    assert [(gap.reason, gap.first, gap.last, gap.initial) for gap in told if isinstance(gap, Gap)] == [
        ("pruned", 2, 3, True)
    ]
    assert history.gap == told[0]
    assert [row.seq for row in history.forwards()] == [4, 5]
    assert [row.seq for row in History(shared()).backwards()] == [5, 4]
    assert History(shared()).gap is None
    assert History(shared(), Start(event_id=ids[2])).gap is None, "nothing behind it is missing"
    with pytest.raises(CursorGap) as caught:
        History(shared(), Start(event_id=ids[0]), strict=True)
    assert caught.value.missing == (2, 3)


def test_a_place_is_located_by_id_by_time_and_at_the_end() -> None:
    log = shared()
    empty = log.cursor()
    assert locate(log, NOW) == (0, empty) == locate(log, Start(event_id=empty))
    ids = tell(3)
    assert locate(log, NOW) == (3, ids[2])
    assert locate(log, Start(event_id=ids[1])) == (2, ids[1])
    assert locate(log, Start(at_ns=10**18)) == (0, empty)
    assert locate(log, Start(at_ns=2**62)) == (3, ids[2])
    prune(3, log)
    assert locate(log, Start(event_id=ids[0])) == (1, ids[0]), "pruned, and still known"


def test_a_place_that_is_none_of_the_logs_is_refused() -> None:
    ids = tell(2)
    log = shared()
    with pytest.raises(OtherLog, match="the cursor 01M7XJ614PK8CHXM5935SQP1H1"):
        locate(log, Start(event_id="01M7XJ614PK8CHXM5935SQP1H1"))
    with pytest.raises(UnknownEvent):
        locate(log, Start(event_id=ids[1][:-1] + "9"))
    with pytest.raises(UnknownEvent, match="the bookmark 'b'"):
        History(log, Start(event_id="00" + ids[1][2:]), bookmark="b")


@settings(max_examples=25)
@given(count=st.integers(0, 30), pruned=st.integers(0, 30), after=st.integers(0, 30))
def test_backwards_is_forwards_reversed(count: int, pruned: int, after: int) -> None:
    shared().head()  # a log beside the usual one needs that one's folder
    log = Log(shared().path.with_name(f"h{time.time_ns()}.db"))
    log.append_many(EventInsert(source="a", event_type="x") for _ in range(count))
    if 0 < pruned <= count:
        prune(pruned, log)
    row = log.row(after)
    history = History(log, None if row is None else Start(event_id=log.event_id(row.seq, row.at_ms)))
    seqs = [one.seq for one in history.forwards()]
    assert seqs == [one.seq for one in history.backwards()][::-1]
    assert seqs == list(range(max(history.after + 1, log.facts().first), count + 1) if count else [])
    log.close()
