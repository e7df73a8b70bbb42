"""Trust on first use: what is pinned, what is told, what is refused; and a file that is whole or not there."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

from waitbus.errors import FileUnwritable, PinsDamaged
from waitbus.sources import pins
from waitbus.sources.discovery import Entry
from waitbus.sources.pins import Pin
from waitbus.sources.policy import Policy
from waitbus.sources.record import Content

ENTRY = Entry("timer", "waitbus_timer:spec", "waitbus-timer", "1.0", Path("/nowhere"))
NOW = Content(hash="sha256:aa")
PIN = Pin("timer", "waitbus-timer", "1.0", "sha256:aa", "2026-11-29T09:00:00Z")
OTHER = attrs.evolve(PIN, content="sha256:bb")
OLD = attrs.evolve(PIN, version="0.9", content="sha256:cc")
STRANGER = attrs.evolve(PIN, distribution="evil-timer")


@pytest.mark.parametrize(
    ("known", "found", "trust", "state", "reason"),
    [
        ([], NOW, "distribution", "new", ""),
        ([], NOW, "content", "new", ""),
        ([PIN], NOW, "content", "pinned", ""),
        ([OLD, PIN], NOW, "content", "pinned", ""),
        ([OLD], NOW, "distribution", "new_version", ""),
        ([OLD], NOW, "content", "refused", "version 1.0 is not trusted yet (plugins.trust is 'content')"),
        ([OTHER], NOW, "distribution", "refused", "its files are not those of version 1.0 that was trusted"),
        (
            [STRANGER],
            NOW,
            "distribution",
            "refused",
            "evil-timer is trusted under this name, and waitbus-timer is another one",
        ),
        ([STRANGER, PIN], NOW, "distribution", "pinned", ""),
        ([attrs.evolve(OTHER, name="clock")], NOW, "distribution", "new", ""),
        (
            [],
            Content(wrong="a.py is not the file that was installed"),
            "distribution",
            "refused",
            "a.py is not the file",
        ),
        ([PIN], Content(wrong="a.py is missing"), "distribution", "refused", "a.py is missing"),
        ([], Content(editable=True), "content", "editable", ""),
        ([OTHER], Content(editable=True), "distribution", "editable", ""),
    ],
)
def test_what_the_pins_say(known: list[Pin], found: Content, trust: str, state: str, reason: str) -> None:
    judged = pins.judge(known, ENTRY, found, Policy(trust=trust))  # type: ignore[arg-type]
    assert judged.state == state
    assert reason in judged.reason
    assert bool(judged.reason) == bool(judged.hint) == (state == "refused")


ATTESTED = attrs.evolve(PIN, publisher="GitHub a/b release.yml")
OLD_ATTESTED = attrs.evolve(OLD, publisher="GitHub a/b release.yml")
NOBODY_LOOKED = "nobody's attestation of it was looked at, and plugins.require_attestation asks for one"
WHO = "GitHub a/b release.yml published what was trusted, and nobody looked yet who published version 1.0"


@pytest.mark.parametrize(
    ("known", "found", "required", "state", "reason"),
    [
        ([ATTESTED], NOW, False, "pinned", ""),
        ([ATTESTED], NOW, True, "pinned", ""),
        ([OLD_ATTESTED, ATTESTED], NOW, True, "pinned", ""),
        ([OLD_ATTESTED, PIN], NOW, False, "pinned", ""),  # somebody decided
        ([OLD_ATTESTED, PIN], NOW, True, "refused", NOBODY_LOOKED),
        ([OLD_ATTESTED], NOW, False, "refused", WHO),
        ([OLD_ATTESTED], NOW, True, "refused", WHO),
        ([attrs.evolve(OLD_ATTESTED, name="clock")], NOW, False, "new", ""),
        ([], NOW, True, "refused", NOBODY_LOOKED),
        ([OLD], NOW, True, "refused", NOBODY_LOOKED),
        ([PIN], NOW, True, "refused", NOBODY_LOOKED),
        (
            [attrs.evolve(ATTESTED, content="sha256:bb")],
            NOW,
            False,
            "refused",
            "its files are not those of version 1.0",
        ),
        ([], Content(editable=True), True, "refused", NOBODY_LOOKED),
        ([ATTESTED], Content(wrong="a.py is missing"), True, "refused", "a.py is missing"),
    ],
)
def test_what_they_say_where_publishers_are_trusted(
    known: list[Pin], found: Content, required: bool, state: str, reason: str
) -> None:
    judged = pins.judge(known, ENTRY, found, Policy(require_attestation=required))
    assert judged.state == state
    assert reason in judged.reason
    assert bool(judged.reason) == bool(judged.hint) == (state == "refused")
    assert ("--attested" in judged.hint) == (judged.reason in (NOBODY_LOOKED, WHO))


def test_a_decision_replaces_another_distribution_and_the_same_version_and_keeps_the_rest() -> None:
    clock = attrs.evolve(PIN, name="clock")
    assert pins.with_pin([OLD, STRANGER, OTHER, clock], PIN, alone=True) == [OLD, clock, PIN]


def test_of_a_source_the_newest_versions_stay() -> None:
    many = [attrs.evolve(PIN, version=str(number)) for number in range(100)]
    clock = attrs.evolve(PIN, name="clock")
    kept: list[Pin] = []
    for pin in (clock, *many):
        kept = pins.with_pin(kept, pin)
    assert kept == [clock, *many[-pins.VERSIONS_MAX :]]


def test_pins_come_back_as_they_were_written() -> None:
    with pins.changing() as known:
        assert known == []
        known += [OLD, PIN, ATTESTED]
    assert pins.read() == [OLD, PIN, ATTESTED]
    assert tomllib.loads(pins.pins_path().read_text())["plugin"][1]["content"] == "sha256:aa"
    assert pins.pins_path().stat().st_mode & 0o777 == 0o600


def test_what_is_not_changed_is_not_written() -> None:
    with pins.changing() as known:
        known.append(PIN)
    before = pins.pins_path().stat()
    with pins.changing():
        pass
    assert pins.pins_path().stat() == before


ADD = """
import sys
from waitbus.sources import pins
for number in range(20):
    with pins.changing() as known:
        known.append(pins.Pin(sys.argv[1], "d", str(number), "sha256:aa", "now"))
"""


def test_many_processes_that_pin_at_once_lose_no_pin() -> None:
    writers = [subprocess.Popen([sys.executable, "-c", ADD, f"plugin{number}"]) for number in range(4)]
    assert [writer.wait(30) for writer in writers] == [0] * 4
    found = pins.read()
    assert {(pin.name, pin.version) for pin in found} == {(f"plugin{n}", str(v)) for n in range(4) for v in range(20)}
    assert len(found) == 80


def test_somebody_who_holds_the_lock_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "LOCK_WAIT", 0.05)
    with (
        pins.changing(),
        pytest.raises(FileUnwritable, match=r"another process holds .*plugins\.lock"),
        pins.changing(),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "said", "kept"),
    [
        ("[[plugin]\n", "it is not TOML", 0),
        ("\udcff", "it is not TOML", 0),
        ("plugin = 1\n", "something else than pins", 0),
        ("x = 1\n", "something else than pins", 0),
        ('[[plugin]]\nname = "timer"\n', "1 of 1 pins are none", 0),
        ("[[plugin]]\n" + "".join(f"{k} = 1\n" for k in attrs.asdict(PIN)), "1 of 1 pins are none", 0),
        (
            "[[plugin]]\n" + "".join(f'{k} = "{v}"\n' for k, v in attrs.asdict(PIN).items()) + "[[plugin]]\nname = 1\n",
            "1 of 2 pins are none",
            1,
        ),
    ],
)
def test_a_damaged_file_trusts_nobody_and_is_not_written_over(text: str, said: str, kept: int) -> None:
    path = pins.pins_path()
    path.parent.mkdir(mode=0o700)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PinsDamaged, match=said):
        pins.read()
    with pytest.raises(PinsDamaged), pins.changing():
        pass
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")
    assert len(pins.salvaged(path)[0]) == kept
