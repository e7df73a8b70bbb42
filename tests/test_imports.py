"""What an import costs: the package and its pure floor load nothing heavy."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from tests import support

ROOT = Path(__file__).parent.parent
HEAVY = {"trio", "anyio", "click", "sqlite3", "asyncio"}

FLOOR = next(
    contract["source_modules"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    if contract["id"] == "floor"
)


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after `statement`, less those it starts with."""
    report = "import sys; before = set(sys.modules); {}; print(*sorted(set(sys.modules) - before))"
    ended = support.run([sys.executable, "-c", report.format(statement)])
    assert ended.code == 0, ended.err
    return {name.partition(".")[0] for name in ended.out.split()}


def test_importing_waitbus_loads_nothing_heavy() -> None:
    """Whoever only wants the version or the docstring does not pay for the rest."""
    assert loaded_by("import waitbus") & (HEAVY | {"pydantic", "attrs", "cattrs"}) == set()


@pytest.mark.parametrize("module", FLOOR)
def test_the_floor_loads_nothing_heavy(module: str) -> None:
    """A module of the floor decides; it opens nothing."""
    assert loaded_by(f"import {module}") & HEAVY == set()


def test_the_probe_sees_what_is_loaded() -> None:
    """The two laws above could not fail if the probe saw nothing."""
    assert {"trio", "sqlite3"} <= loaded_by("import trio, sqlite3")
