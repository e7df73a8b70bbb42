"""What a person is told about a wait that may never end, from what is declared and what the log has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from waitbus.errors import LogError, PathError
from waitbus.events import COLUMN_FIELDS, WELL_KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waitbus.cli.asking import Asked
    from waitbus.client.session import Session
    from waitbus.predicate import Predicate
    from waitbus.store import Log

T = TypeVar("T")

_CERTAIN = WELL_KNOWN | set(COLUMN_FIELDS)


def of_names(predicates: Iterable[Predicate], session: Session) -> list[str]:
    """What can be said at once: names of sources, and values that never compare. Nearly always nothing, and then free."""
    from waitbus.cli.spelling import BUILT_IN, near_source

    found: list[str] = []
    for predicate in predicates:
        strange = predicate.sources - set(BUILT_IN)
        if strange or any(_is_odd(term.op, term.value) for term in predicate.terms):
            from waitbus.doubts import doubts

            had = _that_came(session, strange)
            own = {name for name in strange if near_source(name) is None}
            found += doubts(predicate, {*BUILT_IN, *had, *own}, {}, {})
    return list(dict.fromkeys(found))


def of_keys(predicates: Iterable[Predicate], session: Session) -> list[str]:
    """Keys of `fields` that the source neither declares nor ever had. Reads the log, so it is asked when the wait is armed."""
    found: list[str] = []
    for predicate in predicates:
        if any(term.path.root == "fields" and term.path.name not in _CERTAIN for term in predicate.terms):
            found += _of_keys(predicate, session)
    return list(dict.fromkeys(found))


def of_health(sources: frozenset[str], session: Session) -> dict[str, str]:
    """Those of the sources that the log says are down, with the reason of each."""
    from waitbus.client.aside import UNRUN
    from waitbus.store import seen

    if not sources - UNRUN:
        return {}
    nothing: dict[str, str] = {}
    down = _ask(session, seen.sources_down, nothing)
    return {name: reason for name, reason in sorted(down.items()) if name in sources}


def of_delivery(asked: Asked, session: Session) -> str:
    """GitHub's events come from outside: where none ever came, nothing may be listening. Empty where some did."""
    wants = any("github" in predicate.sources for predicate in asked.predicates) or asked.states
    if not wants:
        return ""
    from waitbus.store import seen

    if _ask(session, lambda log: seen.has_any(log, "github", asked.repo), True):
        return ""
    return f"nothing here listens to {asked.repo or 'GitHub'}; this ends only if something emits such an event"


def _of_keys(predicate: Predicate, session: Session) -> list[str]:
    from waitbus.doubts import doubts
    from waitbus.sources import known_sources
    from waitbus.store import seen

    declared = {name: tuple(spec.fields) for name, spec in known_sources().items()}
    nothing: dict[str, set[str]] = {}
    had = _ask(session, lambda log: seen.keys_of(log, predicate.sources), nothing)
    said = [
        one for one in doubts(predicate, {*declared, *had, *predicate.sources}, declared, had) if "had a key" in one
    ]
    # Without a source any program's own keys are legal: then only a slip of the hand is worth a word.
    return said if predicate.sources else [one for one in said if "did you mean" in one]


def _that_came(session: Session, names: frozenset[str]) -> frozenset[str]:
    """Those of the sources that the log has events of; all where it cannot be asked."""
    from waitbus.store import seen

    return _ask(session, lambda log: frozenset(name for name in names if seen.has_any(log, name)), names)


def _is_odd(op: str, value: object) -> bool:
    if op == "?":
        return False
    return value is None or op in ("<", "<=", ">", ">=", "*=") or (isinstance(value, str) and value[:1] in ("'", '"'))


def _ask(session: Session, question: Callable[[Log], T], otherwise: T) -> T:
    """The log's answer. A program that may use the socket need not be able to read the log."""
    try:
        return question(session.log)
    except (LogError, PathError):
        return otherwise
