"""Every example in every command's help works as typed, and ends with the exit code it claims.

A command gives them as data: `examples=[("waitbus emit deploy_finished", 0), ("waitbus wait x --since 1h", 0, "deploy")]`.
The third value names what must be there before: add it to `SETUPS`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tests import old_log, support, wheels
from waitbus.cli.command import Command, Example
from waitbus.cli.lazy import iter_commands

COMMANDS = list(iter_commands())
EXAMPLES = [(name, example) for name, found in COMMANDS if isinstance(found, Command) for example in found.examples]


def _waitbus(line: str) -> Callable[[Path], None]:
    def setup(folder: Path) -> None:
        done = support.run(["bash", "-c", line], cwd=folder)
        assert done.code == 0, done

    return setup


def _git(folder: Path) -> None:
    script = "git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first"
    done = support.run(["bash", "-c", script], cwd=folder)
    assert done.code == 0, done


def _old_log(folder: Path) -> None:
    old_log.make(folder / "github.db")


def _plugin(folder: Path) -> None:
    site = folder.parent / "site"
    wheels.unpacked(wheels.contents(wheels.TIMER), site)
    os.environ["PYTHONPATH"] += f"{os.pathsep}{site}"  # the fixture below sets it, and puts it back


def _config(folder: Path) -> None:
    (folder / "config.toml").write_text('[retention]\nmax_age = "7d"\n')


SETUPS: dict[str | None, Callable[[Path], None]] = {
    # key -> what it makes in the (empty) folder where the example is typed; an example names the key
    None: lambda folder: None,
    "config": _config,
    "deploy": _waitbus("waitbus emit deploy_finished --conclusion success"),
    "files": lambda folder: (folder / "src").mkdir(),
    "git": _git,
    "old log": _old_log,
    "plugin": _plugin,
}


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with `waitbus` on the PATH."""
    bin_ = home / "bin"
    bin_.mkdir()
    program = bin_ / "waitbus"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(support.WAITBUS)} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    work = home / "work"
    work.mkdir()
    return work


@pytest.mark.parametrize(("name", "found"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_has_its_page(name: str, found: click.Command) -> None:
    """One sentence, two examples or more that call this command, and a purpose for each option."""
    assert isinstance(found, Command), f"{name}: use waitbus.cli.command.command"
    assert len(found.examples) >= 2
    assert all(name in example.line for example in found.examples)
    page = found.get_help(click.Context(found, info_name=name))
    sentence = page.partition("\n\n")[0]
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    assert all(f"  {example.line}\n" in page for example in found.examples)
    for param in found.params:
        if isinstance(param, click.Option) and not param.hidden:
            assert param.help, f"{name} {param.opts}: no help"
            assert getattr(param, "group", "Other") != "Other", f"{name} {param.opts}: give it a group"


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[example.line for _, example in EXAMPLES])
def test_every_example_works_as_typed(name: str, example: Example, folder: Path) -> None:
    """In a new home, with nothing running but what the example's setup made."""
    SETUPS[example.setup](folder)
    done = support.run(["bash", "-c", example.line], cwd=folder, timeout=60)
    assert done.code == example.exit_code, done
    assert "Traceback" not in done.err
