"""What a person is told about a wait that may never end, from what is declared and what the log has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waitbus.errors import LogError, PathError
from waitbus.events import COLUMN_FIELDS, WELL_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waitbus.predicate import Predicate
    from waitbus.store import Log

_CERTAIN = WELL_KNOWN | set(COLUMN_FIELDS)


def of_names(predicates: Iterable[Predicate], log: Log | None) -> list[str]:
    """What can be said at once: names of sources, and values that never compare. Empty for nearly everybody, and then free."""
    from waitbus.cli.spelling import BUILT_IN

    found: list[str] = []
    for predicate in predicates:
        if predicate.sources - set(BUILT_IN) or any(_is_odd(term.op, term.value) for term in predicate.terms):
            from waitbus.doubts import doubts

            known = {*BUILT_IN, *(name for name in predicate.sources if _has_any(log, name))}
            found += doubts(predicate, known, {}, {})
    return list(dict.fromkeys(found))


def of_keys(predicates: Iterable[Predicate], log: Log | None) -> list[str]:
    """Keys of `fields` that the source neither declares nor ever had. Reads the log, so it is asked when the wait is armed."""
    found: list[str] = []
    for predicate in predicates:
        if any(term.path.root == "fields" and term.path.name not in _CERTAIN for term in predicate.terms):
            found += _of_keys(predicate, log)
    return list(dict.fromkeys(found))


def _of_keys(predicate: Predicate, log: Log | None) -> list[str]:
    from waitbus.doubts import doubts
    from waitbus.sources import known_sources
    from waitbus.store import seen

    declared = {name: tuple(spec.fields) for name, spec in known_sources().items()}
    try:
        had = seen.keys_of(log, predicate.sources) if log is not None else {}
    except (LogError, PathError):
        had = {}
    said = [
        one
        for one in doubts(predicate, (*declared, *had, *predicate.sources), declared, had)
        if "ever had a key" in one
    ]
    # Without a source any program's own keys are legal: then only a slip of the hand is worth a word.
    return said if predicate.sources else [one for one in said if "did you mean" in one]


def _is_odd(op: str, value: object) -> bool:
    if op == "?":
        return False
    return value is None or op in ("<", "<=", ">", ">=", "*=") or (isinstance(value, str) and value[:1] in ("'", '"'))


def _has_any(log: Log | None, source: str) -> bool:
    from waitbus.store import seen

    try:
        return log is not None and seen.has_any(log, source)
    except (LogError, PathError):
        return False
