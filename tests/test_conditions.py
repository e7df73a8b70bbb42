"""Named conditions and evaluators: ours, registered ones, installed ones, and what goes wrong with those of others."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import pytest

from tests.documents import document
from waitbus import conditions
from waitbus.document import Document
from waitbus.errors import EvaluatorError, EvaluatorUnavailableError, InvalidName, InvalidPredicate
from waitbus.predicate import Predicate, register_condition, register_evaluator


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers, it registers for itself; and it has nothing of what tests before it registered."""
    ours = {name: conditions._conditions[name] for name in ("failed", "succeeded", "finished")}
    for name, registry in (("_conditions", ours), ("_evaluators", {}), ("_built", {})):
        monkeypatch.setattr(conditions, name, registry)


@pytest.mark.parametrize(
    ("name", "columns", "holds"),
    [
        ("failed", {"conclusion": "failure"}, True),
        ("failed", {"conclusion": "cancelled"}, True),
        ("failed", {"conclusion": "success"}, False),
        ("failed", {"event_type": "prometheus_alert", "status": "firing", "conclusion": None}, True),
        ("succeeded", {"conclusion": "success"}, True),
        ("succeeded", {"conclusion": "skipped"}, True),
        ("succeeded", {"conclusion": None}, False),
        ("finished", {"conclusion": "failure"}, True),
        ("finished", {"conclusion": None, "status": "completed"}, True),
        ("finished", {"conclusion": None, "status": "in_progress"}, False),
    ],
)
def test_our_conditions(name: str, columns: dict[str, Any], holds: bool) -> None:
    """failed and succeeded are the verdicts, finished is what is over."""
    assert Predicate.parse(conditions=name).matches(document(**columns)) is holds


def test_a_registered_condition() -> None:
    """The factory is called once, and a predicate will do for a check."""
    made: list[int] = []

    def factory() -> Callable[[Document], bool]:
        made.append(1)
        return lambda seen: seen.lookup("exit_code") == 137

    register_condition("oom", factory)
    predicate = Predicate.parse(conditions="oom")
    assert predicate.matches(document(fields={"exit_code": 137}))
    assert not predicate.matches(document(fields={"exit_code": 1}))
    assert made == [1]
    register_condition("oom", lambda: Predicate.parse("exit_code=9"))
    assert predicate.matches(document(fields={"exit_code": 9}))


def test_a_registered_evaluator() -> None:
    """`--eval NAME:EXPR` hands EXPR over as it stands, colons and all."""
    register_evaluator("key", lambda expression: lambda seen: seen.as_dict()["fields"].get(expression) is True)
    predicate = Predicate.parse(evaluators="key:a:b")
    assert predicate.matches(document(fields={"a:b": True}))
    assert Predicate.from_wire(predicate.wire()) == predicate
    assert predicate.prefilter() == Predicate()


def test_an_evaluator_refuses_an_expression() -> None:
    """Its ValueError is the caller's error, told at once."""

    def refuse(expression: str) -> Callable[[Document], bool]:
        raise ValueError("unexpected end")

    register_evaluator("cel", refuse)
    with pytest.raises(InvalidPredicate, match=r"--eval 'cel:x ==' is refused: unexpected end"):
        Predicate.parse(evaluators="cel:x ==")


def test_a_condition_that_raises_is_named() -> None:
    """A bug of a plugin is told as one, with the event."""
    register_condition("bad", lambda: lambda seen: 1 / 0 > 0)
    with pytest.raises(EvaluatorError, match=r"condition 'bad' failed on event 01M7.*ZeroDivisionError"):
        Predicate.parse(conditions="bad").matches(document())


def test_a_factory_that_makes_no_check() -> None:
    """Told when the predicate is built, not on the first event."""
    register_condition("bad", lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(EvaluatorError, match="no function of an event"):
        Predicate.parse(conditions="bad")


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "é", "a" * 33, "a b", "a:b"])
def test_names(name: str) -> None:
    """Lower case, 32 characters, hyphens; 0.2 took "A" and more besides."""
    with pytest.raises(InvalidName):
        register_condition(name, lambda: lambda seen: True)
    with pytest.raises(InvalidName):
        register_evaluator(name, lambda expression: lambda seen: True)


class Installed:
    """The metadata of one installed package."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value, self._object = name, f"package:{name}", value

    def load(self) -> object:
        if isinstance(self._object, Exception):
            raise self._object
        return self._object


def test_entry_points_are_read_for_unknown_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the shell has what packages bring, and a plain wait does not pay for it."""
    asked: list[tuple[str, str]] = []
    has = {"quiet": lambda: lambda seen: seen.lookup("x") is None, "broken": ImportError("no module named celpy")}

    def entry_points(*, group: str, name: str) -> list[Installed]:
        asked.append((group, name))
        return [Installed(name, has[name])] if name in has else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    Predicate.parse(conditions=["failed", "finished"])
    assert asked == []
    assert Predicate.parse(conditions="quiet").matches(document())
    assert Predicate.parse(conditions="quiet").matches(document())
    assert asked == [("waitbus.conditions.v1", "quiet")]
    with pytest.raises(EvaluatorUnavailableError, match="'broken' cannot be loaded from package:broken: ImportError"):
        Predicate.parse(conditions="broken")
    with pytest.raises(EvaluatorUnavailableError, match="no evaluator 'cel' is installed") as caught:
        Predicate.parse(evaluators="cel:true")
    assert caught.value.hint == "there is none yet; a package adds one as an entry point of waitbus.evaluators.v1"
    assert asked[-1] == ("waitbus.evaluators.v1", "cel")


def test_a_name_that_cannot_be_one_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from outside reaches the metadata of packages."""
    monkeypatch.setattr(importlib.metadata, "entry_points", None)
    with pytest.raises(EvaluatorUnavailableError):
        Predicate.parse(conditions="../x")
