"""What a composed wait decides, fed in the order of seq. Pure: no task, no clock of its own, no I/O.

One task for each clause would give the wrong answer half of the time (an event for `fail_on` and the next one for `all_of`
lie in one page, and tasks are woken in any order). So the order is the log's, and cancel scopes only carry the decision out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from waitbus.errors import EXIT_NO, EXIT_TIMEOUT, InvalidWait
from waitbus.predicate import Clause, Predicate, Wanted, parse_clause
from waitbus.verdict import Verdict, clause_failed, ends, exit_code, verdict_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waitbus.document import Document
    from waitbus.events import EventFrame

Kind = Literal["matched", "failed", "timed_out", "silent"]


class State(Protocol):
    """A clause that is about a state and not one event: it looks at several, and at the clock (s, monotonic)."""

    @property
    def wake_at(self) -> float | None:
        """When `tick` wants to be called; None: only events matter."""

    def feed(self, frame: EventFrame, document: Document, now: float) -> Verdict | None:
        """The verdict once it is known."""

    def tick(self, now: float) -> Verdict | None:
        """The verdict, if the time that went by has made it known."""


@attrs.frozen
class Met:
    """A clause that was met: by which event (None: by the state of things), with which verdict."""

    clause: Clause
    frame: EventFrame | None
    verdict: Verdict
    failed: bool


@attrs.frozen
class Outcome:
    """How a wait ended.

    `matched`: what was waited for came. `failed`: an event of `fail_on` or `none_of` came. `timed_out`: nothing decided in time.
    `silent`: time ran out, and that was what was asked for. `frame` and `clause` are what decided.
    """

    kind: Kind
    exit_code: int
    verdict: Verdict = "none"
    frame: EventFrame | None = None
    clause: Clause | None = None
    met: tuple[Met, ...] = ()


@attrs.define
class Plan:
    """Clauses, and what is met of them. Make one with `Plan.of`."""

    first_of: tuple[Clause, ...] = ()
    all_of: tuple[Clause, ...] = ()
    none_of: tuple[Clause, ...] = ()
    fail_on: tuple[Clause, ...] = ()
    states: dict[Clause, State] = attrs.field(factory=dict)
    count: int = 1
    in_order: bool = False
    fail_fast: bool = False
    honour: bool = True
    met: list[Met] = attrs.field(factory=list)
    _left: list[Clause] = attrs.field(factory=list)

    @classmethod
    def of(
        cls,
        predicate: Predicate | None = None,
        *,
        first_of: Iterable[str | Clause] = (),
        all_of: Iterable[str | Clause] = (),
        none_of: Iterable[str | Clause] = (),
        fail_on: Iterable[str | Clause] = (),
        states: Sequence[tuple[Clause, State]] = (),
        count: int = 1,
        in_order: bool = False,
        fail_fast: bool = False,
        honour: bool = True,
        has_timeout: bool = True,
    ) -> Plan:
        """The plan of what was asked for; `honour=False` makes every match exit 0.

        Raises:
          InvalidPredicate, InvalidName: a clause is not of the grammar.
          InvalidWait: clauses that exclude each other, or a wait that could never end.
        """
        first, every = _clauses(first_of, "first_of"), _clauses(all_of, "all_of")
        if first and every:
            raise InvalidWait("--all-of and --first-of exclude each other", hint="use one of them; --fail-on and --none-of go with either")
        if predicate is not None:
            if first or every:
                raise InvalidWait(
                    "--match and --source stand beside --all-of or --first-of",
                    hint="put them into a clause: SOURCE:KEY=VALUE,KEY=VALUE",
                )
            first = (Clause(predicate.describe(), predicate),)
        of_state = tuple(clause for clause, _ in states)
        if of_state and not first:
            every += of_state
        elif of_state and predicate is not None:
            every, first = (*first, *of_state), ()
        else:
            first += of_state
        plan = cls(
            first, every, _clauses(none_of, "none_of"), _clauses(fail_on, "fail_on"), dict(states), count, in_order, fail_fast, honour
        )
        plan._check(has_timeout)
        return plan

    def _check(self, has_timeout: bool) -> None:
        positive = len(self.first_of) + len(self.all_of)
        if not positive and not self.none_of and not self.fail_on:
            raise InvalidWait("nothing to wait for", hint="name an event type, or use --source, --match, --sha, --pid or a clause")
        if not positive and not has_timeout:
            raise InvalidWait("without --timeout this wait could only end badly", hint="add --timeout 10m")
        if self.count != 1 and (positive != 1 or self.count < 1):
            raise InvalidWait(f"--count {self.count} needs exactly one thing to count", hint="--count N counts one predicate, N from 1 on")
        if self.in_order and len(self.all_of) < 2:
            raise InvalidWait("--in-order orders several --all-of", hint="give --all-of at least twice")
        if self.fail_fast and not self.all_of:
            raise InvalidWait("--fail-fast ends an --all-of early", hint="give --all-of")
        if self.count > 1:
            self.all_of, self.first_of = (self.all_of or self.first_of) * self.count, ()
        self._left = list(self.all_of)

    @property
    def wanted(self) -> Wanted:
        """The union of all clauses: one subscription carries the wait."""
        return Wanted.of([*self.first_of, *self.all_of, *self.none_of, *self.fail_on])

    @property
    def wake_at(self) -> float | None:
        """When `tick` wants to be called (s, monotonic)."""
        times = [state.wake_at for clause, state in self.states.items() if self._is_open(clause)]
        return min((time for time in times if time is not None), default=None)

    @property
    def open(self) -> tuple[Clause, ...]:
        """The clauses of `all_of` that are not met yet."""
        return tuple(self._left)

    def feed(self, frame: EventFrame, document: Document, now: float = 0.0) -> Outcome | None:
        """Look at the next event in the order of seq; the outcome once there is one."""
        for clause in (*self.fail_on, *self.none_of):
            if _hits(clause, document):
                return self._outcome("failed", EXIT_NO, clause, frame, "failure")
        for clause in self.first_of:
            verdict = self._verdict(clause, frame, document, now)
            if verdict is not None:
                return self._matched(clause, frame, document, verdict)
        for clause in self._candidates():
            verdict = self._verdict(clause, frame, document, now)
            if verdict is not None:
                outcome = self._meet(clause, frame, verdict, self._is_failure(clause, document, verdict))
                if outcome is not None or self.in_order or self.count > 1:
                    return outcome
        return None

    def meet(self, clause: Clause, verdict: Verdict = "success", frame: EventFrame | None = None) -> Outcome | None:
        """A clause turned out to be met by the state of things (a process that is gone, a port that is open)."""
        if clause in self.first_of:
            return self._outcome("matched", self._code(verdict == "failure"), clause, frame, verdict)
        if clause in self._left:
            return self._meet(clause, frame, verdict, verdict == "failure")
        return None

    def tick(self, now: float) -> Outcome | None:
        """Time went by: what the states say now."""
        for clause, state in self.states.items():
            if self._is_open(clause) and (verdict := state.tick(now)) is not None:
                outcome = self.meet(clause, verdict)
                if outcome is not None:
                    return outcome
        return None

    def time_out(self) -> Outcome:
        """Nothing decided in time: success where silence was all that was asked for."""
        if self.none_of and not (self.first_of or self.all_of or self.fail_on):
            return Outcome("silent", 0, "success", met=tuple(self.met))
        return Outcome("timed_out", EXIT_TIMEOUT, met=tuple(self.met))

    # -- one clause ----------------------------------------------------------------------------------------------------

    def _candidates(self) -> list[Clause]:
        if self.in_order:
            return self._left[:1]
        return list(dict.fromkeys(self._left))

    def _is_open(self, clause: Clause) -> bool:
        return clause in self._left or clause in self.first_of

    def _verdict(self, clause: Clause, frame: EventFrame, document: Document, now: float) -> Verdict | None:
        state = self.states.get(clause)
        if state is not None:
            return state.feed(frame, document, now) if clause.predicate.matches(document) else None
        return verdict_of(document) if _hits(clause, document) else None

    def _is_failure(self, clause: Clause, document: Document, verdict: Verdict) -> bool:
        return verdict == "failure" if clause in self.states else clause_failed(document, clause.predicate)

    def _matched(self, clause: Clause, frame: EventFrame, document: Document, verdict: Verdict) -> Outcome:
        if clause in self.states:
            return self._outcome("matched", self._code(verdict == "failure"), clause, frame, verdict)
        code = exit_code(document, clause.predicate, honour=self.honour)
        return self._outcome("matched", code, clause, frame, verdict)

    def _meet(self, clause: Clause, frame: EventFrame | None, verdict: Verdict, failed: bool) -> Outcome | None:
        self._left.remove(clause)
        self.met.append(Met(clause, frame, verdict, failed))
        if not self._left or (failed and self.fail_fast):
            return self._outcome("matched", self._code(any(one.failed for one in self.met)), clause, frame, verdict)
        return None

    def _code(self, failed: bool) -> int:
        return EXIT_NO if failed and self.honour else 0

    def _outcome(self, kind: Kind, code: int, clause: Clause, frame: EventFrame | None, verdict: Verdict) -> Outcome:
        return Outcome(kind, code, verdict, frame, clause, tuple(self.met))


def _hits(clause: Clause, document: Document) -> bool:
    return clause.predicate.matches(document) and ends(document, clause.predicate)


def _clauses(given: Iterable[str | Clause], what: str) -> tuple[Clause, ...]:
    option = f"--{what.replace('_', '-')}"
    return tuple(one if isinstance(one, Clause) else parse_clause(one, what=option) for one in given)
