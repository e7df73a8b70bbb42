"""What a wait hears besides what it is for: that a source which it depends on went down, or is back.

One alternative in the subscription that there is anyway. It ends no wait and counts for none (`Plan.aside`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waitbus.predicate import Predicate, Term

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waitbus.events import EventFrame

UNRUN = frozenset({"agent", "alertmanager", "http", "process", "pytest", "waitbus"})
"""Sources that nobody runs, so that they cannot go down: their events come in by themselves. A test compares the declarations."""

SOURCES_MAX = 32
"""Of the sources that a wait names, how many are heard of."""


def aside_of(sources: Iterable[str]) -> Predicate | None:
    """The alternative for these sources; None where none of them is one that runs."""
    names = sorted(set(sources) - UNRUN)[:SOURCES_MAX]
    if not names:
        return None
    types = [Term("event_type", "=", event_type) for event_type in ("source_down", "source_up")]
    return Predicate((*types, *(Term("name", "=", name) for name in names), Term("@source", "=", "waitbus")))


def health_of(frame: EventFrame) -> tuple[str, str | None]:
    """What such an event says: the source, and why it is down (None: it is up)."""
    name, reason = str(frame.fields.get("name") or ""), str(frame.fields.get("reason") or "")
    return name, reason if frame.event_type == "source_down" else None
