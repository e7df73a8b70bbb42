"""Which packages bring a source, which may be used, and whether their files are those that were installed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import wheels
from waitbus.errors import ConfigError
from waitbus.sources.discovery import GROUP, Entry, entries, parsed
from waitbus.sources.policy import Policy, policy
from waitbus.sources.record import content, has_module, written

ENTRY = Entry("timer", "waitbus_timer:spec", "waitbus-timer", "1.0", Path("/nowhere"))


# -- entry points ------------------------------------------------------------------------------------------------------


def test_the_example_is_found_and_the_first_of_two_installations_counts(tmp_path: Path) -> None:
    files = wheels.contents(wheels.TIMER)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        wheels.unpacked(files, folder)
    info = folders[0] / "waitbus_timer-1.0.dist-info"
    found = list(entries([str(tmp_path / "missing"), *map(str, folders)]))
    assert found == [Entry("timer", "waitbus_timer:spec", "waitbus-timer", "1.0", info)]
    assert found[0].module == "waitbus_timer"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"[{GROUP}]\ntimer = a.b:spec [extra]\n# no\n\nclock=c\n", {"timer": "a.b:spec", "clock": "c"}),
        (f"[console_scripts]\nx = y:z\n[{GROUP}]\nTimer = a:b%s\n", {"Timer": "a:b%s"}),
        (f"[{GROUP}]\ntimer\n", {}),
        (f"[{GROUP}\ntimer = a:b\n", {}),
        (f"timer = a:b\n[{GROUP}]\n", {}),
        ("", {}),
    ],
)
def test_how_entry_points_are_written(text: str, found: dict[str, str]) -> None:
    assert parsed(text, GROUP) == found


@given(st.text(max_size=100))
def test_a_damaged_file_brings_nothing_and_breaks_nothing(text: str) -> None:
    assert isinstance(parsed(f"[{GROUP}]\n{text}", GROUP), dict)


# -- policy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "variables", "refusal"),
    [
        ({}, {}, ""),
        ({"deny": ["timer"]}, {}, "plugins.deny names it"),
        ({"deny": ["Waitbus_Timer"]}, {}, "plugins.deny names it"),
        ({"deny": ["timer"], "allow": ["timer"], "autoload": False}, {}, "plugins.deny names it"),
        ({"deny": ["timer"]}, {"WAITBUS_PLUGINS": "timer"}, "plugins.deny names it"),
        ({"autoload": False}, {}, "plugins.allow does not name it"),
        ({"autoload": False, "allow": ["timer"]}, {}, ""),
        ({"autoload": False, "allow": ["waitbus-timer"]}, {}, ""),
        ({"allow": ["other"]}, {}, ""),
        ({}, {"WAITBUS_DISABLE_SOURCE_AUTOLOAD": "0"}, "plugins.allow does not name it"),
        ({"allow": ["timer"]}, {"WAITBUS_DISABLE_SOURCE_AUTOLOAD": "1"}, ""),
        ({}, {"WAITBUS_DISABLE_SOURCE_AUTOLOAD": "1", "WAITBUS_PLUGINS": "x, timer"}, ""),
        ({"allow": ["timer"]}, {"WAITBUS_DISABLE_SOURCE_AUTOLOAD": "1", "WAITBUS_PLUGINS": "x"}, "does not name it"),
    ],
)
def test_who_may_be_used(table: dict[str, Any], variables: dict[str, str], refusal: str) -> None:
    said = policy(table, variables).refusal(ENTRY)
    assert refusal in said
    assert bool(said) == bool(refusal)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"autolaod": True}, "unknown key 'plugins.autolaod'"),
        ({"autoload": "yes"}, "plugins.autoload: 'yes' is neither true nor false"),
        ({"allow": "timer"}, "plugins.allow: 'timer' is no list of names"),
        ({"deny": [1]}, "is no list of names"),
        ({"trust": "nobody"}, "plugins.trust: 'nobody' is none of distribution, content"),
    ],
)
def test_a_table_that_is_wrong_is_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        policy(table, {})


def test_nothing_is_forbidden_by_default() -> None:
    assert policy({}, {}) == Policy()


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def info(tmp_path: Path) -> Path:
    return wheels.unpacked(wheels.contents(wheels.TIMER), tmp_path / "site")


def test_the_content_of_a_wheel_is_the_same_wherever_it_is_installed(info: Path, tmp_path: Path) -> None:
    other = wheels.unpacked(wheels.contents(wheels.TIMER), tmp_path / "other")
    (other / "INSTALLER").write_text("uv\n")
    cache = b'{"timestamp": 5}'
    (other / "uv_cache.json").write_bytes(cache)
    (other / "direct_url.json").write_text('{"url": "file:///x.whl", "archive_info": {}}')
    with open(other / "RECORD", "a") as file:
        file.write(f"{other.name}/INSTALLER,,\nwaitbus_timer/__pycache__/run.cpython-311.pyc,,\n")
        file.write(f"{other.name}/uv_cache.json,sha256={written(hashlib.sha256(cache).digest())},{len(cache)}\n")
    first, second = content(info), content(other)
    assert (first.wrong, second.wrong) == ("", "")
    assert first.hash == second.hash
    assert first.hash.startswith("sha256:")
    assert has_module(first, info, "waitbus_timer")
    assert has_module(first, info, "waitbus_timer.run")
    assert not has_module(first, info, "os")


def _other_content(info: Path) -> None:
    (info.parent / "waitbus_timer" / "run.py").write_text("import os\n")


def _missing(info: Path) -> None:
    (info.parent / "waitbus_timer" / "run.py").unlink()


def _no_record(info: Path) -> None:
    (info / "RECORD").unlink()


def _garbage(info: Path) -> None:
    (info / "RECORD").write_bytes(b"\xff\xfe\x00")


def _without_hash(info: Path) -> None:
    with open(info / "RECORD", "a") as file:
        file.write("waitbus_timer/more.py,,\n")


def _weak_hash(info: Path) -> None:
    with open(info / "RECORD", "a") as file:
        file.write("waitbus_timer/more.py,md5=x,1\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_other_content, "waitbus_timer/run.py is not the file that was installed"),
        (_missing, "waitbus_timer/run.py is missing"),
        (_no_record, "it has no RECORD"),
        (_garbage, "its RECORD cannot be read"),
        (_without_hash, "its RECORD has no hash for waitbus_timer/more.py"),
        (_weak_hash, "'md5' for waitbus_timer/more.py, which is no hash to trust"),
    ],
)
def test_files_that_do_not_agree_with_the_record_are_named(
    info: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(info)
    found = content(info)
    assert said in found.wrong
    assert found.hash == ""


def test_a_file_that_cannot_be_a_file_is_no_bug(info: Path) -> None:
    os.unlink(info.parent / "waitbus_timer" / "run.py")
    os.mkdir(info.parent / "waitbus_timer" / "run.py")
    assert "waitbus_timer/run.py is missing or cannot be read" in content(info).wrong


def test_an_editable_installation_is_seen_as_one(info: Path) -> None:
    wheels.editable(info)
    assert content(info).editable
