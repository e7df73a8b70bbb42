"""What a wait does for itself besides reading the log: the clauses that it adds, and the source that is run for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from waitbus.client.steps import Note
from waitbus.errors import InvalidWait
from waitbus.event_checks import shown
from waitbus.predicate import Clause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waitbus.client.plan import State
    from waitbus.client.session import Session
    from waitbus.client.waits import Source
    from waitbus.predicate import Predicate, Wanted

Tell = Callable[[Note], None]
"""Who is told what a person may want to know of a source."""


class Beside(Protocol):
    """A process, a port, a folder: what a caller hands to a wait. It begins with the wait and ends with it."""

    @property
    def clauses(self) -> Sequence[tuple[Clause, State]]:
        """What has to be so, besides what the log tells; empty for a source that writes events."""

    @property
    def predicate(self) -> Predicate | None:
        """The events that it is about, for a wait that names none by itself."""

    def source(self, wanted: Wanted, tell: Tell, session: Session | None = None) -> Source:
        """The source, made anew for one wait that is for `wanted` and hears the log by `session`.

        Raises:
          WaitbusError: it cannot be run as it was asked for.
        """


def states_of(several: Iterable[Beside]) -> list[tuple[Clause, State]]:
    """The clauses of all of them."""
    return [clause for one in several for clause in one.clauses]


def implied(several: Iterable[Beside]) -> tuple[Clause, ...]:
    """What a wait is for that names nothing: an event of any of these."""
    predicates = (one.predicate for one in several)
    return tuple(Clause(predicate.describe(), predicate) for predicate in predicates if predicate is not None)


def checked(several: object) -> tuple[Beside, ...]:
    """What a caller gave as `sources`.

    Raises:
      InvalidWait: it is no list, or one of it is nothing that a wait can run.
    """
    hint = "give a list, as in sources=[waitbus.ready_port('localhost:5432')]"
    if isinstance(several, str) or not isinstance(several, Iterable):
        raise InvalidWait(f"sources {shown(several)} is no list of sources", hint=hint)
    found = tuple(several)
    for one in found:
        if isinstance(one, type) or not all(hasattr(one, name) for name in ("clauses", "predicate", "source")):
            raise InvalidWait(f"sources: {shown(one)} is nothing that a wait can run", hint=hint)
    return found
