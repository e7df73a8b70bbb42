"""The README is true: its transcripts are typed into a shell and compared, its program is run, its commands exist.

The commands of the fences marked `first-command` and `test-command` install things; .ci/run types those.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from tests import support
from waitbus.cli.lazy import iter_commands

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MASKS = [
    (re.compile(r"\b0[0-9A-HJKMNP-TV-Z]{25}\b"), "ID"),
    (re.compile(r"\b[0-9]+(\.[0-9]+)? (ms|s|min)\b( [0-9]+ s\b)?"), "TIME"),
]
MARK = "@@command"


def fences(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def transcript(text: str) -> list[tuple[str, list[str]]]:
    """(command, what it says) of each `$` line."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def masked(lines: list[str]) -> list[str]:
    for pattern, mask in MASKS:
        lines = [pattern.sub(mask, line) for line in lines]
    return lines


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where somebody types: `waitbus` on the PATH, a build that fails after a while, a deployment."""
    work = home / "work"
    work.mkdir()
    scripts = {
        home / "waitbus": f'exec {shlex.join(support.WAITBUS)} "$@"',
        work / "build.sh": "sleep 1.2; exit 2",
        work / "deploy.sh": "waitbus emit deploy_finished --conclusion success --field env=staging -q >/dev/null",
    }
    for path, line in scripts.items():
        path.write_text(line + "\n" if path.parent == work else f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SHELL", "/bin/bash")
    return work


def test_its_transcripts_are_what_a_shell_says(folder: Path) -> None:
    """All of them in one session, as a newcomer types them, stdout and stderr as they come on a terminal."""
    typed = [entry for text in fences("console") for entry in transcript(text)]
    assert len(typed) >= 8
    # Between two commands stands a mark, and `$?` is kept over it.
    lines = [f"status=$?; echo {MARK}; (exit $status)\n{command}" for command, _ in typed]
    done = support.run(["bash", "-c", "exec 2>&1\n" + "\n".join(lines)], cwd=folder, timeout=60)
    said = [masked(part.splitlines()) for part in done.out.replace(MARK + "\n", MARK).split(MARK)[1:]]
    assert said == [masked(lines) for _, lines in typed]


def test_its_program_runs(folder: Path) -> None:
    (program,) = fences("python")
    assert support.run([support.PYTHON, "-c", program], cwd=folder) == (
        0,
        "matched 0 success\n1 deploy_finished success env=staging\n",
        "",
    )


def test_its_other_commands_are_those_that_ci_types() -> None:
    assert len(fences("sh")) == len(re.findall(r"^<!-- (?:first|test)-command -->$", README, re.MULTILINE)) == 2
    assert README.count("```") == 2 * sum(len(fences(kind)) for kind in ("sh", "console", "python"))


@pytest.mark.parametrize("page", ["README.md", "AGENTS.md", "llms.txt"])
def test_every_command_that_is_named_exists(page: str) -> None:
    """As `waitbus VERB` in a code span; all of the first level are in the README."""
    known = {name.removeprefix("waitbus ").split()[0] for name, _ in iter_commands()}
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`waitbus ([a-z][-a-z]*)", text))
    assert named <= known
    if page == "README.md":
        assert named == known
