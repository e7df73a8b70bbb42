"""What a watch of a folder looks into: the same as the watch itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sources.fs_watching import git, watching
from waitbus.sources.fs_reach import reaches


@pytest.fixture
def root(home: Path) -> Path:
    """A working tree whose rules hide some of it."""
    root = (home / "root").resolve()
    root.mkdir()
    git(root, "init", "-q")
    (root / ".gitignore").write_text("build/\n/a/out\n")
    for folder in ("a/out/x", "b/out/x", "b/build/x", "c/d/e"):
        (root / folder).mkdir(parents=True)
    (root / "c" / ".gitignore").write_text("e\n")
    git(root / "c" / "d", "init", "-q")
    return root


FOLDERS = ["a", "a/out", "a/out/x", "b", "b/out/x", "b/build", "b/build/x", "c", "c/d", "c/d/e", ".git/info"]
SETTINGS = [{}, {"gitignore": False}, {"exclude": ["x"]}, {"exclude": ["b/", "/c/d"], "gitignore": False}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
async def test_it_looks_into_what_it_tells_of(root: Path, settings: dict[str, Any]) -> None:
    async with watching(root, **settings) as bus:
        for folder in FOLDERS:
            (root / folder / "file").write_text("x")
        told = {path.rpartition("/")[0] for _, path in await bus.changes()}
    found = {folder for folder in FOLDERS if reaches(str(root), str(root / folder), **settings)}
    assert found == told & set(FOLDERS)
    assert found
