"""`waitbus allowlist`: what is installed and trusted, and what somebody decides about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import schemas, support, wheels
from waitbus.sources import index, pins

Call = Callable[..., support.Result]


@pytest.fixture
def info(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example, installed for this process."""
    monkeypatch.setattr(index, "_made", None)
    monkeypatch.syspath_prepend(home / "site")
    monkeypatch.setenv(
        "PYTHONPATH", f"{home / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    )
    return wheels.unpacked(wheels.contents(wheels.TIMER), home / "site")


def test_nothing_is_installed_and_nothing_trusted(call: Call) -> None:
    assert call("allowlist", "list") == (
        0,
        "",
        "no plugins: none is installed in this Python, and none was ever trusted\n",
    )
    assert call("allowlist", "list", "--json") == (0, "", "")
    assert call("allowlist", "verify") == (0, "", "no plugin is installed in this Python\n")


def test_looking_trusts_nobody(call: Call, info: Path) -> None:
    done = call("allowlist", "list")
    assert done.out == "timer  waitbus-timer 1.0  not used yet; trusted when it is\n"
    (row,) = schemas.lines("allowlist-list", call("allowlist", "list", "--json").out)
    assert (row["name"], row["state"], row["trusted_at"]) == ("timer", "new", None)
    assert not pins.pins_path().exists()


def test_somebody_trusts_it_and_forgets_it(call: Call, info: Path) -> None:
    row = schemas.checked("allowlist-add", call("allowlist", "add", "timer", "--json").out)
    assert (row["state"], row["how"]) == ("pinned", "by hand")
    done = call("allowlist", "list")
    assert done.out == f"timer  waitbus-timer 1.0  trusted  since {row['trusted_at']} (by hand)\n"
    assert call("allowlist", "verify", "timer").code == 0
    (verified,) = schemas.lines("allowlist-verify", call("allowlist", "verify", "--json").out)
    assert verified == {**row, "attestation": None}
    assert call("allowlist", "verify").out.splitlines()[1] == (
        "      its 6 files are those of RECORD, and those that are trusted"
    )
    assert call("allowlist", "remove", "timer") == (0, "", "forgot 1 version of timer\n")
    done = call("allowlist", "remove", "timer")
    assert (done.code, done.err.splitlines()[0]) == (1, "error: no plugin 'timer' is trusted")
    said = schemas.checked("allowlist-remove", call("allowlist", "remove", "timer", "--json").out)
    assert said == {"name": "timer", "removed": 0}


def test_what_is_forbidden_is_shown_as_that(call: Call, info: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("allowlist", "add", "timer").code == 0
    monkeypatch.setenv("WAITBUS_DISABLE_SOURCE_AUTOLOAD", "1")
    done = call("allowlist", "verify")
    assert done.code == 1
    assert "not used: plugins are not loaded by themselves here" in done.out
    monkeypatch.setenv("WAITBUS_PLUGINS", "timer")
    assert call("allowlist", "verify").code == 0


def test_what_was_changed_is_shown_with_what_helps(call: Call, info: Path) -> None:
    assert call("allowlist", "add", "timer").code == 0
    (info.parent / "waitbus_timer" / "run.py").write_text("import os\n")
    done = call("allowlist", "verify", "timer")
    assert (done.code, done.out.splitlines()) == (
        1,
        [
            "timer  waitbus-timer 1.0  not used: waitbus_timer/run.py is not the file that was installed",
            "      install waitbus-timer anew, or remove it",
        ],
    )
    schemas.lines("allowlist-verify", call("allowlist", "verify", "--json").out)


def test_an_editable_installation_is_shown_and_never_pinned(call: Call, info: Path) -> None:
    wheels.editable(info)
    assert call("allowlist", "list").out == "timer  waitbus-timer 1.0  installed to be edited: used, and never pinned\n"
    done = call("allowlist", "add", "timer")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: plugin 'timer' of waitbus-timer 1.0 is installed to be edited, and is never pinned",
    )
    assert not pins.pins_path().exists()


def test_a_damaged_file_is_set_aside_and_what_can_be_read_is_kept(call: Call, info: Path) -> None:
    assert call("allowlist", "add", "timer").code == 0
    path = pins.pins_path()
    with open(path, "a") as file:
        file.write('[[plugin]]\nname = "half"\n')
    damaged = path.read_bytes()
    assert call("allowlist", "list").code == 2
    said = schemas.checked("allowlist-repair", call("allowlist", "repair", "--dry-run", "--json").out)
    assert (said["wrong"], said["kept"], said["aside"]) == ("1 of 2 pins are none", 1, None)
    assert path.read_bytes() == damaged
    done = call("allowlist", "repair")
    assert (done.code, "kept 1 pin; the damaged file is" in done.err) == (0, True)
    assert [pin.name for pin in pins.read()] == ["timer"]
    (aside,) = path.parent.glob("plugins.toml.damaged-*")
    assert aside.read_bytes() == damaged
    assert call("allowlist", "repair").err.endswith("plugins.toml is in order\n")
    schemas.checked("allowlist-repair", call("allowlist", "repair", "--json").out)


def test_a_folder_in_its_place_is_set_aside_too(call: Call, home: Path) -> None:
    pins.pins_path().mkdir(parents=True, mode=0o700)
    done = call("allowlist", "repair")
    assert (done.code, "kept 0 pins; the damaged file is" in done.err) == (0, True), done
    assert pins.read() == []


def test_a_folder_that_may_not_be_written_is_said(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    pins.pins_path().mkdir(parents=True, mode=0o700)
    monkeypatch.setattr("os.rename", refused)
    done = call("allowlist", "repair")
    assert (done.code, done.err.splitlines()) == (
        74,
        [f"error: cannot set {pins.pins_path()} aside: Permission denied", "hint: mend the rights of its folder"],
    )


def test_what_is_wrong_with_a_plugin_is_said_where_sources_are_looked_at(
    call: Call, home: Path, info: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (info.parent / "waitbus_timer" / "run.py").write_text("import os\n")
    said = "plugin 'timer' of waitbus-timer 1.0 is not used: waitbus_timer/run.py is not the file that was installed"
    assert f"warning: {said} (install waitbus-timer anew, or remove it)\n" in call("source", "list").err
    done = call("source", "show", "timer")
    assert (done.code, done.err.splitlines()) == (
        2,
        [f"error: {said}", "hint: install waitbus-timer anew, or remove it"],
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[plugins]\ndney = []\n", "c.toml:1: unknown key 'plugins.dney'"),
        ('[sources.x]\ncommand = "a b"\n', "c.toml:1: sources.x.command: 'a b' is no list of words"),
        ('[sources.x]\ncommand = ["a"]\nenabled = true\n', ""),
    ],
)
def test_a_file_that_is_not_in_force_is_judged_too(call: Call, home: Path, text: str, said: str) -> None:
    (home / "c.toml").write_text(text)
    done = call("config", "validate", str(home / "c.toml"))
    assert (done.code, said in done.err) == (2 if said else 0, True), done
