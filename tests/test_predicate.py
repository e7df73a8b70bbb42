"""Predicates, clauses and unions of them; every one that was printed while this was planned is here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.documents import DOCUMENTS, PREDICATES, document
from waitbus.document import Document, Path
from waitbus.errors import EvaluatorUnavailableError, InvalidName, InvalidPredicate
from waitbus.predicate import ALTERNATIVES_MAX, TERMS_MAX, Clause, Predicate, Wanted, parse_clause
from waitbus.terms import Term, parse_term

FAILED_TESTS = document(source="pytest", event_type="pytest_session", conclusion="failure")
BUILD = document(
    source="process", event_type="process_exited", conclusion="failure", fields={"name": "build", "exit_code": 2}
)
DB = document(source="docker", event_type="docker_event", conclusion=None, fields={"name": "db", "action": "start"})
CI = document(source="github", event_type="workflow_run", owner="octo", repo="hello", fields={"head_sha": "7f3a1b2"})


# -- what the documents print ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "options", "matching", "other"),
    [
        ("fields.conclusion=failure", {}, FAILED_TESTS, DB),
        ("conclusion=failure", {}, FAILED_TESTS, DB),
        ("name=build", {"source": "process"}, BUILD, DB),
        ("fields.conclusion=failure", {"source": "github"}, CI, FAILED_TESTS),
        ('fields.head_sha="7f3a1b2"', {}, CI, DB),
        ("fields.head_sha^=7f3a1b2", {"repo": "octo/hello"}, CI, DB),
        ([], {"source": "pytest"}, FAILED_TESTS, BUILD),
        ([], {"repo": "Octo/Hello"}, CI, BUILD),
        ([], {"repo": "octo/*"}, CI, BUILD),
        ("exit_code>=1", {}, BUILD, CI),
        ("payload.x.y?", {}, document('{"x": {"y": 0}}'), document('{"x": {}}')),
    ],
)
def test_printed_predicates(match: Any, options: dict[str, Any], matching: Document, other: Document) -> None:
    """What the documentation shows means what it says."""
    predicate = Predicate.parse(match, **options)
    assert predicate.matches(matching)
    assert not predicate.matches(other)


@pytest.mark.parametrize(
    ("text", "source", "matching", "other"),
    [
        ("pytest:event_type=pytest_session", "pytest", FAILED_TESTS, CI),
        ("process:event_type=process_exited,name=build", "process", BUILD, CI),
        ("docker:name=db,action=start", "docker", DB, BUILD),
        ("pytest:conclusion=failure", "pytest", FAILED_TESTS, CI),
        ("conclusion=failure", None, BUILD, DB),
        (" pytest: conclusion = failure , event_type ^= pytest ", "pytest", FAILED_TESTS, CI),
    ],
)
def test_printed_clauses(text: str, source: str | None, matching: Document, other: Document) -> None:
    """A clause is a source, if any, and terms that all hold."""
    clause = parse_clause(text)
    assert (clause.text, clause.source) == (text, source)
    assert clause.predicate.matches(matching)
    assert not clause.predicate.matches(other)


def test_a_missing_value_is_the_error_people_are_shown() -> None:
    """`--match 'fields.conclusion='` says what to write."""
    with pytest.raises(InvalidPredicate) as caught:
        Predicate.parse(["fields.conclusion="], source="pytest", what="--match")
    assert caught.value.message == "--match 'fields.conclusion=' has no value"
    assert caught.value.hint.startswith('write fields.conclusion=""')
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        (Predicate.parse("fields.concluson=failure", source="pytest"), 'fields.concluson="failure" on pytest'),
        (Predicate.parse("conclusion=failure"), 'conclusion="failure"'),
        (Predicate.parse(source=["fs", "docker"]), "any event on fs or docker"),
        (Predicate.parse(["x=1", "x=2", "y?"], repo="o/*"), "(x=1 or x=2) and y? in o/*"),
        (Predicate.parse(["x=1", "x=2"], to="bob"), "x=1 or x=2 to bob"),
        (Predicate.parse(conditions=["failed", "finished"]), "any event that failed and finished"),
        (Predicate(), "any event"),
    ],
)
def test_a_predicate_in_words(predicate: Predicate, words: str) -> None:
    """The last line of a wait says what it waited for."""
    assert predicate.describe() == words


# -- how terms combine -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "fields", "holds"),
    [
        (["x=1", "y=2"], {"x": 1, "y": 2}, True),
        (["x=1", "y=2"], {"x": 1}, False),
        (["x=1", "x=2"], {"x": 2}, True),
        (["x=1", "fields.x=2"], {"x": 2}, True),
        (["x=1", "x=2"], {"x": 3}, False),
        (["x=1", "x!=2"], {"x": 1}, True),
        (["x!=1", "x!=2"], {"x": 1}, False),
        (["x>1", "x<5"], {"x": 7}, False),
        (["x>1", "x<5"], {"x": 3}, True),
        (["x^=a", "x^=b"], {"x": "a"}, False),
        (["x=1", "x?"], {"x": 2}, False),
        (["x=1", 'x="1"', "x=true"], {"x": True}, True),
        ([], {}, True),
    ],
)
def test_different_terms_and_repeated_equality_or(match: list[str], fields: dict[str, Any], holds: bool) -> None:
    """Only several `=` on one key, however that key is written, are alternatives."""
    assert Predicate.parse(match).matches(document(fields=fields)) is holds


def test_a_source_option_is_never_an_alternative_of_a_term() -> None:
    """`--source fs --match fields.source=docker` is both, so nothing; 0.2 matched docker."""
    predicate = Predicate.parse("fields.source=docker", source="fs")
    assert not predicate.matches(document(source="docker"))
    assert not predicate.matches(document(source="fs"))
    assert not parse_clause("fs:source=docker").predicate.matches(document(source="docker"))
    assert Predicate.from_wire(predicate.wire()) == predicate
    assert predicate.equalities() == {Path("column", "source"): set()}


def test_several_sources_are_alternatives() -> None:
    """`--source` repeated ORs, `--cond` repeated ANDs."""
    predicate = Predicate.parse(source=["fs", "docker"])
    assert predicate.matches(document(source="fs"))
    assert predicate.matches(document(source="docker"))
    assert not predicate.matches(document(source="pytest"))
    both = Predicate.parse(conditions=["failed", "succeeded"])
    assert not both.matches(document(conclusion="failure"))


def test_options_are_text() -> None:
    """A source called 1 is not a number; a quoted one is what it says."""
    assert Predicate.parse(source="1", to="true").terms == (Term("@source", "=", "1"), Term("@to", "=", "true"))
    assert Predicate.parse(source='"fs"') == Predicate.parse(source="fs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": ""}, "--source is empty"),
        ({"repo": "hello"}, "--repo 'hello' is not a repository"),
        ({"conditions": " "}, "--cond is empty"),
        ({"evaluators": "cel"}, "--eval 'cel' is not NAME:EXPR"),
        ({"match": [f"k{n}=1" for n in range(TERMS_MAX + 1)]}, "65 terms in one predicate"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    """Each with the option's name."""
    with pytest.raises(InvalidPredicate) as caught:
        Predicate.parse(**options)
    assert caught.value.message == message
    assert caught.value.hint


def test_an_unknown_condition_is_told_at_once() -> None:
    """A misspelled `--cond` does not wait."""
    with pytest.raises(EvaluatorUnavailableError, match="no condition 'fialed' is installed") as caught:
        Predicate.parse(conditions="fialed")
    assert "failed, finished, succeeded" in caught.value.hint


def test_the_payload_is_read_last_and_only_if_needed() -> None:
    """A predicate that fails on a column never fetches a payload."""

    def unreadable() -> str:
        raise AssertionError("the payload was read")

    seen = Document({"source": "fs"}, {}, unreadable)
    assert not Predicate.parse(["payload.x=1", "y=2", "source=docker"]).matches(seen)


# -- clauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ('summary="a,b",x=1', ['summary="a,b"', "x=1"]),
        (r'summary="a\",b",x=1', [r'summary="a\",b"', "x=1"]),
        ("path~=^[a,b]{1,2}$,x=1", ['path~="^[a,b]{1,2}$"', "x=1"]),
        ('x={"a": [1, 2]},y=1', [r'x="{\"a\": [1, 2]}"', "y=1"]),
        ('summary="]",x=1', ['summary="]"', "x=1"]),
        ("path=a]b,x=1", ['path="a]b"', "x=1"]),
        (r"path~=\[a,x=1", [r'path~="\\[a"', "x=1"]),
        ("x=1,x=2", ["x=1", "x=2"]),
        ("url=http://h/a:b,x=1", ['url="http://h/a:b"', "x=1"]),
        ("fs:path=a:b", ['path="a:b"', '@source="fs"']),
        ("fields.a:b=1", ["fields.a:b=1"]),
        ("docker:exit_code?", ["exit_code?", '@source="docker"']),
    ],
)
def test_commas_and_colons(text: str, terms: list[str]) -> None:
    """Commas inside of quotes, brackets and braces do not separate; only a leading NAME: is a source."""
    assert parse_clause(text).predicate.wire() == terms


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("", "has no term", "[SOURCE:]KEY=VALUE"),
        ("pytest:", "has no term", "pytest:conclusion=failure"),
        ("pytest", "'pytest' is not a term", "KEY=VALUE"),
        ("localhost:5432", "'5432' is not a term", "KEY=VALUE"),
        ("x=1,", "'' is not a term", "KEY=VALUE"),
        ("x=1,,y=2", "'' is not a term", "KEY=VALUE"),
        ("summary=a,b", "'b' is not a term", "quote a value that has a comma"),
        ("x=1,conclusion=", "'conclusion=' has no value", 'conclusion=""'),
        ('x="a,y=1', "has a quote that does not end", "quote the whole value"),
        ("x=[a,y=1", "has a bracket that does not end", "quote the whole value"),
    ],
)
def test_what_is_no_clause(text: str, says: str, hint: str) -> None:
    """The whole clause and the part at fault are both named."""
    with pytest.raises(InvalidPredicate) as caught:
        parse_clause(text, what="--all-of")
    assert caught.value.message.startswith(f"--all-of {text!r}")
    assert says in caught.value.message
    assert hint in caught.value.hint


def test_a_source_that_cannot_be_one() -> None:
    """Sources are lower-case names; waiting for another would be for ever."""
    with pytest.raises(InvalidName, match="'Docker' cannot be a source"):
        parse_clause("Docker:name=db")


@given(st.text(max_size=40))
def test_any_text_is_a_clause_or_refused(text: str) -> None:
    """No text crashes the parser, and what it takes survives the wire."""
    try:
        clause = parse_clause(text)
    except (InvalidPredicate, InvalidName, EvaluatorUnavailableError):
        return
    assert Predicate.from_wire(clause.predicate.wire()) == clause.predicate


# -- the prefilter and the wire ----------------------------------------------------------------------------------------


def test_the_prefilter_keeps_what_is_quick() -> None:
    """No regular expressions, payloads or code of others run in the daemon (ARCHITECTURE A10)."""
    predicate = Predicate.parse(
        ["x=1", "x=2", "y~=a", "payload.z=1", "payload.z=2", "seq>5"], source="fs", repo="o/r", conditions="failed"
    )
    assert predicate.prefilter().wire() == ["x=1", "x=2", "seq>5", '@source="fs"', '@repo="o/r"']


@given(st.lists(PREDICATES, max_size=3), DOCUMENTS)
def test_the_daemon_never_lets_through_too_little(predicates: list[Predicate], seen: Document) -> None:
    """Whatever the whole matches, its prefilter matches, also after a trip over the wire."""
    for predicate in predicates:
        if predicate.matches(seen):
            assert predicate.prefilter().matches(seen)
    wanted = Wanted.of(predicates)
    assert wanted.matches(seen) is any(predicate.matches(seen) for predicate in predicates)
    if wanted.matches(seen):
        assert Wanted.from_wire(wanted.prefilter().wire()).matches(seen)


@given(PREDICATES)
def test_a_predicate_survives_the_wire(predicate: Predicate) -> None:
    """The client's text is JSON, and reads as the same predicate on the other side."""
    sent = json.loads(json.dumps(predicate.wire()))
    assert Predicate.from_wire(sent) == predicate
    assert Wanted.from_wire([sent]) == Wanted((predicate,))


@given(PREDICATES, DOCUMENTS)
def test_equalities_are_necessary(predicate: Predicate, seen: Document) -> None:
    """An event that matches has, at each of these paths, one of these values."""
    if predicate.matches(seen):
        for path, values in predicate.equalities().items():
            value = seen.get(path)
            assert (value.__class__ is bool, value) in values


def test_equalities_keep_types_apart() -> None:
    """A dict takes True for 1; the index must not."""
    assert Predicate.parse(["x=1", "x=true", 'x="1"', "y>1"]).equalities() == {
        Path("fields", "x"): {(False, 1), (True, True), (False, "1")}
    }


def test_from_the_wire_nothing_is_compiled() -> None:
    """A daemon that only takes the prefilter must not load what a client names."""
    predicate = Predicate.from_wire(["x~=(", '@cond="nowhere"', '@eval="cel:x"', "y=1"])
    assert predicate.prefilter().wire() == ["y=1"]


@pytest.mark.parametrize(
    "sent",
    [
        *(None, {}, "x=1", [], ["x=1"], [None], [[1]], [["x"]], [[["x=1"]]], [["@nope=1"]]),
        *([[]] * (ALTERNATIVES_MAX + 1), [["x=1"] * (TERMS_MAX + 1)], [["x=" + "a" * 5000]], [["@repo=x"]]),
    ],
)
def test_garbage_on_the_wire_is_refused(sent: Any) -> None:
    """Other people's clients get an error, not an exception of ours."""
    with pytest.raises(InvalidPredicate):
        Wanted.from_wire(sent)


def test_limits_of_the_wire() -> None:
    """64 alternatives of 64 terms are taken."""
    wanted = Wanted.from_wire([[f"k{n}=1" for n in range(TERMS_MAX)]] * ALTERNATIVES_MAX)
    assert len(wanted.alternatives) == ALTERNATIVES_MAX
    with pytest.raises(InvalidPredicate, match="65 alternatives in one wait"):
        Wanted.of(Predicate.parse(f"x={n}") for n in range(ALTERNATIVES_MAX + 1))


def test_a_union_has_each_alternative_once() -> None:
    """Clauses that the daemon cannot tell apart are one to it."""
    wanted = Wanted.of([parse_clause("fs:path~=a"), parse_clause("fs:path~=b"), Predicate.parse(source="fs")])
    assert len(wanted.alternatives) == 3
    assert wanted.prefilter() == Wanted((Predicate.parse(source="fs"),))
    assert not Wanted().matches(document())


# -- what the verdict rules ask ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicate", "conclusion", "status", "status_or_action"),
    [
        (Predicate.parse("conclusion=failure"), True, False, False),
        (Predicate.parse("fields.conclusion?"), True, False, False),
        (Predicate.parse("conclusion!=success"), True, False, False),
        (Predicate.parse("payload.workflow_run.conclusion=failure"), True, False, False),
        (Predicate.parse("status=queued"), False, True, True),
        (Predicate.parse("action=start"), False, False, True),
        (Predicate.parse("payload.action=requested"), False, False, True),
        (Predicate.parse(conditions="failed"), True, False, False),
        (Predicate.parse(conditions="succeeded"), True, False, False),
        (Predicate.parse(conditions="finished"), False, False, False),
        (Predicate.parse("name=conclusion", source="fs"), False, False, False),
    ],
)
def test_what_a_predicate_names(predicate: Predicate, conclusion: bool, status: bool, status_or_action: bool) -> None:
    """A term on a key names it, with any operator."""
    named = predicate.names_conclusion, predicate.names_status, predicate.names_status_or_action
    assert named == (conclusion, status, status_or_action)


def test_what_event_type_and_sources_a_predicate_names() -> None:
    """Only `=` names a type; sources are named by the option or a term."""
    predicate = Predicate.parse(["event_type=a", "event_type=b", "event_type^=c", "source=fs"])
    assert [predicate.names_event_type(each) for each in "abc"] == [True, True, False]
    assert predicate.sources == {"fs"}
    assert Predicate.parse(source=["fs", "docker"]).sources == {"fs", "docker"}
    assert Predicate.parse("source^=f").sources == frozenset()


def test_a_clause_is_plain_data() -> None:
    """Equal texts are equal clauses."""
    assert parse_clause("fs:x=1") == Clause("fs:x=1", Predicate((parse_term("x=1"), Term("@source", "=", "fs"))), "fs")
