"""Predicates: terms that all hold. Clauses: a predicate with a source. `Wanted`: any of several predicates.

The daemon evaluates the *prefilter* of what it is sent (no regular expressions, payloads or code of others); the client
evaluates the whole on what arrives. So the daemon may let through too much, never too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

from waitbus.conditions import ASK_FOR_A_CONCLUSION, register_condition, register_evaluator
from waitbus.document import Document, Path
from waitbus.errors import InvalidName, InvalidPredicate
from waitbus.event_checks import shown
from waitbus.terms import Term, Value, parse_term, parse_value

__all__ = [
    "Clause",
    "Document",
    "Predicate",
    "Term",
    "Wanted",
    "parse_clause",
    "parse_term",
    "register_condition",
    "register_evaluator",
]

ALTERNATIVES_MAX = 64
TERMS_MAX = 64

Texts = str | Iterable[str] | None
HashedValue = tuple[bool, Value]
"""(is a bool, the value): in a dict, True would find 1."""

_SOURCE = Path("column", "source")
_EVENT_TYPE = Path("column", "event_type")
_CLAUSE_SOURCE = re.compile(r"\s*([^\s=!<>^*~?\"'.,:]+):(?!=)")
_CLAUSE_HINT = "write [SOURCE:]KEY=VALUE[,KEY=VALUE...], as in pytest:conclusion=failure"
_TEXTS_HINT = "give a string, or a list of strings"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


def _groups(terms: Iterable[Term]) -> tuple[tuple[Term, ...], ...]:
    """Terms that OR, in groups that AND, the cheap ones first and the payload last."""
    found: dict[object, list[Term]] = {}
    for term in terms:
        found.setdefault(_group_key(term, len(found)), []).append(term)
    return tuple(tuple(group) for group in sorted(found.values(), key=lambda group: _cost(group[0])))


def _group_key(term: Term, number: int) -> object:
    if term.op != "=" or term.key in ("@cond", "@eval"):
        return number
    return term.key if term.key.startswith("@") else term.path


def _cost(term: Term) -> int:
    if term.path.root == "column":
        return 0
    if term.is_light:
        return 1
    return 3 if term.path.root == "payload" else 2 if term.op == "~=" else 4


@attrs.frozen
class Predicate:
    """Terms that all hold; only several `=` on one key are alternatives. Without a term it matches every event."""

    terms: tuple[Term, ...] = ()
    groups: tuple[tuple[Term, ...], ...] = attrs.field(init=False, eq=False, repr=False)

    @groups.default
    def _grouped(self) -> tuple[tuple[Term, ...], ...]:
        return _groups(self.terms)

    def __attrs_post_init__(self) -> None:
        if len(self.terms) > TERMS_MAX:
            raise InvalidPredicate(
                f"{len(self.terms)} terms in one predicate", hint=f"a predicate has {TERMS_MAX} at most"
            )

    @classmethod
    def parse(
        cls,
        match: Texts | Predicate = None,
        *,
        source: Texts = None,
        to: Texts = None,
        repo: Texts = None,
        conditions: Texts = None,
        evaluators: Texts = None,
        what: str = "",
    ) -> Predicate:
        """The predicate of what a caller gave: terms, or a predicate, and the options that stand for terms.

        Several sources are alternatives of each other, never of a term on `source`. `what` names the option of the terms in
        errors.

        Raises:
          InvalidPredicate, EvaluatorUnavailableError: as `parse_term`.
        """
        if isinstance(match, Predicate):
            terms = list(match.terms)
        else:
            terms = [parse_term(text, what=what) for text in _texts(match, what or "match")]
        options = {"@source": source, "@to": to, "@repo": repo, "@cond": conditions, "@eval": evaluators}
        for key, given in options.items():
            terms += [_option(key, text) for text in _texts(given, key[1:])]
        return cls(tuple(terms))

    @classmethod
    def from_wire(cls, texts: object) -> Predicate:
        """The predicate that `wire` wrote; regular expressions and conditions are not compiled until they are used."""
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InvalidPredicate(
                "a predicate on the wire is no list of strings", hint='["fields.source=\\"pytest\\""]'
            )
        return cls(tuple(parse_term(text, compiled=False) for text in texts))

    def wire(self) -> list[str]:
        """The terms as canonical text."""
        return [str(term) for term in self.terms]

    def matches(self, document: Document) -> bool:
        """Whether every group of terms has one that holds."""
        for group in self.groups:
            for term in group:
                if term.matches(document):
                    break
            else:
                return False
        return True

    def prefilter(self) -> Predicate:
        """What the daemon evaluates: true wherever the whole is, and never slow."""
        light = tuple(term for term in self.terms if term.is_light)
        return self if len(light) == len(self.terms) else Predicate(light)

    def equalities(self) -> dict[Path, set[HashedValue]]:
        """Where a matching event must have one of which values, for the hub's index."""
        found: dict[Path, set[HashedValue]] = {}
        for group in self.groups:
            path = group[0].path
            if group[0].op != "=" or path.root == "special":
                continue
            values: set[HashedValue] = {
                (term.value.__class__ is bool, term.value) for term in group if term.value is not None
            }
            found[path] = found[path] & values if path in found else values
        return found

    def describe(self) -> str:
        """The predicate in words: `fields.conclusion="failure" on pytest`."""
        plain = [group for group in self.groups if not group[0].key.startswith("@") and group[0].said != ""]
        words = [" and ".join(_either(map(_said, group), len(plain) > 1) for group in plain) or "any event"]
        for key, word in (("@cond", "that"), ("@eval", "where"), ("@source", "on"), ("@repo", "in"), ("@to", "to")):
            values = [str(term.value) for term in self.terms if term.key == key]
            if values:
                words.append(f"{word} {(' and ' if key in ('@cond', '@eval') else ' or ').join(values)}")
        return " ".join(words)

    # -- what the verdict rules ask --

    @property
    def sources(self) -> frozenset[str]:
        """The sources that are asked for by name; empty where any will do."""
        return frozenset(str(value) for _, value in self.equalities().get(_SOURCE, ()))

    @property
    def names_conclusion(self) -> bool:
        """Whether a term (or a condition such as `failed`) asks for a conclusion, so that a match is a yes."""
        asked = (term.key == "@cond" and term.value in ASK_FOR_A_CONCLUSION for term in self.terms)
        return self._names("conclusion") or any(asked)

    @property
    def names_status(self) -> bool:
        return self._names("status")

    @property
    def names_status_or_action(self) -> bool:
        return self._names("status") or self._names("action")

    def names_event_type(self, event_type: str) -> bool:
        """Whether a term asks for this very event type."""
        return any(term.path == _EVENT_TYPE and term.op == "=" and term.value == event_type for term in self.terms)

    def _names(self, word: str) -> bool:
        return any(
            term.path.name == word or (term.path.root == "payload" and term.path.name.endswith(f".{word}"))
            for term in self.terms
        )


@attrs.frozen
class Clause:
    """A predicate with the text it was written as, and the source it is about (None: any)."""

    text: str
    predicate: Predicate
    source: str | None = None


def parse_clause(text: str, *, what: str = "") -> Clause:
    """The clause `[source:]term[,term...]`; commas inside of double quotes, brackets and braces do not separate.

    Raises:
      InvalidPredicate, EvaluatorUnavailableError: as `parse_term`.
      InvalidName: what stands before the colon cannot be a source.
    """
    found = _CLAUSE_SOURCE.match(text)
    source = found[1] if found else None
    if source is not None and not _NAME.match(source):
        raise InvalidName(
            f"{what} {text!r}: {source!r} cannot be a source".strip(), hint="source names are a-z, 0-9 and _"
        )
    rest = text[found.end() :] if found else text
    if rest.lstrip().startswith(":"):
        raise InvalidName(f"{what} {text!r} names no source before its colon".strip(), hint=_CLAUSE_HINT)
    if not rest.strip():
        raise InvalidPredicate(f"{what} {text!r} has no term".strip(), hint=_CLAUSE_HINT)
    terms = [_clause_term(part, text, what) for part in _split(rest, text, what)]
    if source is not None:
        terms.append(Term("@source", "=", source))
    return Clause(text, Predicate(tuple(terms)), source)


@attrs.frozen
class Wanted:
    """What a subscriber wants: events that match any of the alternatives. Without one it wants nothing."""

    alternatives: tuple[Predicate, ...] = ()

    def __attrs_post_init__(self) -> None:
        if len(self.alternatives) > ALTERNATIVES_MAX:
            raise InvalidPredicate(
                f"{len(self.alternatives)} alternatives in one wait", hint=f"a wait has {ALTERNATIVES_MAX} at most"
            )

    @classmethod
    def of(cls, parts: Iterable[Predicate | Clause]) -> Wanted:
        """The union of predicates and clauses, each once."""
        return cls(tuple(dict.fromkeys(part.predicate if isinstance(part, Clause) else part for part in parts)))

    @classmethod
    def from_wire(cls, alternatives: object) -> Wanted:
        """What `wire` wrote: a list of lists of terms.

        Raises:
          InvalidPredicate: it has another shape, a term is none, or there are too many.
        """
        if not isinstance(alternatives, list) or not alternatives:
            raise InvalidPredicate("match is no list of lists of terms", hint='[["fields.source=\\"pytest\\""]]')
        if len(alternatives) > ALTERNATIVES_MAX or any(len(a) > TERMS_MAX for a in alternatives if isinstance(a, list)):
            raise InvalidPredicate(
                "match is too large", hint=f"{ALTERNATIVES_MAX} alternatives of {TERMS_MAX} terms at most"
            )
        return cls(tuple(Predicate.from_wire(texts) for texts in alternatives))

    def wire(self) -> list[list[str]]:
        return [predicate.wire() for predicate in self.alternatives]

    def matches(self, document: Document) -> bool:
        for predicate in self.alternatives:  # noqa: SIM110 - any() costs more than most predicates
            if predicate.matches(document):
                return True
        return False

    def prefilter(self) -> Wanted:
        """What the daemon evaluates; alternatives that differ only in what it does not evaluate become one."""
        return Wanted.of(predicate.prefilter() for predicate in self.alternatives)


def parse_clauses(given: str | Clause | Iterable[str | Clause], *, what: str = "") -> tuple[Clause, ...]:
    """The clauses that a caller gave, one or several.

    Raises:
      InvalidPredicate, InvalidName, EvaluatorUnavailableError: as `parse_clause`.
    """
    several = (given,) if isinstance(given, Clause) else _several(given, what)
    return tuple(one if isinstance(one, Clause) else parse_clause(_text(one, what), what=what) for one in several)


def _texts(given: Texts, what: str) -> Sequence[str]:
    return () if given is None else [_text(one, what) for one in _several(given, what)]


def _several(given: object, what: str) -> Iterable[object]:
    if isinstance(given, str):
        return (given,)
    # Bytes are a series too, of numbers.
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise InvalidPredicate(f"{what} {shown(given)} is neither a text nor several".strip(), hint=_TEXTS_HINT)
    return given


def _text(one: object, what: str) -> str:
    if not isinstance(one, str):
        raise InvalidPredicate(f"{what} {shown(one)} is not a text".strip(), hint=_TEXTS_HINT)
    return one


def _option(key: str, text: str) -> Term:
    option = {"@cond": "--cond", "@eval": "--eval"}.get(key) or f"--{key[1:]}"
    value = text.strip() if key in ("@cond", "@eval") else parse_value(text, key)
    if not value:
        raise InvalidPredicate(f"{option} is empty", hint=f"give {option} a name")
    return parse_term(str(Term(key, "=", value)), what=option)


def _clause_term(part: str, text: str, what: str) -> Term:
    try:
        return parse_term(part)
    except InvalidPredicate as error:
        if part == text:
            raise InvalidPredicate(f"{what} {error.message}".strip(), hint=error.hint) from None
        where = f"{what} {text!r}".strip()
        raise InvalidPredicate(f"{where}: {error.message}", hint=_clause_hint(part, error.hint)) from None


def _clause_hint(part: str, hint: str) -> str:
    is_rest = not re.search(r"[=<>?]", part)
    return f'{hint}; quote a value that has a comma: KEY="a,b"' if is_rest else hint


def _split(terms: str, text: str, what: str) -> list[str]:
    parts, start, depth, quoted = [], 0, 0, False
    for found in re.finditer(r'\\.|["\[\]{},]', terms, re.DOTALL):
        mark = found[0]
        if mark == '"':
            quoted = not quoted
        elif quoted or len(mark) > 1:
            continue
        elif mark in "[{":
            depth += 1
        elif mark in "]}":
            depth = max(0, depth - 1)
        elif not depth:
            parts.append(terms[start : found.start()])
            start = found.end()
    if quoted or depth:
        missing = "quote" if quoted else "bracket"
        raise InvalidPredicate(
            f"{what} {text!r} has a {missing} that does not end".strip(), hint='quote the whole value: KEY="..."'
        )
    return [*parts, terms[start:]]


def _said(term: Term) -> str:
    return str(term) if term.said is None else term.said


def _either(words: Iterable[str], inner: bool) -> str:
    several = list(words)
    joined = " or ".join(several)
    return f"({joined})" if inner and len(several) > 1 else joined
