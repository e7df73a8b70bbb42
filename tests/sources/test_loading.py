"""From a declaration to its classes, from the configuration to settings: what is refused, where it says so, what is imported."""

from __future__ import annotations

import sys
from typing import Any

import attrs
import pytest

from tests.sources import doorbell
from tests.sources.doorbell import Doorbell, DoorbellSettings
from waitbus import sources
from waitbus.errors import ConfigError, InvalidValue, SourceUnavailable
from waitbus.sources import SourceSpec, builtin
from waitbus.sources.contract import SourceSettings
from waitbus.sources.loading import configured, load, make, problems, settings_class, settings_of


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, doorbell.SPEC)


def declare(monkeypatch: pytest.MonkeyPatch, spec: SourceSpec) -> None:
    """One more source of our own."""
    several = (*builtin.BUILT_IN, spec)
    monkeypatch.setattr(builtin, "BUILT_IN", several)
    monkeypatch.setattr(sources, "BUILT_IN", several)


def spec(**given: Any) -> SourceSpec:
    return attrs.evolve(doorbell.SPEC, **given)


def test_a_declaration_leads_to_its_classes() -> None:
    assert load(doorbell.SPEC) == (DoorbellSettings, Doorbell)
    assert settings_class(spec(settings="")) is SourceSettings


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ({"implementation": ""}, "source doorbell has nothing to run", "just wait for them"),
        ({"implementation": "tests"}, "implementation 'tests' is not of its form", "write module:Class"),
        ({"implementation": "no_such_module:X"}, "No module named 'no_such_module'", "no_such_module is not there"),
        ({"implementation": "tests.sources.doorbell:Dorbell"}, "has no attribute 'Dorbell'", "source verify doorbell"),
        ({"settings": "tests.sources.doorbell:Doorbell"}, "is no class of settings", "below waitbus.sources.contract"),
        ({"settings": "waitbus.config:RetentionTable"}, "is no class of settings", "below waitbus.sources.contract"),
    ],
)
def test_what_cannot_be_loaded_is_said_with_its_remedy(given: dict[str, str], said: str, hint: str) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        load(spec(**given))
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(("text", "said"), [("1 / 0", "division by zero"), ("raise SystemExit(3)", "3")])
def test_a_module_that_fails_when_it_is_imported_is_the_sources_fault(
    tmp_path: Any, monkeypatch: Any, text: str, said: str
) -> None:
    (tmp_path / "broken_source.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SourceUnavailable, match=f"cannot be loaded: {said}"):
        load(spec(implementation="broken_source:X", settings=""))


def test_a_class_that_refuses_its_settings_is_the_sources_fault() -> None:
    with pytest.raises(SourceUnavailable, match="source doorbell cannot be made"):
        make(spec(implementation="builtins:int"), SourceSettings())


def test_a_table_becomes_settings() -> None:
    found = configured({"doorbell": {"enabled": True, "path": "/x", "names": "alice"}})
    assert [(one.name, one.settings, one.wrong) for one in found] == [
        ("doorbell", DoorbellSettings(enabled=True, path="/x", names=("alice",)), ())
    ]
    assert isinstance(found[0].make(), Doorbell)


WRONG = [
    # the table, its place, what is said, the hint
    ({"path": "/x", "naems": []}, "sources.doorbell.naems", "unknown key", "did you mean 'names'?"),
    ({"path": 3}, "sources.doorbell.path", "3 is not a text", "put it in quotes"),
    ({"path": "/x", "names": [1]}, "sources.doorbell.names", "1 is not a text", "put it in quotes"),
    ({"path": "/x", "loud": "yes"}, "sources.doorbell.loud", "'yes' is neither true nor false", "write true or false"),
    ({}, "sources.doorbell.path", "is not given", "the socket on which it is told"),
    ({"path": "/x", "enabled": "yes"}, "sources.doorbell.enabled", "neither true nor false", "write true or false"),
]


@pytest.mark.parametrize(("table", "place", "said", "hint"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_what_is_wrong_in_a_table_has_its_place_and_its_remedy(
    table: dict[str, Any], place: str, said: str, hint: str
) -> None:
    (found,) = problems({"doorbell": table})
    assert (found.place, said in found.message, hint in found.hint) == (place, True, True)
    (one,) = configured({"doorbell": {"enabled": True, **table}})
    assert [wrong.place for wrong in one.wrong] == [place]
    with pytest.raises(ConfigError, match=said):
        one.make()
    with pytest.raises(ConfigError, match=said):
        settings_of(doorbell.SPEC, {"enabled": True, **table})


def test_a_source_that_nobody_declared_is_told_with_the_one_that_was_meant() -> None:
    (found,) = problems({"dorbell": {}})
    assert found == (
        "sources.dorbell",
        "sources.dorbell: no source 'dorbell' is known here",
        "did you mean 'doorbell'?",
    )
    assert [one.wrong for one in configured({"dorbell": {"enabled": True}})] == [(found,)]
    assert configured({"dorbell": {}}) == []


def test_settings_that_do_not_go_together_are_said_at_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: DoorbellSettings) -> None:
        raise InvalidValue("too loud", hint="whisper")

    @attrs.frozen(kw_only=True)
    class Loud(DoorbellSettings):
        __attrs_post_init__ = refuse

    monkeypatch.setattr(doorbell, "DoorbellSettings", Loud)
    (found,) = problems({"doorbell": {"path": "/x"}})
    assert found == ("sources.doorbell", "sources.doorbell: too loud", "whisper")


def test_a_class_of_settings_that_breaks_is_a_problem_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: DoorbellSettings) -> None:
        raise ZeroDivisionError("by its own fault")

    @attrs.frozen(kw_only=True)
    class Broken(DoorbellSettings):
        __attrs_post_init__ = explode

    monkeypatch.setattr(doorbell, "DoorbellSettings", Broken)
    (found,) = problems({"doorbell": {"path": "/x"}})
    assert found.message == "sources.doorbell: by its own fault"


def test_what_is_switched_off_is_not_imported(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "quiet_source.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    declared = spec(
        name="quiet", event_types=("whisper",), example={}, implementation="quiet_source:X", settings="quiet_source:Y"
    )
    declare(monkeypatch, declared)
    assert configured({"quiet": {"enabled": False, "nonsense": 1}}) == []
    assert "quiet_source" not in sys.modules
    assert [one.name for one in configured({"quiet": {"enabled": True}})] == ["quiet"]
    assert "quiet_source" in sys.modules
