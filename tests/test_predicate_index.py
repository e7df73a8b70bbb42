"""The index answers as the plain evaluator does, and an event costs what it matches."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.documents import DOCUMENTS, PREDICATES, document
from waitbus.document import Document
from waitbus.predicate import Predicate, Wanted
from waitbus.predicate_index import Index

WANTED = st.lists(PREDICATES, max_size=3).map(lambda predicates: Wanted.of(predicates).prefilter())


def filled(waiters: int) -> Index[int]:
    index: Index[int] = Index()
    for token in range(waiters):
        index.add(token, Wanted((Predicate.parse(f"head_sha={token:040x}", source="github"),)))
    return index


def test_an_event_nobody_waits_for_costs_the_same_for_10_000_waiters() -> None:
    """At most two predicates are evaluated, however many wait; all of them share a source."""
    index = filled(10_000)
    assert index.matching(document(source="github", fields={"head_sha": "f" * 40})) == []
    assert index.evaluations <= 2


def test_an_event_costs_what_it_matches() -> None:
    """One of 10,000 wants it, and is found with a handful of evaluations."""
    index = filled(10_000)
    assert index.matching(document(source="github", fields={"head_sha": f"{4242:040x}"})) == [4242]
    assert index.evaluations <= 2


def test_without_equality_each_event_is_evaluated() -> None:
    """What cannot be hashed is evaluated, and only that."""
    index = filled(100)
    index.add(-1, Wanted((Predicate.parse("seq>5"),)))
    index.add(-2, Wanted((Predicate.parse("seq>50"),)))
    assert index.matching(document(seq=7)) == [-1]
    assert index.evaluations == 2


def test_one_and_true_are_told_apart() -> None:
    """In a dict they are one key."""
    index: Index[str] = Index()
    for token, text in {"one": "x=1", "true": "x=true", "text": 'x="1"'}.items():
        index.add(token, Wanted((Predicate.parse(text),)))
    assert index.matching(document(fields={"x": 1})) == ["one"]
    assert index.matching(document(fields={"x": 1.0})) == ["one"]
    assert index.matching(document(fields={"x": True})) == ["true"]
    assert index.matching(document(fields={"x": "1"})) == ["text"]
    assert index.matching(document(fields={"x": [1]})) == []
    assert index.evaluations == 0  # one term, and the place it stands at says as much


def test_each_subscriber_is_named_once() -> None:
    """However many of its alternatives, or of its filed values, an event has."""
    index: Index[str] = Index()
    index.add("a", Wanted.of([Predicate.parse("x=1"), Predicate.parse("y=2"), Predicate.parse("seq>0")]))
    seen = document(fields={"x": 1, "y": 2})
    assert index.matching(seen) == ["a"]


def test_what_contradicts_itself_is_never_evaluated() -> None:
    """`--source fs --match source=docker` costs nothing."""
    index: Index[str] = Index()
    index.add("a", Wanted((Predicate.parse("source=docker", source="fs"),)))
    assert index.matching(document(source="fs")) == []
    assert index.matching(document(source="docker")) == []
    assert index.evaluations == 0
    index.discard("a")
    assert len(index) == 0


def test_adding_again_replaces_and_discarding_twice_is_nothing() -> None:
    """A token stands for one subscriber."""
    index: Index[str] = Index()
    index.add("a", Wanted((Predicate.parse("x=1"),)))
    index.add("a", Wanted((Predicate.parse("x=2"),)))
    assert index.matching(document(fields={"x": 1})) == []
    assert index.matching(document(fields={"x": 2})) == ["a"]
    assert "a" in index
    index.discard("a")
    index.discard("a")
    assert "a" not in index
    assert index.matching(document(fields={"x": 2})) == []


@settings(max_examples=60)
@given(st.lists(WANTED, min_size=10, max_size=20), st.lists(DOCUMENTS, min_size=3, max_size=6))
def test_the_index_answers_as_the_plain_evaluator(several: list[Wanted], events: list[Document]) -> None:
    """Some thousand random predicates against random events: the same subscribers."""
    index: Index[int] = Index()
    for token, wanted in enumerate(several):
        index.add(token, wanted)
    for event in events:
        plain = [token for token, wanted in enumerate(several) if wanted.matches(event)]
        assert sorted(index.matching(event)) == plain


class Coming(RuleBasedStateMachine):
    """Subscribers come, change and go; what is left is always answered as if it had been alone."""

    def __init__(self) -> None:
        super().__init__()
        self.index: Index[int] = Index()
        self.plain: dict[int, Wanted] = {}

    @rule(token=st.integers(0, 5), wanted=WANTED)
    def add(self, token: int, wanted: Wanted) -> None:
        self.index.add(token, wanted)
        self.plain[token] = wanted

    @rule(token=st.integers(0, 5))
    def discard(self, token: int) -> None:
        self.index.discard(token)
        self.plain.pop(token, None)

    @rule(event=DOCUMENTS)
    def ask(self, event: Document) -> None:
        expected = sorted(token for token, wanted in self.plain.items() if wanted.matches(event))
        assert sorted(self.index.matching(event)) == expected

    @invariant()
    def nothing_is_left_behind(self) -> None:
        assert len(self.index) == len(self.plain)
        if not self.plain:
            left = self.index._by_key, self.index._paths, self.index._unindexed
            assert left == ({}, {}, {})


TestComing = Coming.TestCase
TestComing.settings = settings(max_examples=30, stateful_step_count=20)
