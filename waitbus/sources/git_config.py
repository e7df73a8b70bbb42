"""What git's configuration says of rules, in a repository: asked of git itself, since only git reads all that it includes."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache

import attrs

TIMEOUT = 2.0
"""s that git may take to answer."""

_QUESTION = r"^core\.(excludesfile|ignorecase)$"
_OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_CONFIG")
"""Variables that a hook of git's has, and that would have git speak of the repository of the hook."""
_TRUE = frozenset({"true", "yes", "on", "1"})


@attrs.frozen
class Settings:
    """`excludes`: the user's file of rules, `core.excludesFile`; `ignore_case`: whether `A` and `a` are one."""

    excludes: str
    ignore_case: bool = False


def settings_of(top: str, files: tuple[str, ...]) -> Settings:
    """The settings for the working tree at `top`, asked for anew when one of the `files` of its configuration has changed."""
    home = os.path.expanduser("~")
    default = os.path.join(_users_folder(home), "ignore")
    return _asked(top, home, default, tuple(_state(path) for path in (*files, *users_files())))


def users_files() -> tuple[str, str]:
    """The files of the user's own configuration."""
    home = os.path.expanduser("~")
    return os.path.join(home, ".gitconfig"), os.path.join(_users_folder(home), "config")


def _users_folder(home: str) -> str:
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "git")


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1024)
def _asked(top: str, home: str, default: str, _: object) -> Settings:
    said = _said(top)
    excludes = said.get("core.excludesfile", default)
    if excludes.startswith("~"):
        excludes = os.path.expanduser(excludes)
    # An empty one names no file. A relative one is meant from where git works, which is the top.
    excludes = os.path.join(top, excludes) if excludes else ""
    return Settings(excludes, said.get("core.ignorecase", "").lower() in _TRUE)


def _said(top: str) -> dict[str, str]:
    """What git says; nothing where there is no git."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER}
    try:
        said = subprocess.run(
            ["git", "-C", top, "config", "--null", "--get-regexp", _QUESTION],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False, env=environment,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for one in filter(None, said.split(b"\0")):
        key, has_value, value = os.fsdecode(one).partition("\n")
        found[key] = value if has_value else "true"
    return found
