"""What a composed wait decides, fed in the order of seq. Pure: no task, no clock of its own, no I/O.

One task for each clause would give the wrong answer half of the time (an event for `fail_on` and the next one for `all_of`
lie in one page, and tasks are woken in any order). So the order is the log's, and cancel scopes only carry the decision out.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from waitbus.errors import EXIT_NO, EXIT_TIMEOUT, InvalidWait
from waitbus.event_checks import shown
from waitbus.predicate import ALTERNATIVES_MAX, Clause, Predicate, Wanted, parse_clauses
from waitbus.verdict import Verdict, clause_failed, ends, exit_code, verdict_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from waitbus.document import Document
    from waitbus.events import EventFrame
    from waitbus.store import Log

Kind = Literal["matched", "failed", "timed_out", "silent"]

ASIDE_KEPT = 64
"""Of the events that are heard aside, how many wait to be told."""

MET_KEPT = 1000
"""Of the events of a count, how many are kept: memory must not grow with what is counted."""


@attrs.frozen
class Answer:
    """What a state has come to, and the event that stands for it (None: no event does; `said` is it in words then)."""

    verdict: Verdict
    frame: EventFrame | None = None
    said: str = ""


class State(Protocol):
    """What a clause is about that is no single event: it looks at several, at what is in the log already, and at the clock
    (`now`, in s of `time.monotonic`)."""

    @property
    def alternatives(self) -> tuple[Predicate, ...]:
        """The events that it has to see: those that match any of these."""

    @property
    def wake_at(self) -> float | None:
        """When `tick` wants to be called; None: only events matter."""

    @property
    def missing(self) -> str:
        """What stands in the way, for whoever is told that time is up; empty where there is nothing to say."""

    def begin(self, log: Log, now: float) -> None:
        """Look at what is in the log; called once, when nothing that comes from now on can be missed. May raise LogError."""

    def feed(self, frame: EventFrame, document: Document, now: float) -> Answer | None:
        """The answer once there is one. An event may be one that `begin` saw."""

    def tick(self, now: float) -> Answer | None:
        """The answer, if the time that went by has given it."""


@attrs.frozen
class Met:
    """A clause that was met: by which event (None: by the state of things, which `said` tells), with which verdict."""

    clause: Clause
    frame: EventFrame | None
    verdict: Verdict
    failed: bool
    said: str = ""


@attrs.frozen
class Outcome:
    """How a wait ended.

    `matched`: what was waited for came. `failed`: an event of `fail_on` or `none_of` came. `timed_out`: nothing decided in time.
    `silent`: time ran out, and that was what was asked for. `frame` and `clause` are what decided. `said` tells the state of
    things that decided where no event did. `met_count` is how many clauses, or events of a count, were met; `met` are the last
    `MET_KEPT` of them.
    """

    kind: Kind
    exit_code: int
    verdict: Verdict = "none"
    frame: EventFrame | None = None
    clause: Clause | None = None
    met: tuple[Met, ...] = ()
    met_count: int = 0
    said: str = ""


@attrs.define
class Plan:
    """Clauses, and what is met of them. Make one with `Plan.of`."""

    first_of: tuple[Clause, ...] = ()
    all_of: tuple[Clause, ...] = ()
    none_of: tuple[Clause, ...] = ()
    fail_on: tuple[Clause, ...] = ()
    states: dict[Clause, State] = attrs.field(factory=dict)
    options: dict[Clause, str] = attrs.field(factory=dict)
    """Behind which option a clause was written, wherever it is kept; the others are options themselves, or terms."""
    count: int = 1
    in_order: bool = False
    fail_fast: bool = False
    honour: bool = True
    met: deque[Met] = attrs.field(factory=lambda: deque(maxlen=MET_KEPT))
    """The last of what was met."""
    met_count: int = 0
    """How much of it there was."""
    debounce: float = 0.0
    """s for which nothing more may match before a match decides; the last one does."""
    aside: Predicate | None = None
    """What is heard besides: it decides nothing, and is told (`take_aside`)."""
    _held: Outcome | None = None
    _due: float = inf
    """When what is held decides (s, monotonic)."""
    _heard: deque[EventFrame] = attrs.field(factory=lambda: deque(maxlen=ASIDE_KEPT))
    _failed: dict[Clause, None] = attrs.field(factory=dict)
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
        debounce: float = 0.0,
        aside: Predicate | None = None,
    ) -> Plan:
        """The plan of what was asked for; `honour=False` makes every match exit 0. Of `aside` is told, and it decides nothing.

        States join `all_of`, or `first_of` where that is given.

        Raises:
          InvalidPredicate, InvalidName: a clause is not of the grammar.
          InvalidWait: clauses that exclude each other, or a wait that could never end.
        """
        first, every = _clauses(first_of, "first_of"), _clauses(all_of, "all_of")
        _refuse_together(predicate, first, every)
        options = {**dict.fromkeys(first, "--first-of"), **dict.fromkeys(every, "--all-of")}
        if predicate is not None:
            every = (Clause(predicate.describe(), predicate),)
        kept = dict(states)
        plan = cls(
            first_of=(*first, *kept) if first else (),
            all_of=() if first else (*every, *kept),
            none_of=_clauses(none_of, "none_of"),
            fail_on=_clauses(fail_on, "fail_on"),
            states=kept,
            options=options,
            count=count,
            in_order=in_order,
            fail_fast=fail_fast,
            honour=honour,
            debounce=debounce,
            aside=aside,
        )
        plan._check(has_timeout, is_plain=predicate is not None)
        plan._arrange(is_plain=predicate is not None)
        return plan

    def _check(self, has_timeout: bool, is_plain: bool) -> None:
        positive = len(self.first_of) + len(self.all_of)
        if not positive and not self.none_of and not self.fail_on:
            raise InvalidWait(
                "nothing to wait for", hint="name an event type, or use --source, --match, --sha or a clause"
            )
        if not positive and not has_timeout:
            given = " and ".join(
                name for name in ("--none-of", "--fail-on") if getattr(self, name[2:].replace("-", "_"))
            )
            raise InvalidWait(
                f"{given} alone, without --timeout, could only end badly",
                hint="add --timeout 10m",
            )
        if type(self.count) is not int or (self.count != 1 and (positive != 1 or self.count < 1 or self.states)):
            raise InvalidWait(
                f"--count {shown(self.count)} has no one thing to count",
                hint="--count N, from 1 on, counts the events of one predicate",
            )
        if self.in_order and (len(self.all_of) < 2 or self.states):
            raise InvalidWait(
                "--in-order puts no clauses in order", hint="give --all-of at least twice, and no --sha or --pid"
            )
        if self.fail_fast and (is_plain or not self.all_of):
            raise InvalidWait("--fail-fast ends nothing early", hint="it goes with --all-of")
        if self.debounce and (positive != 1 or self.count != 1 or self.states):
            raise InvalidWait(
                "--debounce has no one kind of event to come to rest",
                hint="it goes with one predicate: TYPE, --source, --match, --root, ...",
            )

    def _arrange(self, is_plain: bool) -> None:
        if len(self.all_of) == self.count == 1 and (is_plain or self.states):
            # One thing alone: its verdict is that of the event that decides, as for --first-of.
            self.first_of, self.all_of = self.all_of, ()
        elif self.count > 1:
            self.all_of, self.first_of = self.all_of or self.first_of, ()
        elif not self.in_order:
            self.all_of = tuple(dict.fromkeys(self.all_of))
        self._left = list(self.all_of)

    @property
    def is_single(self) -> bool:
        """Whether one event, or one state, of one clause decides."""
        return len(self.first_of) + len(self.all_of) == self.count == 1

    @property
    def total(self) -> int:
        """How many clauses, or events of the one predicate, are to be met."""
        return self.count if self.count > 1 else len(self.all_of)

    @property
    def is_composed(self) -> bool:
        """Whether several clauses decide together."""
        return len(self.first_of) + len(self.all_of) + len(self.none_of) + len(self.fail_on) > 1

    @property
    def wanted(self) -> Wanted:
        """The union of all clauses: one subscription carries the wait."""
        parts: list[Predicate] = []
        for clause in (*self.first_of, *self.all_of, *self.none_of, *self.fail_on):
            state = self.states.get(clause)
            parts += (clause.predicate,) if state is None else state.alternatives
        wanted = Wanted.of(parts)
        if self.aside is None or len(wanted.alternatives) == ALTERNATIVES_MAX:
            return wanted
        return Wanted.of([*parts, self.aside])

    @property
    def wake_at(self) -> float | None:
        """When `tick` wants to be called (s, monotonic)."""
        times = [state.wake_at for clause, state in self.states.items() if self._is_open(clause)]
        return min((time for time in (*times, self._due) if time is not None and time < inf), default=None)

    @property
    def failed(self) -> tuple[Clause, ...]:
        """The clauses that were met by a failure."""
        return tuple(self._failed)

    @property
    def open(self) -> tuple[Clause, ...]:
        """The clauses of `all_of` that are not met yet."""
        return tuple(self._left)

    def begin(self, log: Log, now: float) -> Outcome | None:
        """Armed: let the states look at what is in the log already.

        Raises:
          LogError: it cannot be read; the plan may go on without.
        """
        for state in self.states.values():
            state.begin(log, now)
        return self.tick(now)

    def feed(self, frame: EventFrame, document: Document, now: float = 0.0) -> Outcome | None:
        """Look at the next event in the order of seq; the outcome once there is one."""
        found = self._look(frame, document, now)
        if found is None or found.kind != "matched" or not self.debounce:
            return found
        self._held, self._due = found, now + self.debounce
        self.met.clear()
        self.met_count = 0
        self._failed.clear()
        return None

    def _look(self, frame: EventFrame, document: Document, now: float) -> Outcome | None:
        for clause in (*self.fail_on, *self.none_of):
            if _hits(clause, document):
                return self._outcome("failed", EXIT_NO, clause, Answer(verdict_of(document), frame))
        for clause in (*self.first_of, *self._candidates()):
            answer = self._answer(clause, frame, document, now)
            if answer is not None:
                outcome = self._meet(clause, answer, self._is_failure(clause, answer, document))
                if outcome is not None:
                    return outcome
        if self.aside is not None and self.aside.matches(document):
            self._heard.append(frame)
        return None

    def take_aside(self) -> list[EventFrame]:
        """What was heard aside since the last call."""
        heard = list(self._heard)
        self._heard.clear()
        return heard

    def meet(self, clause: Clause, answer: Answer) -> Outcome | None:
        """A clause turned out to be met by the state of things (a process that is gone)."""
        return self._meet(clause, answer, answer.verdict == "failure") if self._is_open(clause) else None

    def tick(self, now: float) -> Outcome | None:
        """Time went by: what the states say now, and whether what is held is at rest."""
        if now >= self._due:
            return self._held
        for clause, state in self.states.items():
            if self._is_open(clause) and (answer := state.tick(now)) is not None:
                outcome = self.meet(clause, answer)
                if outcome is not None:
                    return outcome
        return None

    def time_out(self) -> Outcome:
        """Nothing decided in time: success where silence was all that was asked for, or what is held."""
        if self._held is not None:
            return self._held
        if self.none_of and not (self.first_of or self.all_of or self.fail_on):
            return Outcome("silent", 0, "success")
        return Outcome("timed_out", EXIT_TIMEOUT, met=tuple(self.met), met_count=self.met_count)

    # -- one clause ----------------------------------------------------------------------------------------------------

    def _candidates(self) -> list[Clause]:
        """The clauses that the next event may meet: in order, or counted, only the first one, and once."""
        return self._left[:1] if self.in_order or self.count > 1 else list(self._left)

    def _is_open(self, clause: Clause) -> bool:
        return clause in self._left or clause in self.first_of

    def _answer(self, clause: Clause, frame: EventFrame, document: Document, now: float) -> Answer | None:
        state = self.states.get(clause)
        if state is not None:
            seen = any(predicate.matches(document) for predicate in state.alternatives)
            return state.feed(frame, document, now) if seen else None
        return Answer(verdict_of(document), frame) if _hits(clause, document) else None

    def _is_failure(self, clause: Clause, answer: Answer, document: Document) -> bool:
        if clause in self.states:
            return answer.verdict == "failure"
        if clause in self.first_of or self.count > 1:
            return bool(exit_code(document, clause.predicate))
        return clause_failed(document, clause.predicate)

    def _meet(self, clause: Clause, answer: Answer, failed: bool) -> Outcome | None:
        self.met.append(Met(clause, answer.frame, answer.verdict, failed, answer.said))
        self.met_count += 1
        if failed:
            self._failed[clause] = None
        if clause in self.first_of:
            return self._outcome("matched", self._code(failed), clause, answer)
        if self.met_count < self.count:
            return None
        self._left.remove(clause)
        if not self._left or (failed and self.fail_fast):
            return self._outcome("matched", self._code(bool(self._failed)), clause, answer)
        return None

    def _code(self, failed: bool) -> int:
        return EXIT_NO if failed and self.honour else 0

    def _outcome(self, kind: Kind, code: int, clause: Clause, answer: Answer) -> Outcome:
        met = tuple(self.met)
        return Outcome(kind, code, answer.verdict, answer.frame, clause, met, self.met_count, answer.said)


def _hits(clause: Clause, document: Document) -> bool:
    return clause.predicate.matches(document) and ends(document, clause.predicate)


def _refuse_together(predicate: Predicate | None, first: tuple[Clause, ...], every: tuple[Clause, ...]) -> None:
    if first and every:
        raise InvalidWait(
            "--all-of and --first-of exclude each other", hint="use one of them; --fail-on and --none-of go with either"
        )
    if predicate is not None and (first or every):
        raise InvalidWait(
            f"{predicate.describe()} stands beside {'--first-of' if first else '--all-of'}",
            hint="put it into a clause: SOURCE:KEY=VALUE,KEY=VALUE",
        )


def _clauses(given: Iterable[str | Clause], what: str) -> tuple[Clause, ...]:
    option = f"--{what.replace('_', '-')}"
    return parse_clauses(given, what=option)
