"""`waitbus source`: the declarations as pages and JSON, whether a source can run here, and one that runs in the foreground."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import schemas, support
from tests.logs import rows
from tests.sources.doorbell import ENVIRONMENT, PROGRAM, tell
from waitbus import render
from waitbus.ops.source_facts import example_frame
from waitbus.sources import known_sources
from waitbus.store import Log

Call = Callable[..., support.Result]
Spawn = Callable[..., subprocess.Popen[str]]


def doorbell(*argv: str, **kwargs: Any) -> support.Result:
    """The command line of a `waitbus` that knows the doorbell."""
    return support.run([*PROGRAM, *argv], env={**ENVIRONMENT, **kwargs.pop("env", {})}, **kwargs)


# -- list and show -----------------------------------------------------------------------------------------------------


def test_every_source_is_listed_with_its_event_types(call: Call) -> None:
    done = call("source", "list")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) == 2 * len(known_sources())
    assert [line.split()[0] for line in lines[::2]] == list(known_sources())
    assert [tuple(line.split()) for line in lines[1::2]] == [spec.event_types for spec in known_sources().values()]
    found = schemas.lines("source-list", call("source", "list", "--json").out)
    assert [row["name"] for row in found] == list(known_sources())
    assert {row["state"] for row in found} == {None}


@pytest.mark.parametrize("name", list(known_sources()))
def test_each_source_shows_what_it_tells(call: Call, name: str) -> None:
    spec = known_sources()[name]
    page = call("source", "show", name)
    assert (page.code, page.err) == (0, "")
    assert page.out.startswith(f"{name}: {spec.about}\n\nevent types:\n")
    assert all(f"\n  {key} " in page.out for key in spec.fields)
    lines = [line for line in page.out.splitlines() if line.startswith(f"  waitbus wait --source {name} --match ")]
    assert len(lines) == len(spec.matches)
    told = schemas.checked("source-show", call("source", "show", name, "--json").out)
    frame = example_frame(spec)
    assert frame is not None
    shown, example = page.out.partition("\nexample:\n")[2].splitlines()[:2]
    assert (shown, json.loads(example)) == (f"  {render.line(frame)}", told["example"])
    assert [one["name"] for one in told["event_types"]] == list(spec.event_types)
    assert [one["name"] for one in told["fields"]] == list(spec.fields)


def test_the_settings_of_a_source_are_shown_with_their_defaults() -> None:
    page = doorbell("source", "show", "doorbell").out
    assert (
        "settings, [sources.doorbell]:\n"
        "  enabled  Whether the daemon runs it. (default false)\n"
        "  path     The socket on which it is told. (needed)\n"
        "  names    Whose knocks count; all, if nobody is named. (default [])\n"
        "  loud     Whether it shouts. (default false)\n"
    ) in page
    told = schemas.checked("source-show", doorbell("source", "show", "doorbell", "--json").out)
    assert [(one["name"], one["default"], one["required"]) for one in told["settings"]] == [
        ("enabled", False, False),
        ("path", None, True),
        ("names", [], False),
        ("loud", False, False),
    ]


def test_the_configuration_explains_the_tables_of_sources(home: Path) -> None:
    schema = json.loads(doorbell("config", "schema").out)["properties"]["sources"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]["doorbell"]["properties"]) == {"enabled", "path", "names", "loud"}
    example = doorbell("config", "schema", "-f", "toml-example").out
    assert "# [sources.doorbell]\n# # Whether the daemon runs it.\n# enabled = false\n" in example
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text('[sources.doorbell]\npath = "/x"\n')
    told = schemas.checked("config-show", doorbell("config", "show", "--json").out)
    assert told["settings"]["sources"]["value"]["doorbell"] == {
        "enabled": False, "path": "/x", "names": [], "loud": False,
    }  # fmt: skip


def test_a_setting_that_is_wrong_is_told_with_its_line(home: Path) -> None:
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text('[sources.doorbell]\npath = "/x"\nloud = "very"\n')
    done = doorbell("config", "validate")
    assert (done.code, done.err) == (
        2,
        "error: ~/c/config.toml:3: sources.doorbell.loud: 'very' is neither true nor false\n"
        "hint: write true or false, without quotes\n",
    )


# -- verify ------------------------------------------------------------------------------------------------------------


def test_a_source_that_can_run_here_says_what_was_looked_at(home: Path) -> None:
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text(f'[sources.doorbell]\npath = "{home}/door"\n')
    done = doorbell("source", "verify", "doorbell")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "ok    settings  as [sources.doorbell] says\n"
        "ok    code      tests.sources.doorbell:Doorbell\n"
        "ok    probe     the folder is there\n"
    )
    assert not (home / "door").exists()


@pytest.mark.parametrize(
    ("text", "check", "detail", "hint"),
    [
        ("", "settings", "sources.doorbell.path is not given", "write path = ..., the socket on which it is told"),
        ('[sources.doorbell]\npath = "/no/door"\n', "probe", "there is no folder for /no/door", "make it"),
    ],
)
def test_a_source_that_cannot_run_here_is_69_with_the_reason(
    home: Path, text: str, check: str, detail: str, hint: str
) -> None:
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text(text)
    done = doorbell("source", "verify", "doorbell")
    assert (done.code, done.err) == (69, f"error: {check}: {detail}\nhint: {hint}\n")
    told = doorbell("source", "verify", "doorbell", "--json")
    assert told.code == 69
    verified = schemas.checked("source-verify", told.out)
    assert (verified["ok"], verified["checks"][-1]) == (
        False,
        {"check": check, "ok": False, "detail": detail, "hint": hint},
    )


def test_folders_are_looked_for(call: Call, home: Path) -> None:
    assert call("source", "verify", "fs").out.splitlines()[-1] == (
        "ok    probe     no roots are set; a wait watches the folder that it names"
    )
    (home / "c").mkdir()
    config = home / "c" / "config.toml"
    config.write_text("[sources.fs]\nenabled = true\n")
    done = call("source", "verify", "fs")
    assert (done.code, done.err.splitlines()[0]) == (69, "error: probe: the fs source has no roots")
    config.write_text(f'[sources.fs]\nenabled = true\nroots = ["{home}/c", "{home}/none"]\n')
    done = call("source", "verify", "fs")
    assert (done.code, done.err.splitlines()[0]) == (69, f"error: probe: {home}/none is no folder")
    (home / "none").mkdir()
    done = call("source", "verify", "fs")
    assert (done.code, done.out.splitlines()[-1]) == (0, f"ok    probe     {home}/c, {home}/none: there")


def test_an_engine_is_asked(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/no.sock")
    done = call("source", "verify", "docker")
    assert (done.code, done.err.splitlines()[0].partition(" cannot be called")[0]) == (
        69, f"error: probe: the container engine at {home}/no.sock"
    )  # fmt: skip


def test_a_source_without_anything_to_run_is_no_failure(call: Call) -> None:
    done = call("source", "verify", "agent")
    assert (done.code, done.out) == (0, "ok    run       there is nothing to run: its events come in by themselves\n")


# -- run ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "word", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
def test_a_source_in_the_foreground_writes_until_it_is_stopped(
    home: Path, spawn: Spawn, log: Log, number: int, word: str, code: int
) -> None:
    """Its health is on stderr, its events are in the log, and that it is gone is the last of them."""
    run = spawn("source", "run", "doorbell", "--set", f"path={home}/door", program=PROGRAM, env=ENVIRONMENT)
    assert support.read_until(run.stderr, "is up") == "doorbell is up\n"  # type: ignore[arg-type]
    tell(home / "door", "knock", "alice")
    support.eventually(lambda: log.head() == 1)
    tell(home / "door", "down", "nobody is in")
    assert support.read_until(run.stderr, "is down") == "doorbell is down: nobody is in (again in 20 s)\n"  # type: ignore[arg-type]
    tell(home / "door", "up")
    support.read_until(run.stderr, "is up")  # type: ignore[arg-type]
    run.send_signal(number)
    out, err = run.communicate(timeout=10)
    assert (run.returncode, out, err.splitlines()[-1]) == (code, "", f"{word}; 1 new in the log")
    assert [row.event_type for row in rows(log)] == ["knock", "source_down", "source_up", "source_down"]


def test_its_health_is_json_if_that_is_asked_for(home: Path, spawn: Spawn) -> None:
    run = spawn(
        "source", "run", "doorbell", "--set", f'path="{home}/no/door"', "--json", program=PROGRAM, env=ENVIRONMENT
    )
    down = schemas.conform("source-run", json.loads(support.read_until(run.stdout, "down")))  # type: ignore[arg-type]
    assert down["reason"] == f"there is no folder for {home}/no/door"
    os.mkdir(home / "no")
    assert schemas.conform("source-run", json.loads(support.read_until(run.stdout, '"up"')))["retry_at"] is None  # type: ignore[arg-type]
    run.send_signal(signal.SIGINT)
    assert run.wait(10) == 130


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["--set", "paht=/x"], "unknown key 'sources.doorbell.paht'", "did you mean 'path'?"),
        (["--set", "path=3"], "sources.doorbell.path: 3 is not a text", "put it in quotes"),
        ([], "sources.doorbell.path is not given", "write path = ..., the socket on which it is told"),
    ],
)
def test_settings_that_are_wrong_are_a_usage_error(words: list[str], error: str, hint: str) -> None:
    done = doorbell("source", "run", "doorbell", *words)
    assert (done.code, done.err) == (2, f"error: {error}\nhint: {hint}\n")


def test_a_setting_that_is_given_twice_is_a_list(home: Path, spawn: Spawn, log: Log) -> None:
    words = ["--set", f"path={home}/door", "--set", "names=alice", "--set", "names=bob"]
    run = spawn("source", "run", "doorbell", *words, program=PROGRAM, env=ENVIRONMENT)
    support.read_until(run.stderr, "is up")  # type: ignore[arg-type]
    for name in ("eve", "alice", "bob"):
        tell(home / "door", "knock", name)
    support.eventually(lambda: [row.delivery_id for row in rows(log)] == ["alice", "bob"])
