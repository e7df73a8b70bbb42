"""Named conditions (`--cond NAME`) and evaluators (`--eval NAME:EXPR`): ours, registered ones, and installed ones.

A check is a function of a `Document`, or an object whose `matches` is one. Entry points of the groups
`waitbus.conditions.v1` and `waitbus.evaluators.v1` are factories of the same shape as the registered ones, and are only looked at
for a name that nobody registered: reading the metadata of every installed package costs more than a wait's start.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from waitbus import verdict
from waitbus.document import Document
from waitbus.errors import EvaluatorError, EvaluatorUnavailableError, InvalidName, InvalidPredicate
from waitbus.event_checks import shown

CONDITIONS_GROUP = "waitbus.conditions.v1"
EVALUATORS_GROUP = "waitbus.evaluators.v1"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")


class Matcher(Protocol):
    """Anything with a `matches`, a `Predicate` among them."""

    def matches(self, document: Document, /) -> bool: ...


Check = Callable[[Document], bool] | Matcher
ConditionFactory = Callable[[], Check]
EvaluatorFactory = Callable[[str], Check]

ASK_FOR_A_CONCLUSION = frozenset({"failed", "succeeded"})
"""Conditions that ask for an outcome, as a term on `conclusion` does: a match is then a yes."""


def register_condition(name: str, factory: ConditionFactory) -> None:
    """Make `--cond name` known to this process; `factory` is called once, when the name is first used.

    Raises:
      InvalidName: `name` is none.
      EvaluatorError: `factory` is no function.
    """
    _conditions[_checked_name(name, "condition")] = _checked_factory(factory, f"condition {name!r}")
    _built.pop((CONDITIONS_GROUP, name), None)


def register_evaluator(name: str, factory: EvaluatorFactory) -> None:
    """Make `--eval name:EXPR` known to this process; `factory` gets EXPR and refuses it by raising ValueError.

    Raises:
      InvalidName, EvaluatorError: as `register_condition`.
    """
    _evaluators[_checked_name(name, "evaluator")] = _checked_factory(factory, f"evaluator {name!r}")
    for key in [key for key in _built if key[0] == EVALUATORS_GROUP and key[1].partition(":")[0] == name]:
        del _built[key]


def check_condition(name: str) -> Callable[[Document], bool]:
    """The check behind a condition's name.

    Raises:
      EvaluatorUnavailableError: nobody registered it and no installed package has it.
    """
    key = (CONDITIONS_GROUP, name)
    if key not in _built:
        factory = _conditions.get(name) or _installed(CONDITIONS_GROUP, "condition", name, sorted(_conditions))
        _built[key] = _function(_made(factory, f"condition {name!r}"), f"condition {name!r}")
    return _built[key]


def check_evaluator(text: str) -> Callable[[Document], bool]:
    """The check behind `NAME:EXPR`.

    Raises:
      EvaluatorUnavailableError: nobody registered that evaluator and no installed package has it.
      InvalidPredicate: the text is not of that form, or the evaluator refuses the expression.
    """
    key = (EVALUATORS_GROUP, text)
    if key not in _built:
        name, _, expression = text.partition(":")
        if not _NAME.match(name) or not expression.strip():
            raise InvalidPredicate(
                f"--eval {text!r} is not NAME:EXPR", hint="write the evaluator, a colon, the expression"
            )
        factory = _evaluators.get(name) or _installed(EVALUATORS_GROUP, "evaluator", name, sorted(_evaluators))
        _built[key] = _function(_made(factory, f"--eval {text!r}", expression), f"--eval {text!r}")
    return _built[key]


def condition_holds(name: str, document: Document) -> bool:
    return _asked(check_condition(name), f"condition {name!r}", document)


def evaluator_holds(text: str, document: Document) -> bool:
    return _asked(check_evaluator(text), f"--eval {text!r}", document)


def _asked(check: Callable[[Document], bool], what: str, document: Document) -> bool:
    try:
        return bool(check(document))
    except (Exception, SystemExit) as error:
        raise EvaluatorError(
            f"{what} failed on event {document.columns.get('event_id')}: {type(error).__name__}: {error}",
            hint="the package that brings it has to handle every event; `waitbus events query` shows this one",
        ) from error


def _made(factory: Callable[..., Any], what: str, *arguments: str) -> Any:
    try:
        return factory(*arguments)
    except ValueError as error:
        raise InvalidPredicate(
            f"{what} is refused: {error}", hint="see the documentation of the package that brings it"
        ) from error
    except (Exception, SystemExit) as error:
        raise EvaluatorError(
            f"{what} cannot be made: {type(error).__name__}: {error}", hint="report it to its package"
        ) from error


def _function(check: Any, what: str) -> Callable[[Document], bool]:
    found = getattr(check, "matches", check)
    if not callable(found):
        raise EvaluatorError(
            f"{what} is {shown(check)}, which is no function of an event", hint="report it to its package"
        )
    function: Callable[[Document], bool] = found
    return function


def _installed(group: str, kind: str, name: str, known: list[str]) -> Callable[..., Any]:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group, name=name) if _NAME.match(name) else ():
        try:
            factory: Callable[..., Any] = entry.load()
        except (Exception, SystemExit) as error:  # an import runs whatever stands in the module
            raise EvaluatorUnavailableError(
                f"{kind} {name!r} cannot be loaded from {entry.value}: {type(error).__name__}: {error}",
                hint="install what it needs, or remove the package that brings it",
            ) from error
        if not callable(factory):
            raise EvaluatorUnavailableError(
                f"{kind} {name!r} of {entry.value} is {shown(factory)}, which is no function",
                hint="report it to the package that brings it",
            )
        return factory
    raise EvaluatorUnavailableError(
        f"no {kind} {name!r} is installed",
        hint=f"there {'are ' + ', '.join(known) if known else 'is none yet'}; a package adds one as an entry point of {group}",
    )


def _checked_name(name: object, kind: str) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidName(
            f"{shown(name)} is not a name for a {kind}", hint="a name is a-z, then up to 31 of a-z, 0-9 and _"
        )
    return name


F = TypeVar("F", bound=Callable[..., Any])


def _checked_factory(factory: F, what: str) -> F:
    if not callable(factory):
        raise EvaluatorError(f"{what} is {shown(factory)}, which is no function", hint="give what makes the check")
    return factory


_conditions: dict[str, ConditionFactory] = {
    "failed": lambda: lambda document: verdict.verdict_of(document) == "failure",
    "succeeded": lambda: lambda document: verdict.verdict_of(document) == "success",
    "finished": lambda: verdict.is_terminal,
}
_evaluators: dict[str, EvaluatorFactory] = {}
_built: dict[tuple[str, str], Callable[[Document], bool]] = {}
