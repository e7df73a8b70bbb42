"""The grammar of one term: what is read, what it says canonically, and when it holds."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.documents import DOCUMENTS, SCALARS, TERMS, document
from waitbus.errors import EvaluatorUnavailableError, InvalidPredicate
from waitbus.events import encodable
from waitbus.terms import KEY_MAX, PATTERN_MAX, VALUE_MAX, Term, parse_term, parse_value, pattern, written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("name=build", "build"),
        ('name="build"', "build"),
        ('name="two words"', "two words"),
        ('name=""', ""),
        (r'name="a\"b\u00e9"', 'a"bé'),
        ("name= build ", "build"),
        ("exit_code=1", 1),
        ("exit_code=-1", -1),
        ("exit_code=0", 0),
        ("ratio=1.5", 1.5),
        ("ratio=-0.25", -0.25),
        ("ok=true", True),
        ("ok=false", False),
        ("ok=null", None),
        ('ok="true"', "true"),
        ('exit_code="1"', "1"),
        ("run_id=77", 77),
        ("seq=7", 7),
        ("fields.head_sha=1234567", "1234567"),
        ("head_sha=12e4567", "12e4567"),
        ("head_sha=true", "true"),
        ("conclusion=null", "null"),
        ("fields.conclusion=1", "1"),
        ("msg_body=42", "42"),
        ("summary*=404", "404"),
        ("x=12e4567", "12e4567"),
        ("x=NaN", "NaN"),
        ("x=Infinity", "Infinity"),
        ("x=-Infinity", "-Infinity"),
        ("x=1e5", "1e5"),
        ("x=1_000", "1_000"),
        ("x=+1", "+1"),
        ("x=1.", "1."),
        ("x=.5", ".5"),
        ("x=007", "007"),
        ("x=٣", "٣"),
        ("x=True", "True"),
        ("x=[1]", "[1]"),
        ("x={}", "{}"),
        ('x="open', '"open'),
        ("x='q'", "'q'"),
        ("x=" + "9" * 400 + ".5", "9" * 400 + ".5"),
        ("x=a=b", "a=b"),
        ("x=>1", ">1"),
        ("url=http://h/?a=1", "http://h/?a=1"),
        ("payload.n=5", 5),
        ("version^=1.4", "1.4"),
        (r"path~=\d+", r"\d+"),
        (r'path~="\\d+"', r"\d+"),
    ],
)
def test_values(text: str, value: object) -> None:
    """Text for text keys, plain JSON scalars for others, and everything else is itself (ARCHITECTURE B9)."""
    term = parse_term(text)
    assert (term.value, type(term.value)) == (value, type(value))


@pytest.mark.parametrize("op", ["=", "!=", "<", "<=", ">", ">=", "^=", "*=", "~="])
def test_operators(op: str) -> None:
    """Each operator is read as the longest one that stands there, blanks around it or not."""
    assert parse_term(f"name{op}b") == parse_term(f" name {op} b") == Term("name", op, "b")


def test_exists() -> None:
    """`KEY?` has no value."""
    assert parse_term("fields.exit_code?") == Term("fields.exit_code", "?")


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("", "'' is not a term", "write KEY=VALUE"),
        ("failed", "'failed' is not a term", "KEY? (exists)"),
        ("=x", "'=x' is not a term", "KEY=VALUE"),
        ("a!b", "is not a term", "!="),
        ("two words=1", "is not a term", "KEY=VALUE"),
        ("fields.conclusion=", "'fields.conclusion=' has no value", 'fields.conclusion=""'),
        ("conclusion!=  ", "has no value", "conclusion?"),
        ("conclusion==failure", "one = too many", "write conclusion=failure"),
        ("a?b", "something after the ?", "write a?"),
        ("a?=b", "something after the ?", "write a?"),
        ("a..b=1", "empty part", "KEY"),
        ("fields.=1", "empty part", "KEY"),
        (".a=1", "empty part", "KEY"),
        ("payload=1", "no key inside of payload", "payload.KEY"),
        ("fields?", "no key inside of fields", "fields.KEY"),
        ("@nope=1", "is not a term", "@source"),
        ("@source!=fs", "is not a term", "with ="),
        ("@repo=hello", "is not a repository", "owner/name or owner/*"),
        ("@repo=a/b/c", "is not a repository", "owner/name or owner/*"),
        ("@repo=*/*", "is not a repository", "owner/name or owner/*"),
        ("@repo=a/b*", "is not a repository", "owner/name or owner/*"),
        ("a" * (KEY_MAX + 1) + "=1", "key of 257 characters", "256"),
        ("a=" + "b" * (VALUE_MAX + 1), "value of 4097 characters", "4096"),
        ("a~=" + "b" * (PATTERN_MAX + 1), "pattern of 257 characters", "256"),
        ("a=" + " " * 40_000, "has 40002 characters", "32768"),
        ("a~=(", "not a regular expression", "RE2"),
        (r"a~=(x)\1", "not a regular expression", "back-references"),
        ("a~=(?=x)", "not a regular expression", "look-around"),
        ("@eval=cel", "is not NAME:EXPR", "colon"),
    ],
)
def test_what_is_no_term(text: str, says: str, hint: str) -> None:
    """Each mistake is named with the text and the way to write it."""
    with pytest.raises(InvalidPredicate) as caught:
        parse_term(text)
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert len(caught.value.message) < 200


def test_the_option_is_named_in_the_error() -> None:
    """People look for the word they typed."""
    with pytest.raises(InvalidPredicate, match=r"^--match 'x' is not a term$"):
        parse_term("x", what="--match")


@given(TERMS)
def test_a_term_is_what_its_text_says(term: Term) -> None:
    """`str` is canonical: it parses to an equal term, and says the same again."""
    again = parse_term(str(term))
    assert again == term
    assert hash(again) == hash(term)
    assert str(again) == str(term)


@given(
    st.sampled_from(["x", "fields.x", "payload.x", "seq"]),
    st.sampled_from(["=", "!=", "<", "*="]),
    st.text(max_size=20)
    | st.text(st.characters(categories=["Cc", "Cf"]), max_size=5)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none(),
)
def test_every_value_survives_its_text(key: str, op: str, value: Any) -> None:
    """Whatever a program puts into a term (controls, bidi marks, huge and tiny floats) comes back."""
    term = Term(key, op, value)
    assert parse_term(str(term)) == term


@pytest.mark.parametrize("text", ["x=\ud800", r'x="\ud800"', 'x="\ud800"', "head_sha=\ud800"])
def test_bytes_that_are_no_text_become_what_the_log_makes_of_them(text: str) -> None:
    """Lone surrogates are replaced as `EventInsert` replaces them, so that the two can meet and both can travel."""
    term = parse_term(text)
    assert term.value == encodable("\ud800")
    assert parse_term(str(term)) == term
    str(term).encode()


@given(st.text(max_size=30))
def test_any_text_is_a_term_or_refused(text: str) -> None:
    """No text crashes the parser, and what it takes is canonical."""
    try:
        term = parse_term(text)
    except (InvalidPredicate, EvaluatorUnavailableError):
        return
    assert parse_term(str(term)) == term


@given(st.text(min_size=1, max_size=300))
def test_the_longest_value_can_be_sent(text: str) -> None:
    """Escaping never makes a legal term too long to be read back."""
    term = Term("x", "=", (text * VALUE_MAX)[:VALUE_MAX])
    assert parse_term(str(term)) == term


def test_terms_of_other_types_differ() -> None:
    """1 is not true, in a comparison and in a set."""
    assert Term("x", "=", 1) != Term("x", "=", True)
    assert len({Term("x", "=", 1), Term("x", "=", True), Term("x", "=", 1.0), Term("x", "=", "1")}) == 3


F: dict[str, Any] = {
    "n": 1, "f": 1.5, "yes": True, "no": False, "s": "abc", "list": [1, "two", True], "null": None, "empty": "", "o": {"k": 1}
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("n=1", True),
        ("n=1.0", True),
        ("n=true", False),
        ('n="1"', False),
        ("yes=true", True),
        ("yes=1", False),
        ("yes!=1", True),
        ("no=0", False),
        ("no=false", True),
        ("no?", True),
        ("empty?", True),
        ('empty=""', True),
        ("null?", False),
        ("missing?", False),
        ("null=null", False),
        ("missing=null", False),
        ("null!=x", True),
        ("missing!=x", True),
        ("missing!=null", True),
        ("n!=1", False),
        ("n!=2", True),
        ("missing<1", False),
        ("missing>=0", False),
        ("missing^=a", False),
        ("missing*=a", False),
        ("missing~=.*", False),
        ("n<2", True),
        ("n<=1", True),
        ("n>1", False),
        ("n>=1.0", True),
        ("f>1", True),
        ("yes>0", False),
        ("n>false", False),
        ("yes>=true", False),
        ("s<b", True),
        ("s>ABC", True),
        ("s>1", False),
        ("n<a", False),
        ("list<2", False),
        ("s^=ab", True),
        ("s^=b", False),
        ("n^=1", False),
        ("s*=bc", True),
        ("s*=cb", False),
        ('s*=""', True),
        ("list*=1", True),
        ("list*=two", True),
        ("list*=tw", False),
        ("list*=true", True),
        ("list*=2", False),
        ("list*=null", False),
        ("list.0=1", True),
        ("list.-1=true", True),
        ("o*=k", False),
        ("o.k=1", True),
        ("list=1", False),
        ("s~=^a.c$", True),
        ("s~=b", True),
        ("s~=^b", False),
        ("n~=1", False),
        ("conclusion=failure", True),
        ("fields.conclusion=failure", True),
        ("conclusion=Failure", False),
        ("event_type=pytest_session", True),
        ("seq>=7", True),
        ("received_at>1738324799000000000", True),
        ("payload.a.b=1", True),
        ("payload.a.b=2", False),
        ("payload.z?", False),
        ("@source=pytest", True),
        ("@to=bob", False),
        ("@repo=local/pytest", True),
        ("@repo=LOCAL/*", True),
        ("@repo=local/py", False),
        ("@repo=loc/*", False),
        ("@cond=failed", True),
        ("@cond=succeeded", False),
    ],
)
def test_evaluation(text: str, holds: bool) -> None:
    """Types are exact; absent and null are the same, and only `?` and `!=` see them (ARCHITECTURE B8, B10)."""
    assert parse_term(text).matches(document('{"a": {"b": 1}}', F)) is holds


@pytest.mark.parametrize("text", ["n<a", "s>=1"])
def test_an_order_between_text_and_number_is_doubted(text: str) -> None:
    """It is false, and whoever waits is told once."""
    seen = document(fields=F)
    term = parse_term(text)
    assert not term.matches(seen)
    assert not term.matches(seen)
    (said,) = seen.doubts.values()
    assert "which is never true" in said


@given(DOCUMENTS, TERMS)
def test_unequal_is_not_equal(seen: Any, term: Term) -> None:
    """`!=` is the exact negation of `=`, whatever is there or not."""
    if term.key.startswith("@"):
        return
    assert Term(term.key, "!=", term.value).matches(seen) is not Term(term.key, "=", term.value).matches(seen)


@given(SCALARS)
def test_a_value_is_written_as_it_is_read(value: Any) -> None:
    """`--field` and `--match` share one rule for values."""
    again = parse_value(written(value), "x")
    assert (again, isinstance(again, bool)) == (value, isinstance(value, bool))


def test_a_pattern_takes_linear_time() -> None:
    """What froze the prototype for 3 s on 27 characters is answered at once on a thousand times as many."""
    began = time.monotonic()
    assert not parse_term("s~=(a+)+$").matches(document(fields={"s": "a" * 60_000 + "!"}))
    assert time.monotonic() - began < 2


def test_a_pattern_sees_64_kib() -> None:
    """The input is cut in bytes, between characters."""
    term = parse_term("s~=x$")
    assert term.matches(document(fields={"s": "é" * 32_000 + "x"}))
    assert not term.matches(document(fields={"s": "é" * 33_000 + "x"}))
    assert parse_term("s~=^é+$").matches(document(fields={"s": "aé"[1:] * 40_000}))
    assert parse_term("s~=^aé+$").matches(document(fields={"s": "a" + "é" * 40_000}))


def test_a_pattern_takes_any_text() -> None:
    """Lone surrogates in a field are no error."""
    assert parse_term("s~=^a.b$").matches(document(fields={"s": "a\ud800b"}))


def test_without_re2_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `~=` needs it, and only when it is used."""
    monkeypatch.setitem(sys.modules, "re2", None)
    pattern.cache_clear()
    with pytest.raises(EvaluatorUnavailableError) as caught:
        parse_term("s~=never seen before")
    assert "pip install google-re2" in caught.value.hint
    parse_term("s~=never seen before", compiled=False)
    parse_term("s*=x")
