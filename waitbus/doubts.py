"""What a person is told about a predicate that is legal and may still never match. The wait goes on regardless."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain

from waitbus.events import COLUMN_FIELDS, INT_FIELDS, TEXT_FIELDS
from waitbus.predicate import Predicate
from waitbus.terms import Term, written

Keys = Mapping[str, Collection[str]]
"""Keys of `fields` for each source."""

_NUMBERS = {"seq", "received_at", *INT_FIELDS}
_RESERVED = {*COLUMN_FIELDS, *TEXT_FIELDS, *INT_FIELDS}


def doubts(predicate: Predicate, known_sources: Collection[str], declared_keys: Keys, seen_keys: Keys) -> list[str]:
    """Sentences to print after `warning:`, each once.

    A source is doubted when it is unknown and near a known one; a key when it was neither declared nor ever seen, where either is
    known for the source that is asked for (any source, if none is). A collection of sources that is empty doubts nothing.
    """
    found = chain(
        _source_doubts(predicate, known_sources),
        _key_doubts(predicate, known_sources, declared_keys, seen_keys),
        chain.from_iterable(_value_doubts(term) for term in predicate.terms),
    )
    return list(dict.fromkeys(found))


def _source_doubts(predicate: Predicate, known: Collection[str]) -> Iterator[str]:
    for source in sorted(predicate.sources):
        near = None if source in known else _nearest(source, known)
        if near:
            yield f"no source {source!r} is known here; did you mean {near!r}? Waiting anyway."


def _key_doubts(predicate: Predicate, known: Collection[str], declared: Keys, seen: Keys) -> Iterator[str]:
    sources = sorted(predicate.sources)
    about = sources or sorted({*known, *declared, *seen})
    keys = {key for source in about for key in (*declared.get(source, ()), *seen.get(source, ()))}
    if not keys:
        return
    for term in predicate.terms:
        name = term.path.name
        if term.path.root != "fields" or term.key.startswith("@") or _is_known(name, keys | _RESERVED):
            continue
        prefix = "fields." if term.key.startswith("fields.") else ""
        near = _nearest(name, keys | _RESERVED)
        asked = f"; did you mean '{prefix}{near}'?" if near else ""
        yield f"no {_either(sources)}event ever had a key '{term.key}'{asked}"


def _value_doubts(term: Term) -> Iterator[str]:
    value, text = term.value, str(term)
    if term.op != "?" and value is None:
        yield f"{text} is {'always' if term.op == '!=' else 'never'} true: null is the same as absent; write {term.key}?"
    if term.op in ("<", "<=", ">", ">="):
        if isinstance(value, bool):
            yield f"{text} is never true: only numbers and texts have an order"
        elif isinstance(value, str) and term.path.root != "payload" and term.path.name in _NUMBERS:
            yield f"{text} compares a text with a number, which is never true"
        elif isinstance(value, str) and term.is_text and _is_numeric(value):
            yield f"{text} compares texts, character by character; 10 comes before 9"
        elif not isinstance(value, str) and term.is_text:
            yield f"{text} compares a number with a text, which is never true"
    if term.op == "*=" and isinstance(value, (int, float)):
        yield f'{text} looks for {written(value)} in a list; to look inside of a text write {term.key}*="{written(value)}"'
    if isinstance(value, str) and value[:1] in ("'", '"') and term.op != "~=":
        yield f"{text} has a quote as part of its value; the shell needs one around the whole term, the term none"


def _is_numeric(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()


def _is_known(name: str, keys: Collection[str]) -> bool:
    return name in keys or name.partition(".")[0] in keys


def _either(sources: Collection[str]) -> str:
    return f"{' or '.join(sources)} " if sources else ""


def _nearest(name: str, known: Collection[str]) -> str | None:
    from difflib import get_close_matches  # only a wrong name needs it

    by_lower = {each.lower(): each for each in sorted(known)}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None
