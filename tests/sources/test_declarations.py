"""The declarations are one with what `verdict` holds for progress, and registering cannot shadow one."""

from __future__ import annotations

import pytest

from waitbus import sources, verdict
from waitbus.errors import InvalidName, UnknownSource
from waitbus.sources import SourceSpec, known_sources, register_source, source


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_registered", {})
    monkeypatch.setattr(verdict, "_progress", dict(verdict._progress))


def test_the_built_in_sources_are_eight_and_ourselves() -> None:
    names = ["github", "alertmanager", "pytest", "docker", "fs", "process", "agent", "http", "waitbus"]
    assert list(known_sources()) == names


def test_what_is_progress_is_the_same_for_the_declarations_and_the_verdict() -> None:
    declared = {
        (spec.name, event_type): rule
        for spec in known_sources().values()
        for event_type, rule in spec.progress_rules().items()
    }
    assert declared == verdict._progress


def test_every_source_says_what_it_is() -> None:
    for spec in known_sources().values():
        assert spec.about.endswith(".")
        assert spec.natural_key.startswith(spec.name + ":") or spec.name == "waitbus"
        assert spec.fields


def test_a_registered_source_is_known_and_its_progress_is_progress() -> None:
    spec = SourceSpec(name="timer", event_types=["tick", "alarm"], progress={"tick"}, concludes={"alarm"})
    register_source(spec)
    register_source(spec)
    assert source("timer") is known_sources()["timer"] is spec
    assert verdict._progress["timer", "tick"] == "always"
    assert verdict._progress["timer", "alarm"] == "without_conclusion"


@pytest.mark.parametrize(
    ("name", "event_types", "said"),
    [
        ("docker", ["something"], "source 'docker' is already declared"),
        ("podman", ["docker_container"], "event type 'docker_container' belongs to source 'docker' already"),
    ],
)
def test_a_source_cannot_take_what_is_anothers(name: str, event_types: list[str], said: str) -> None:
    with pytest.raises(InvalidName) as caught:
        register_source(SourceSpec(name=name, event_types=event_types))
    assert caught.value.message == said


@pytest.mark.parametrize("name", ["", "Timer", "1st", "a-b", "a b", "a\n", "x" * 65])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="is not a name"):
        SourceSpec(name=name, event_types=["tick"])
    with pytest.raises(InvalidName, match="is not a name"):
        SourceSpec(name="timer", event_types=[name])


def test_a_declaration_without_event_types_or_with_foreign_progress_is_refused() -> None:
    with pytest.raises(InvalidName, match="declares no event type"):
        SourceSpec(name="timer", event_types=[])
    with pytest.raises(InvalidName, match="progress names 'tock', which is none of its event types"):
        SourceSpec(name="timer", event_types=["tick"], progress=["tock"])


def test_an_unknown_source_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(UnknownSource, match="no source 'pytset' is known here") as caught:
        source("pytset")
    assert "pytest" in caught.value.hint
