"""What the declarations say of themselves is true: examples are events, their terms match, docs/SOURCES.md is made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import document
from waitbus.client.aside import UNRUN, aside_of
from waitbus.document import Document
from waitbus.events import COLUMN_FIELDS, EventInsert
from waitbus.ops.source_facts import example_frame
from waitbus.ops.sources_page import page
from waitbus.predicate import Predicate
from waitbus.render import parts
from waitbus.sources import known_sources
from waitbus.wire import ASIDE

SPECS = list(known_sources().values())
SOURCES_MD = Path(__file__).parents[2] / "docs" / "SOURCES.md"


def example(name: str) -> EventInsert:
    return EventInsert(source=name, **known_sources()[name].example)


def test_every_source_has_an_example_and_three_terms() -> None:
    assert [spec.name for spec in SPECS if not spec.example or len(spec.matches) < 3] == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_its_example_is_an_event_of_it(spec) -> None:
    """Of a declared type, with declared fields and words, and matched by one of its terms."""
    event = example(spec.name)
    assert event.event_type in spec.event_types
    assert set(event.fields) <= set(spec.fields)
    for key, words in spec.vocabulary.items():
        value = event.fields.get(key, getattr(event, key, None) if key in COLUMN_FIELDS else None)
        assert value is None or value in words
    seen = Document.of_insert(event)
    assert any(Predicate.parse(match).matches(seen) for match in spec.matches)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_its_example_reads_well_in_one_line(spec) -> None:
    """It says what it is about."""
    frame = example_frame(spec)
    assert frame is not None
    assert parts(frame).about


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_its_words_belong_to_something(spec) -> None:
    assert set(spec.vocabulary) <= {*spec.fields, "status", "conclusion", "action"}
    assert set(spec.types) <= set(spec.fields)
    assert all(about and not about.endswith(".") for about in spec.fields.values())


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [
        ("github", "run_id", "integer"),
        ("github", "number", "integer"),
        ("github", "head_sha", "text"),
        ("process", "pid", "integer"),
        ("process", "signal", "text"),
        ("agent", "msg_body", "text"),
    ],
)
def test_the_type_of_a_field(name: str, key: str, kind: str) -> None:
    assert known_sources()[name].type_of(key) == kind


def test_the_page_is_what_the_declarations_say() -> None:
    """`python -m waitbus.ops.sources_page > docs/SOURCES.md` writes it."""
    assert SOURCES_MD.read_text(encoding="utf-8") == page()


def test_the_page_has_every_source_type_and_field() -> None:
    text = page()
    for spec in SPECS:
        assert f"\n## {spec.name}\n" in text
        assert all(f"| `{one}` |" in text for one in (*spec.event_types, *spec.fields))
    assert max(map(len, re.findall(r"^[^|{`].*$", text, re.MULTILINE))) < 400


# -- what is heard aside -----------------------------------------------------------------------------------------------


def test_whoever_can_be_run_can_go_down() -> None:
    """The names in `aside` are those of sources that nobody runs."""
    assert set(known_sources()) >= UNRUN
    assert [spec.name for spec in SPECS if spec.implementation and spec.name in UNRUN - {"process"}] == []


def test_the_health_of_a_source_is_heard_by_its_name() -> None:
    found = aside_of(["docker", "fs", "agent"])
    assert found is not None
    assert set(found.wire()) >= ASIDE

    def seen(event_type: str, name: str, source: str = "waitbus") -> Document:
        return document(source=source, event_type=event_type, fields={"name": name})

    assert found.matches(seen("source_down", "docker"))
    assert found.matches(seen("source_up", "fs"))
    assert not found.matches(seen("source_down", "agent"))
    assert not found.matches(seen("source_down", "other"))
    assert not found.matches(seen("source_down", "docker", source="agent"))
    assert not found.matches(seen("docker_event", "docker"))


def test_a_wait_for_what_nobody_runs_hears_nothing_aside() -> None:
    assert aside_of(["agent", "process"]) is None
    assert aside_of([]) is None
