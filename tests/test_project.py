"""The project's own files keep their word: dependencies, the README's commands, and where people are sent for the program."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
DEPENDENCIES = [
    *PROJECT["dependencies"],
    *(d for extra in PROJECT.get("optional-dependencies", {}).values() for d in extra),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")

FETCHES = re.compile(
    r"\b(?:pip3?|pipx|uv|uvx|poetry|pdm|conda|hatch)\b"  # a tool that fetches,
    r"(?:\s+(?:install|add|run|tool|pip|inject|download|-[-\w]+))*"  # its verbs and switches,
    r"\s+['\"]?waitbus(?![-\w./])"  # and our name, as something to be looked up
)


@pytest.mark.parametrize("text", DEPENDENCIES)
def test_each_dependency_has_a_floor_and_a_ceiling_at_the_next_major(text: str) -> None:
    """What `nox -s lowest` installs is the floor; nothing above the ceiling was ever tried."""
    bounds = {spec.operator: Version(spec.version) for spec in Requirement(text).specifier}
    assert bounds.keys() == {">=", "<"}
    assert bounds["<"].release == (bounds["<"].major,)
    assert bounds["<"] > bounds[">="]


def test_the_tests_have_the_extras() -> None:
    assert set(DEPENDENCIES) - set(PROJECT["dependencies"]) <= set(PYPROJECT["dependency-groups"]["test"])


@pytest.mark.parametrize(
    ("mark", "end"), [("first-command", ".venv/bin/waitbus demo"), ("test-command", ".venv/bin/nox")]
)
def test_the_readme_has_the_commands_that_ci_runs(mark: str, end: str) -> None:
    """One line each, that begins with nothing but Python; .ci/run takes it from here."""
    command = re.search(rf"^<!-- {mark} -->\n```sh\n(.+)\n```$", README, re.MULTILINE)
    assert command is not None
    assert command[1].startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert command[1].endswith(f" && {end}")
    assert f"step {mark}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_ci_can_be_run() -> None:
    """A lost mode bit is noticed here and not by CI."""
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def pages() -> Iterator[Path]:
    """Every text of ours that a person or a program may read advice from."""
    yield from (ROOT / name for name in ("README.md", "AGENTS.md", "llms.txt", "pyproject.toml", ".ci/run"))
    for folder in ("waitbus", "docs", "units", "bench"):
        yield from (
            path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md", ".toml", ".service", ".plist"}
        )


def test_nobody_is_sent_to_an_index_for_waitbus() -> None:
    """There the name is another program's; ours is installed from where it came from."""
    found = [
        (str(page.relative_to(ROOT)), match[0])
        for page in pages()
        for match in FETCHES.finditer(page.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "sends"),
    [
        ("pip install waitbus", True),
        ("pip install 'waitbus[web]'", True),
        ("pip3 install -U waitbus", True),
        ("pipx install waitbus", True),
        ("uv tool install waitbus==0.2", True),
        ("uvx waitbus wait", True),
        ("pip install . && .venv/bin/waitbus demo", False),
        ("pipx install .", False),
        ("pip install '/src/waitbus[web]'", False),
        ("pip install waitbus-1.0-py3-none-any.whl", False),
        ("pip install ./waitbus", False),
    ],
)
def test_what_counts_as_sending(text: str, sends: bool) -> None:
    """The search above finds the forms people write, and lets paths be."""
    assert bool(FETCHES.search(text)) is sends
