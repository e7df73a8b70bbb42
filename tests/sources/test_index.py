"""The index of what is installed: declarations without code, kept until something changes; nobody's fault is another's."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import wheels
from waitbus import declared, sources, verdict
from waitbus.document import Document
from waitbus.errors import ConfigError, PluginBroken, PluginRefused, SourceUnavailable, UnknownSource
from waitbus.events import EventInsert
from waitbus.paths import config_path, state_dir
from waitbus.sources import declaration, index, known_sources, pins, plugins, source
from waitbus.sources.discovery import GROUP
from waitbus.sources.in_child import InChild

GOOD = """
from waitbus import SourceSpec
spec = SourceSpec(name="clock", event_types=["tock"], progress=["tock"], about="A clock.", implementation="clock.run:Clock")
"""
Install = Callable[..., Path]


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_registered", {})
    monkeypatch.setattr(index, "_made", None)
    monkeypatch.setattr(verdict, "_progress", dict(verdict._progress))
    monkeypatch.setattr(verdict, "_asked", set(verdict._asked))


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, for this process and its children."""
    folder = home / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep))
    return folder


@pytest.fixture
def install(site: Path) -> Install:
    """`install(code, name="clock", version="1.0")` gives the `*.dist-info` of a package with that declaration."""

    def work(
        code: str = GOOD, name: str = "clock", version: str = "1.0", value: str | None = None, of: str | None = None
    ) -> Path:
        modules = {f"{name}/__init__.py": code.encode(), f"{name}/run.py": b"raise AssertionError('imported')\n"}
        points = {GROUP: {name: value or f"{name}:spec"}}
        return wheels.unpacked(wheels.with_info(of or f"the-{name}", version, points, modules), site)

    return work


def configure(text: str) -> None:
    config_path().parent.mkdir(mode=0o700, exist_ok=True)
    config_path().write_text(text)


def refused(name: str = "clock") -> dict[str, str]:
    (row,) = [row for row in index.index()["refused"] if row["name"] == name]
    return dict(row)


# -- a plugin that is well ---------------------------------------------------------------------------------------------


def test_a_plugin_is_known_pinned_and_told_once(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install()
    assert known_sources()["clock"].about == "A clock."
    assert source("clock").event_types == ("tock",)
    known_sources()
    assert [record.message for record in caplog.records] == [
        "source 'clock' of the-clock 1.0 is used for the first time, and trusted from now on "
        "(`waitbus allowlist list`; plugins.deny forbids it)"
    ]
    assert [(pin.name, pin.distribution, pin.version, pin.how) for pin in pins.read()] == [
        ("clock", "the-clock", "1.0", "first use")
    ]


def test_its_progress_is_progress_in_a_process_that_never_asked_for_it(install: Install) -> None:
    install()
    tick = Document.of_insert(EventInsert(source="clock", event_type="tock"))
    assert verdict.is_progress(tick)
    assert not verdict.is_progress(Document.of_insert(EventInsert(source="stranger", event_type="tock")))


def old(*folders: Path) -> None:
    """Let everything be of a minute ago: what has just changed is not kept, since it may change again within the same instant."""
    then = time.time() - 60
    for folder in folders:
        for path in [*folder.rglob("*"), folder]:
            os.utime(path, (then, then))


def test_the_index_is_read_by_others_until_something_changes(
    install: Install, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    known_sources()  # pins it
    old(site, config_path().parent)
    monkeypatch.setattr(index, "_made", None)
    known_sources()
    with monkeypatch.context() as patch:
        patch.setattr(declaration, "ask", None)  # nobody is asked any more
        patch.setattr(index, "_made", None)
        assert known_sources()["clock"].about == "A clock."
        assert declared.progress_rules("clock") == {"tock": "always"}
        stored = declared.stored()
        assert stored is not None
        assert set(stored["sources"]) == {"clock"}
    (site / "clock" / "__init__.py").write_text(GOOD + "\n")
    assert declared.stored() is None
    assert "clock" not in known_sources()
    assert refused()["message"] == (
        "plugin 'clock' of the-clock 1.0 is not used: clock/__init__.py is not the file that was installed"
    )


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"watched": {}}', b'{"watched": {}, "sources": {}, "of": 1}'])
def test_an_index_that_is_damaged_is_made_anew(
    install: Install, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    path = declared.index_path(declared.of())
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(content)
    assert "clock" in known_sources()


def test_without_a_place_for_the_index_everything_works(install: Install, home: Path) -> None:
    install()
    state_dir().write_text("a file where a folder was expected")
    assert "clock" in known_sources()


def test_packages_in_the_current_folder_are_nobodys(
    install: Install, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.chdir(site)
    assert "clock" not in known_sources()


def test_packages_beside_the_script_are_nobodys(install: Install, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    monkeypatch.setattr("sys.argv", [str(site / "script.py")])
    assert "clock" not in known_sources()


def test_an_editable_installation_is_used_and_never_pinned(install: Install) -> None:
    wheels.editable(install())
    assert "clock" in known_sources()
    assert index.index()["sources"]["clock"]["editable"] is True
    assert pins.read() == []


def test_a_factory_and_a_module_alone_will_do(install: Install) -> None:
    install(GOOD.replace("spec = ", "made = ") + "\ndef make():\n    return made\n", value="clock:make")
    assert "clock" in known_sources()


# -- trust -------------------------------------------------------------------------------------------------------------


def test_a_new_version_is_pinned_and_told_once(install: Install, site: Path, caplog: pytest.LogCaptureFixture) -> None:
    known_after(install, "1.0")
    remove(site, "1.0")
    caplog.clear()
    known_after(install, "1.1")
    known_sources()
    assert len(caplog.records) == 1
    assert "the-clock 1.1 is used in a new version" in caplog.text
    assert [(pin.version, pin.how) for pin in pins.read()] == [("1.0", "first use"), ("1.1", "new version")]


def known_after(install: Install, version: str) -> None:
    install(GOOD + f"# {version}\n", version=version)
    assert "clock" in known_sources()


def remove(site: Path, version: str) -> None:
    info = site / f"the_clock-{version}.dist-info"
    for path in info.iterdir():
        path.unlink()
    info.rmdir()


def test_with_trust_in_content_a_new_version_waits_for_a_decision(install: Install, site: Path) -> None:
    configure('[plugins]\ntrust = "content"\n')
    known_after(install, "1.0")
    remove(site, "1.0")
    install(GOOD + "# 1.1\n", version="1.1")
    assert "clock" not in known_sources()
    assert refused()["hint"] == "`waitbus allowlist add clock` trusts it as it is"
    from waitbus.sources import trusted

    assert trusted.add("clock").how == "by hand"
    assert "clock" in known_sources()


def test_the_same_version_with_other_files_is_refused(install: Install) -> None:
    known_after(install, "1.0")
    install(GOOD + "# changed, and RECORD with it\n", version="1.0")
    assert "clock" not in known_sources()
    assert "its files are not those of version 1.0 that was trusted" in refused()["message"]


def test_another_distribution_cannot_take_the_name(install: Install, site: Path) -> None:
    known_after(install, "1.0")
    remove(site, "1.0")
    install(of="evil-clock")
    assert "clock" not in known_sources()
    assert "the-clock is trusted under this name, and evil-clock is another one" in refused()["message"]


def test_deny_always_wins_and_is_heard_at_once(install: Install) -> None:
    known_after(install, "1.0")
    configure('[plugins]\ndeny = ["clock"]\nallow = ["clock"]\n')
    assert "clock" not in known_sources()
    assert "plugins.deny names it" in refused()["message"]
    with pytest.raises(PluginRefused, match=r"plugins\.deny names it"):
        plugins.check("clock")


def test_damaged_pins_trust_nobody(install: Install) -> None:
    install()
    pins.pins_path().parent.mkdir(mode=0o700)
    pins.pins_path().write_text("nonsense")
    assert "clock" not in known_sources()
    assert "allowlist repair" in refused()["hint"]


def test_what_runs_is_held_against_its_pin_again(install: Install, site: Path) -> None:
    install()
    made = plugins.source_for(source("clock"), {})
    assert isinstance(made, InChild)
    made.program()
    (site / "clock" / "run.py").write_text("import os\n")
    with pytest.raises(PluginRefused, match=r"clock/run\.py is not the file that was installed"):
        made.program()


# -- a plugin that is not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value", "said"),
    [
        ("raise RuntimeError('boom')", None, "RuntimeError: boom"),
        ("import nothing_of_that_name", None, "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise SystemExit(3)", None, "SystemExit: 3"),
        ("import os; os._exit(3)", None, "ended without one"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", None, "ended without one"),
        ("spec = 5", None, "clock:spec gives int, and a waitbus.SourceSpec was expected"),
        ("def spec(): raise ValueError('no')", None, "ValueError: no"),
        ("x = 1", None, "AttributeError: module 'clock' has no attribute 'spec'"),
        ("import os; os.write(1, b'x' * 300_000)\n" + GOOD, None, ""),
        ("print('{\"spec\": 1}')\n" + GOOD, None, ""),
        (GOOD.replace('"clock"', '"watch"'), None, "is called 'clock' and declares the source 'watch'"),
        (GOOD.replace('"tock"', '"push"'), None, "event type 'push' belongs to source 'github'"),
        (GOOD.replace('["tock"]', '["A b"]'), None, "event_type 'A b' is not a name"),
        (GOOD.replace('about="A clock."', "about=5"), None, "5 in a declaration is not a text"),
        (GOOD.replace('about="A clock."', "example={'x': {1}}"), None, "cannot be written as JSON"),
        (GOOD.replace('"A clock."', '"x" * 300_000'), None, "ended without one"),
        (GOOD, "os:getcwd", "its entry point names os, which is none of its files"),
    ],
)
def test_what_a_package_does_is_its_own_fault(install: Install, code: str, value: str | None, said: str) -> None:
    install(code, value=value)
    install(GOOD.replace("clock", "watch").replace("tock", "tack"), name="watch")
    known = known_sources()
    assert "watch" in known
    assert ("clock" in known) is (not said)
    if said:
        assert said in refused()["message"]
        assert refused()["hint"]


def test_a_name_of_ours_is_not_to_be_had(install: Install) -> None:
    install(GOOD.replace("clock", "docker"), name="docker")
    assert known_sources()["docker"].about.startswith("Containers")
    assert "another source is called 'docker'" in refused("docker")["message"]


def test_a_declaration_that_never_comes_is_given_up(
    install: Install, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(declaration, "TIME", 1.0)
    install(f"import os, signal; open({str(home / 'pid')!r}, 'w').write(str(os.getpid())); signal.pause()")
    began = time.monotonic()
    (entry,) = index.installed()
    with pytest.raises(PluginBroken, match="took more than 1 s"):
        declaration.ask(entry)
    assert time.monotonic() - began < 5
    assert not Path(f"/proc/{(home / 'pid').read_text()}").exists()


def test_its_code_is_imported_in_no_process_of_ours(install: Install) -> None:
    """`clock/run.py` raises where it is imported."""
    import sys

    install()
    assert "clock" in known_sources()
    assert not [name for name in sys.modules if name.startswith("clock")]


# -- the configuration -------------------------------------------------------------------------------------------------


def test_a_command_of_the_configuration_is_a_source(home: Path) -> None:
    configure('[sources.syslog]\ncommand = ["tail", "-F", "/var/log/syslog"]\nenabled = true\n')
    spec = known_sources()["syslog"]
    assert (spec.event_types, spec.about) == (("syslog_line",), "The lines that tail prints.")
    assert isinstance(plugins.source_for(spec, {"command": ["tail", "-F", "x"]}), InChild)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"command": "tail -F x"}, "sources.x.command: 'tail -F x' is no list of words"),
        ({"command": []}, "sources.x.command: '[]' is no list of words"),
        ({"command": [""]}, "without a command"),
        ({"command": ["a\0b"]}, "no list of words"),
        ({"command": ["a"], "comand": 1}, "unknown key 'sources.x.comand'"),
        ({"command": ["a"], "event_type": "A b"}, "sources.x.event_type: 'A b' is not a name"),
        ({"command": ["a"], "env": "TOKEN"}, "sources.x.env: 'TOKEN' is no list of variables"),
        ({"command": ["a"], "env": ["A=b"]}, "is no list of variables"),
        ({"command": ["a"], "memory": "big"}, "sources.x.memory: 'big' is not a size"),
        ({"command": ["a"], "silence": "soon"}, "sources.x.silence: 'soon' is not a duration"),
        ({"command": ["a"], "about": 5}, "sources.x.about: '5' is not a text"),
    ],
)
def test_a_table_that_is_wrong_is_named(table: dict[str, Any], said: str) -> None:
    from waitbus.sources.command import command_table

    with pytest.raises(ConfigError) as caught:
        command_table("x", table)
    assert said in caught.value.message
    assert caught.value.hint
    spec = command_table("x", {"command": ["a"]}).spec()
    settings, (problem,) = plugins.their_settings(spec, table)
    assert (settings, problem.place) == (None, "sources.x")


@pytest.mark.parametrize("name", ["docker", "Syslog", "a-b"])
def test_a_name_that_is_taken_or_none_is_refused(name: str) -> None:
    configure(f'[sources.{name}]\ncommand = ["a"]\n')
    assert known_sources()["docker"].about.startswith("Containers")
    assert name in refused(name)["message"]


@pytest.mark.parametrize("text", ["[plugins]\ndeny = 5\n", "plugins = 1\n", "sources = 1\n", "nonsense"])
def test_a_configuration_that_is_wrong_uses_no_plugin(install: Install, text: str) -> None:
    install()
    configure(text)
    assert "clock" not in known_sources()
    assert refused("")["message"]


def test_what_is_not_run_says_so() -> None:
    with pytest.raises(SourceUnavailable, match="source agent has nothing to run"):
        plugins.source_for(source("agent"))
    with pytest.raises(UnknownSource):
        source("clock")


def test_a_setting_that_json_has_not_is_named(install: Install) -> None:
    import datetime

    install()
    made = plugins.source_for(source("clock"), {"when": datetime.date(2026, 1, 1)})
    assert isinstance(made, InChild)
    with pytest.raises(ConfigError, match=r"sources\.clock: Object of type date"):
        made.program()


def test_the_index_is_bounded(install: Install, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    old(site)
    for number in range(20):
        monkeypatch.setenv("WAITBUS_PLUGINS", f"name{number}")
        monkeypatch.setattr(index, "_made", None)
        index.index()
    kept = list((state_dir() / "declared").iterdir())
    assert 1 <= len(kept) <= index.INDEXES_MAX
    assert all(json.loads(path.read_text())["sources"] == {} for path in kept)


def test_of_two_distributions_with_one_name_the_second_is_never_run(install: Install, home: Path) -> None:
    install()
    mark = home / "second-was-run"
    modules = {"second/__init__.py": f"open({str(mark)!r}, 'w')\n{GOOD}".encode()}
    files = wheels.with_info("zz-clock", "1.0", {GROUP: {"clock": "second:spec"}}, modules)
    wheels.unpacked(files, home / "site")
    assert known_sources()["clock"].about == "A clock."
    assert "the-clock is trusted under this name, and zz-clock is another one" in refused()["message"]
    assert not mark.exists()
