"""How a wait ended, in one line. Pure: what has to be looked up is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waitbus.quantities import say_count

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from waitbus.client.plan import Outcome, Plan
    from waitbus.predicate import Clause, Predicate

    PassedBy = Callable[[Collection[str]], str]
    """From sources (none: any) to what is said of how many of their events passed by."""


def how(outcome: Outcome, plan: Plan, predicate: Predicate | None, waited: str, passed_by: PassedBy) -> str:
    """One line; empty where the event itself says it all. `predicate` is the one beside the clauses, `waited` a duration."""
    clause = outcome.clause
    if outcome.kind == "failed" and clause is not None:
        return f"failed: {named('--fail-on' if clause in plan.fail_on else '--none-of', clause)}"
    if outcome.kind == "silent":
        return f"quiet for {waited}: nothing of {' or '.join(named('', one) for one in plan.none_of)}"
    if outcome.kind == "timed_out":
        return f"timed out after {waited}: {_missing(outcome, plan, predicate, passed_by)}"
    if plan.is_single or clause is None:
        return ""
    if plan.first_of:
        return f"matched: {named('--first-of', clause)}"
    return _all_met(outcome, plan, clause, waited)


def named(option: str, clause: Clause) -> str:
    """The clause as it was typed; one like `--sha X` is an option by itself."""
    return clause.text if clause.text.startswith("--") else f"{option} '{clause.text}'".lstrip()


def _as_typed(plan: Plan, clause: Clause) -> str:
    return named(plan.options.get(clause, ""), clause)


def _lacking(plan: Plan, clause: Clause, option: str = "") -> str:
    """A clause that is not met, and why, where its state knows."""
    state = plan.states.get(clause)
    why = f" ({state.missing})" if state is not None and state.missing else ""
    return f"{named(option, clause)}{why}"


def _met(outcome: Outcome, plan: Plan) -> str:
    return f"{outcome.met_count:,} of {say_count(plan.total, 'clause')}"


def _all_met(outcome: Outcome, plan: Plan, clause: Clause, waited: str) -> str:
    if outcome.met_count < plan.total:
        return f"failed: {_as_typed(plan, clause)}, {_met(outcome, plan)} met after {waited}"
    failed = [_as_typed(plan, one) for one in plan.failed]
    what = (
        f"{say_count(plan.total, 'event')} came in"
        if plan.count > 1
        else f"{say_count(plan.total, 'clause')} met after"
    )
    return f"all {what} {waited}{'; failed: ' if failed else ''}{', '.join(failed)}"


def _missing(outcome: Outcome, plan: Plan, predicate: Predicate | None, passed_by: PassedBy) -> str:
    if plan.count > 1:
        return f"{outcome.met_count:,} of {say_count(plan.count, 'event')} came"
    if plan.all_of:
        missing = ", ".join(_lacking(plan, clause, plan.options.get(clause, "")) for clause in plan.open)
        return f"{_met(outcome, plan)} met; missing {missing}"
    if predicate is None:
        option, clauses = ("--first-of", plan.first_of) if plan.first_of else ("--fail-on", plan.fail_on)
        passed = passed_by(()) if plan.wanted.alternatives else ""
        return f"nothing of {' or '.join(_lacking(plan, clause, option) for clause in clauses)}{passed}"
    words = predicate.describe()
    said = words.removeprefix("any event") if words.startswith("any event") else f" matched {words}"
    return f"no event{said}{passed_by(sorted(predicate.sources))}"
