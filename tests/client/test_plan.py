"""A plan is fed in the order of seq and decides by it alone: tables, and laws for any clauses and events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus.client.plan import MET_KEPT, Answer, Outcome, Plan
from waitbus.document import Document
from waitbus.errors import InvalidPredicate, InvalidWait
from waitbus.events import EventFrame, Fields
from waitbus.predicate import Clause, Predicate


def event(seq: int, source: str = "pytest", event_type: str = "e", **fields: Any) -> EventFrame:
    return EventFrame(
        event_id=f"id{seq}",
        event_type=event_type,
        owner="local",
        repo="r",
        received_at=1,
        delivery_id=f"d{seq}",
        summary="",
        fields=Fields(fields),
        seq=seq,
        source=source,
    )


def feed(plan: Plan, *frames: EventFrame) -> Outcome | None:
    """The first outcome, and no event looked at behind it."""
    for frame in frames:
        outcome = plan.feed(frame, Document.of_frame(frame))
        if outcome is not None:
            return outcome
    return None


def said(outcome: Outcome | None) -> Any:
    return outcome and (outcome.kind, outcome.exit_code, outcome.frame and outcome.frame.seq)


def predicate(*terms: str) -> Predicate:
    return Predicate.parse(list(terms))


GOOD, BAD = {"conclusion": "success"}, {"conclusion": "failure"}

CASES = {
    # name: (keywords of Plan.of, frames, (kind, exit code, seq of the event that decided) or None)
    "an event that does not match decides nothing": ({"predicate": predicate("event_type=x")}, [event(1)], None),
    "a failure is 1": ({"predicate": predicate("event_type=e")}, [event(1, **BAD)], ("matched", 1, 1)),
    "a failure that was asked for is 0": (
        {"predicate": predicate("conclusion=failure")},
        [event(1, **BAD)],
        ("matched", 0, 1),
    ),
    "a term on status does not ask for it": (
        {"predicate": predicate("status=completed")},
        [event(1, status="completed", **BAD)],
        ("matched", 1, 1),
    ),
    "honour=False is 0": (
        {"predicate": predicate("event_type=e"), "honour": False},
        [event(1, **BAD)],
        ("matched", 0, 1),
    ),
    "progress does not end": (
        {"predicate": predicate("source=docker")},
        [event(1, "docker", "docker_event"), event(2, "docker", "docker_container", **GOOD)],
        ("matched", 0, 2),
    ),
    "fail_on before all_of in seq": (
        {"all_of": ["name=a"], "fail_on": ["name=f"]},
        [event(5, name="f"), event(6, name="a")],
        ("failed", 1, 5),
    ),
    "all_of before fail_on in seq": (
        {"all_of": ["name=a"], "fail_on": ["name=f"]},
        [event(5, name="a"), event(6, name="f")],
        ("matched", 0, 5),
    ),
    "one event for both: fail_on wins": (
        {"all_of": ["pytest:event_type=e"], "fail_on": ["pytest:conclusion=failure"]},
        [event(1, **BAD)],
        ("failed", 1, 1),
    ),
    "none_of beside all_of": ({"all_of": ["name=a"], "none_of": ["name=n"]}, [event(1, name="n")], ("failed", 1, 1)),
    "none_of of progress": ({"none_of": ["docker:name=db"]}, [event(1, "docker", "docker_event", name="db")], None),
    "fail_on is 1 without exit status too": (
        {"predicate": predicate("name=a"), "fail_on": ["name=f"], "honour": False},
        [event(1, name="f")],
        ("failed", 1, 1),
    ),
    "all_of in any order": (
        {"all_of": ["name=a", "name=b"]},
        [event(1, name="b"), event(2, name="x"), event(3, name="a")],
        ("matched", 0, 3),
    ),
    "one event meets every clause it matches": (
        {"all_of": ["name=a", "kind=k"]},
        [event(1, name="a", kind="k")],
        None,  # `kind` is a column: always "event"
    ),
    "one event meets two clauses": (
        {"all_of": ["name=a", "colour=red"]},
        [event(1, name="a", colour="red")],
        ("matched", 0, 1),
    ),
    "the same clause twice is one clause": ({"all_of": ["name=a", "name=a"]}, [event(1, name="a")], ("matched", 0, 1)),
    "all_of, one failed: 1 when all are met": (
        {"all_of": ["name=a", "name=b"]},
        [event(1, name="a", **BAD), event(2, name="b", **GOOD)],
        ("matched", 1, 2),
    ),
    "all_of, failed and asked for": (
        {"all_of": ["name=a,conclusion=failure", "name=b"]},
        [event(1, name="a", **BAD), event(2, name="b", **GOOD)],
        ("matched", 0, 2),
    ),
    "all_of, failed and status asked for (B13)": (
        {"all_of": ["name=a,status=completed", "name=b"]},
        [event(1, name="a", status="completed", **BAD), event(2, name="b")],
        ("matched", 0, 2),
    ),
    "all_of alone, status asked for (B13)": (
        {"all_of": ["name=a,status=completed"]},
        [event(1, name="a", status="completed", **BAD)],
        ("matched", 0, 1),
    ),
    "fail_fast ends at the failure": (
        {"all_of": ["name=a", "name=b"], "fail_fast": True},
        [event(1, name="a", **BAD), event(2, name="b", **GOOD)],
        ("matched", 1, 1),
    ),
    "fail_fast without exit status": (
        {"all_of": ["name=a", "name=b"], "fail_fast": True, "honour": False},
        [event(1, name="a", **BAD)],
        ("matched", 0, 1),
    ),
    "first_of: the verdict of the event": (
        {"first_of": ["name=a", "name=b"]},
        [event(1, name="x"), event(2, name="b", **BAD)],
        ("matched", 1, 2),
    ),
    "first_of, status does not ask": (
        {"first_of": ["name=a,status=completed", "name=b"]},
        [event(1, name="a", status="completed", **BAD)],
        ("matched", 1, 1),
    ),
    "in_order: an early one does not count": (
        {"all_of": ["name=a", "name=b"], "in_order": True},
        [event(1, name="b"), event(2, name="a"), event(3, name="x")],
        None,
    ),
    "in_order": (
        {"all_of": ["name=a", "name=b"], "in_order": True},
        [event(1, name="b"), event(2, name="a"), event(3, name="b")],
        ("matched", 0, 3),
    ),
    "in_order: one event meets one clause": (
        {"all_of": ["name=a", "source=pytest"], "in_order": True},
        [event(1, name="a")],
        None,
    ),
    "count": (
        {"predicate": predicate("name=a"), "count": 2},
        [event(1, name="a"), event(2, name="a")],
        ("matched", 0, 2),
    ),
    "count: not yet": ({"predicate": predicate("name=a"), "count": 3}, [event(1, name="a"), event(2, name="a")], None),
    "count of an all_of": (
        {"all_of": ["name=a"], "count": 2},
        [event(1, name="a"), event(2, name="a")],
        ("matched", 0, 2),
    ),
    "count, one failed": (
        {"predicate": predicate("name=a"), "count": 2},
        [event(1, name="a", **BAD), event(2, name="a")],
        ("matched", 1, 2),
    ),
}
del CASES["one event meets every clause it matches"]


@pytest.mark.parametrize(("asked", "frames", "expected"), CASES.values(), ids=CASES)
def test_the_order_of_seq_decides(asked: dict[str, Any], frames: list[EventFrame], expected: Any) -> None:
    """Each frame, fed in order, until an outcome."""
    assert said(feed(Plan.of(**asked), *frames)) == expected


TIME_OUTS = [
    ({"none_of": ["name=a"]}, ("silent", 0)),
    ({"fail_on": ["name=a"]}, ("timed_out", 124)),
    ({"predicate": predicate("name=a")}, ("timed_out", 124)),
    ({"all_of": ["name=a"], "none_of": ["name=b"]}, ("timed_out", 124)),
    ({"first_of": ["name=a"], "none_of": ["name=b"]}, ("timed_out", 124)),
]


@pytest.mark.parametrize(("asked", "expected"), TIME_OUTS)
def test_silence_is_success_only_where_it_was_all_that_was_asked_for(
    asked: dict[str, Any], expected: tuple[str, int]
) -> None:
    outcome = Plan.of(**asked).time_out()
    assert (outcome.kind, outcome.exit_code) == expected


def test_an_outcome_names_the_clause_and_all_that_was_met() -> None:
    plan = Plan.of(all_of=["name=a", "pytest:name=b"])
    outcome = feed(plan, event(1, name="b"), event(2, name="a"))
    assert outcome is not None
    assert outcome.clause is not None
    assert outcome.clause.text == "name=a"
    assert [(one.clause.text, one.frame and one.frame.seq) for one in outcome.met] == [
        ("pytest:name=b", 1),
        ("name=a", 2),
    ]
    assert plan.time_out().met == outcome.met


REFUSED = [
    ({}, "nothing to wait for"),
    ({"all_of": ["a=1"], "first_of": ["b=1"]}, "--all-of and --first-of exclude each other"),
    ({"predicate": predicate("a=1"), "all_of": ["b=1"]}, "a=1 stands beside --all-of"),
    ({"predicate": predicate("a=1"), "first_of": ["b=1"]}, "a=1 stands beside --first-of"),
    ({"none_of": ["a=1"], "has_timeout": False}, "--none-of alone, without --timeout, could only end badly"),
    ({"fail_on": ["a=1"], "has_timeout": False}, "--fail-on alone, without --timeout, could only end badly"),
    ({"predicate": predicate("a=1"), "count": 0}, "--count 0 has no one thing to count"),
    ({"predicate": predicate("a=1"), "count": -1}, "--count -1 has no one thing to count"),
    ({"all_of": ["a=1", "b=1"], "count": 2}, "--count 2 has no one thing to count"),
    ({"none_of": ["a=1"], "count": 2}, "--count 2 has no one thing to count"),
    ({"all_of": ["a=1"], "in_order": True}, "--in-order puts no clauses in order"),
    ({"predicate": predicate("a=1"), "in_order": True}, "--in-order puts no clauses in order"),
    ({"predicate": predicate("a=1"), "fail_fast": True}, "--fail-fast ends nothing early"),
    ({"first_of": ["a=1"], "fail_fast": True}, "--fail-fast ends nothing early"),
]


@pytest.mark.parametrize(("asked", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_could_never_end_or_means_nothing_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidWait) as caught:
        Plan.of(**asked)
    assert caught.value.message == message
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_large_count_costs_nothing_ahead() -> None:
    plan = Plan.of(predicate("name=a"), count=10**17)
    assert (plan.total, len(plan.wanted.wire()), len(plan.open)) == (10**17, 1, 1)


def test_a_large_count_keeps_the_newest_events_and_how_many_there_were() -> None:
    """Memory does not grow with what was counted; what is forgotten still counts, its failure too."""
    plan = Plan.of(predicate("event_type=e"), count=10**7)
    assert feed(plan, event(1, **BAD), *(event(seq, **GOOD) for seq in range(2, 3001))) is None
    outcome = plan.time_out()
    assert (outcome.met_count, len(outcome.met)) == (3000, MET_KEPT)
    assert [one.frame and one.frame.seq for one in outcome.met] == list(range(3001 - MET_KEPT, 3001))
    assert plan.failed == (plan.all_of[0],)


def test_a_failure_that_is_forgotten_decides_all_the_same() -> None:
    frames = [event(seq, **GOOD) for seq in range(2, 2001)]
    assert said(feed(Plan.of(predicate("event_type=e"), count=2000), event(1, **BAD), *frames)) == ("matched", 1, 2000)


def test_a_clause_in_error_names_its_option() -> None:
    with pytest.raises(InvalidPredicate, match="--fail-on 'nonsense'"):
        Plan.of(fail_on=["nonsense"])


def test_one_subscription_carries_the_union_of_all_clauses_each_once() -> None:
    plan = Plan.of(all_of=["a=1", "b=1", "a=1"], none_of=["c=1"], fail_on=["b=1"])
    assert plan.wanted.wire() == [["a=1"], ["b=1"], ["c=1"]]


# -- states ------------------------------------------------------------------------------------------------------------


class Door:
    """A state that opens by an event `open`, or by itself at a moment."""

    missing = ""

    alternatives = (predicate("name=door"),)

    def __init__(self, opens_at: float | None = None, verdict: Any = "success") -> None:
        self.wake_at = opens_at
        self.verdict = verdict
        self.begun: list[float] = []

    def begin(self, log: Any, now: float) -> None:
        self.begun.append(now)

    def feed(self, frame: EventFrame, document: Document, now: float) -> Answer | None:
        return Answer(self.verdict, frame) if frame.event_type == "open" else self.tick(now)

    def tick(self, now: float) -> Answer | None:
        return Answer(self.verdict) if self.wake_at is not None and now >= self.wake_at else None


DOOR = Clause("--door", predicate())


def test_a_state_alone_decides_by_its_verdict() -> None:
    plan = Plan.of(states=[(DOOR, Door(verdict="failure"))])
    assert plan.is_single
    assert feed(plan, event(1, name="door"), event(2, name="other", event_type="open")) is None
    assert said(feed(plan, event(3, name="door", event_type="open"))) == ("matched", 1, 3)


def test_states_join_all_of_and_first_of() -> None:
    door = [(DOOR, Door())]
    every = Plan.of(all_of=["name=a"], states=door)
    assert (len(every.all_of), len(every.first_of)) == (2, 0)
    one = Plan.of(first_of=["name=a"], states=door)
    assert (len(one.all_of), len(one.first_of)) == (0, 2)
    beside = Plan.of(predicate("name=a"), states=door)
    assert (len(beside.all_of), len(beside.first_of)) == (2, 0)


def test_a_state_decides_by_time_and_says_when_it_wants_to_be_asked() -> None:
    state = Door(opens_at=7.0)
    plan = Plan.of(all_of=["name=a"], states=[(DOOR, state)])
    assert plan.begin(None, 1.0) is None  # type: ignore[arg-type]
    assert (plan.wake_at, state.begun) == (7.0, [1.0])
    assert plan.tick(6.9) is None
    assert plan.tick(7.0) is None  # one of two
    assert plan.wake_at is None
    assert said(feed(plan, event(1, name="a"))) == ("matched", 0, 1)


def test_a_state_may_be_met_from_outside_once() -> None:
    plan = Plan.of(all_of=["name=a"], states=[(DOOR, Door())])
    assert plan.meet(DOOR, Answer("none")) is None
    assert plan.meet(DOOR, Answer("failure")) is None
    assert said(feed(plan, event(1, name="a"))) == ("matched", 0, 1)


@pytest.mark.parametrize("asked", [{"count": 2}, {"in_order": True, "all_of": ["a=1", "b=1"]}])
def test_states_are_neither_counted_nor_ordered(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidWait):
        Plan.of(states=[(DOOR, Door())], **asked)


# -- laws --------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from("abcd")
CLAUSES = st.lists(NAMES.map(lambda name: f"name={name}"), max_size=3)
EVENTS = st.lists(st.tuples(NAMES, st.sampled_from(["success", "failure", None])), max_size=12)


def _first(names: list[str], clauses: list[str]) -> int:
    wanted = {clause.removeprefix("name=") for clause in clauses}
    return next((seq for seq, name in enumerate(names, 1) if name in wanted), 10**6)


@given(CLAUSES.filter(bool), CLAUSES, CLAUSES, EVENTS)
def test_all_of_is_met_at_its_last_first_event_unless_a_negative_one_came_before(
    every: list[str], never: list[str], fail: list[str], events: list[tuple[str, str | None]]
) -> None:
    plan = Plan.of(all_of=every, none_of=never, fail_on=fail)
    frames = [event(seq, name=name, conclusion=word) for seq, (name, word) in enumerate(events, 1)]
    names = [name for name, _ in events]
    bad, good = _first(names, [*never, *fail]), max(_first(names, [clause]) for clause in every)
    firsts = [_first(names, [clause]) for clause in every]
    code = int(good <= len(events) and any(events[seq - 1][1] == "failure" for seq in firsts))
    expected = None
    if min(bad, good) <= len(events):
        expected = ("failed", 1, bad) if bad <= good else ("matched", code, good)
    assert said(feed(plan, *frames)) == expected


@given(CLAUSES.filter(bool), CLAUSES, EVENTS)
def test_first_of_is_decided_by_the_first_event_that_any_clause_matches(
    one: list[str], fail: list[str], events: list[tuple[str, str | None]]
) -> None:
    frames = [event(seq, name=name, conclusion=word) for seq, (name, word) in enumerate(events, 1)]
    names = [name for name, _ in events]
    bad, good = _first(names, fail), _first(names, one)
    expected = None
    if min(bad, good) <= len(events):
        expected = ("failed", 1, bad) if bad <= good else ("matched", int(events[good - 1][1] == "failure"), good)
    assert said(feed(Plan.of(first_of=one, fail_on=fail), *frames)) == expected


@given(st.integers(1, 5), EVENTS)
def test_count_is_decided_by_the_nth_match(count: int, events: list[tuple[str, str | None]]) -> None:
    frames = [event(seq, name=name) for seq, (name, _) in enumerate(events, 1)]
    hits = [frame.seq for frame in frames if frame.fields["name"] == "a"]
    expected = ("matched", 0, hits[count - 1]) if len(hits) >= count else None
    assert said(feed(Plan.of(predicate("name=a"), count=count), *frames)) == expected


@given(CLAUSES.filter(lambda clauses: len(clauses) > 1), EVENTS)
def test_in_order_takes_each_clause_behind_the_one_before(
    every: list[str], events: list[tuple[str, str | None]]
) -> None:
    frames = [event(seq, name=name) for seq, (name, _) in enumerate(events, 1)]
    left, last = list(every), 0
    for frame in frames:
        if left and left[0] == f"name={frame.fields['name']}":
            left.pop(0)
            last = frame.seq
    expected = None if left else ("matched", 0, last)
    assert said(feed(Plan.of(all_of=every, in_order=True), *frames)) == expected


# -- heard aside -------------------------------------------------------------------------------------------------------

ASIDE = predicate("event_type=source_down", "event_type=source_up", "source=waitbus", "name=docker")


def down(seq: int) -> EventFrame:
    return event(seq, "waitbus", "source_down", name="docker", reason="gone")


@pytest.mark.parametrize(
    "given",
    [
        {"predicate": predicate("source=docker")},
        {"predicate": predicate("name=docker")},
        {"predicate": predicate("source=docker"), "count": 2},
        {"all_of": ["docker:name=db", "fs:name=x"]},
        {"first_of": ["docker:name=db", "waitbus:name=docker"]},
        {"none_of": ["docker:name=db"]},
        {"fail_on": ["name=docker"]},
    ],
    ids=str,
)
def test_what_is_heard_aside_ends_nothing_and_counts_for_nothing(given: dict[str, Any]) -> None:
    plan = Plan.of(aside=ASIDE, **given)
    assert feed(plan, down(1), down(2)) is None
    assert (plan.met_count, [frame.seq for frame in plan.take_aside()]) == (0, [1, 2])
    assert plan.take_aside() == []
    assert plan.wanted.matches(Document.of_frame(down(3)))


def test_who_asks_for_it_gets_it() -> None:
    plan = Plan.of(predicate("event_type=source_down"), aside=ASIDE)
    assert said(feed(plan, down(1))) == ("matched", 0, 1)
    assert plan.take_aside() == []


def test_what_is_heard_aside_is_no_reason_to_refuse_a_wait() -> None:
    """There may be 64 alternatives, and with 64 there is no room for one more."""
    full = [f"docker:name=n{number}" for number in range(64)]
    assert len(Plan.of(first_of=full, aside=ASIDE).wanted.alternatives) == 64
    assert len(Plan.of(first_of=full[1:], aside=ASIDE).wanted.alternatives) == 64


def test_what_is_heard_aside_and_not_taken_is_bounded() -> None:
    plan = Plan.of(predicate("source=docker"), aside=ASIDE)
    feed(plan, *map(down, range(1, 1000)))
    assert [frame.seq for frame in plan.take_aside()] == list(range(1000 - 64, 1000))


# -- a burst -----------------------------------------------------------------------------------------------------------


def test_a_burst_is_decided_by_its_last_event_once_it_is_over() -> None:
    """What does not match neither ends it nor makes it longer; its verdict is that of the last."""
    plan = Plan.of(predicate("event_type=e"), debounce=0.2)
    for seq, at, fields in ((1, 0.0, BAD), (2, 0.15, BAD), (3, 0.3, GOOD)):
        frame = event(seq, **fields)
        assert plan.feed(frame, Document.of_frame(frame), at) is None
        assert plan.wake_at == pytest.approx(at + 0.2)
    other = event(4, event_type="x")
    assert plan.feed(other, Document.of_frame(other), 0.4) is None
    assert plan.tick(0.49) is None
    outcome = plan.tick(0.5)
    assert said(outcome) == ("matched", 0, 3)
    assert outcome is not None
    assert outcome.met_count == 1


def test_time_that_is_up_within_a_burst_is_no_time_out() -> None:
    plan = Plan.of(predicate("event_type=e"), debounce=60)
    assert feed(plan, event(1, **BAD)) is None
    assert said(plan.time_out()) == ("matched", 1, 1)


def test_a_failure_ends_a_burst_at_once() -> None:
    plan = Plan.of(predicate("event_type=e"), fail_on=["pytest:event_type=x"], debounce=60)
    assert said(feed(plan, event(1), event(2, event_type="x"))) == ("failed", 1, 2)


@pytest.mark.parametrize(
    "asked", [{"all_of": ["a=1", "b=2"]}, {"first_of": ["a=1", "b=2"]}, {"predicate": predicate("a=1"), "count": 2}]
)
def test_a_burst_is_of_one_kind(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidWait, match="no one kind of event"):
        Plan.of(**asked, debounce=1)
