"""Where git's rules stand on disk: `.gitignore` in each folder, `info/exclude` in the repository, one file of the user's."""

from __future__ import annotations

import os
import stat
import subprocess
from functools import lru_cache
from pathlib import Path

import attrs

from waitbus.sources.gitignore import Rules, Scope, latin, parse

NAME = ".gitignore"
SIZE_MAX = 1 << 20
"""Bytes of a file of rules; a larger one is no such file."""
GIT_TIMEOUT = 2.0


@attrs.frozen
class Repository:
    """A working tree: its top, and the folder whose `info/exclude` counts for it."""

    top: str
    common: str

    @property
    def info(self) -> str:
        return os.path.join(self.common, "info")


def repository_at(folder: str) -> Repository | None:
    """The repository whose top the folder is: it holds `.git`, a folder, or the file of a worktree or a submodule."""
    found = os.path.join(folder, ".git")
    if os.path.lexists(os.path.join(found, "HEAD")):
        return Repository(folder, found)
    said = _read(found).removeprefix(b"gitdir:")
    if not said.strip():
        return None
    place = os.path.join(folder, os.fsdecode(said.strip()))
    common = os.fsdecode(_read(os.path.join(place, "commondir")).strip())
    return Repository(folder, os.path.normpath(os.path.join(place, common)) if common else place)


def repository_around(folder: str) -> Repository | None:
    """The repository that a folder lies in."""
    for place in (folder, *map(str, Path(folder).parents)):
        if (found := repository_at(place)) is not None:
            return found
    return None


def own_rules(folder: str) -> Rules:
    """The rules of the `.gitignore` in a folder; git follows no link there."""
    content = _read(os.path.join(folder, NAME))
    return parse(content) if content else ()


def top_scope(repository: Repository) -> Scope:
    """The scope of a repository's top."""
    exclude = parse(_read(os.path.join(repository.info, "exclude"), follow=True))
    users = parse(_read(users_file(), follow=True))
    return Scope("", own_rules(repository.top), others=(exclude, users))


def scope_around(folder: str) -> Scope | None:
    """The scope of the folder above this one, if that is in the same repository."""
    repository = repository_around(folder)
    if repository is None or repository.top == folder:
        return None
    scope, place = top_scope(repository), repository.top
    for part in os.path.relpath(os.path.dirname(folder), place).split(os.sep):
        if part != os.curdir:
            place = os.path.join(place, part)
            scope = Scope(latin(part), own_rules(place), scope)
    return scope


def scope_of(folder: str, name: str, outer: Scope | None) -> Scope:
    """The scope of a folder in the scope around it; a repository begins anew."""
    repository = repository_at(folder)
    if repository is not None:
        return top_scope(repository)
    return Scope(latin(name) if outer is not None else "", own_rules(folder), outer)


def users_file() -> str:
    """The file of rules that the user has for every repository: `core.excludesFile`, or git's default for it."""
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return _configured(home, config) or os.path.join(config, "git", "ignore")


@lru_cache
def _configured(home: str, config: str) -> str:
    """What git's configuration says; asked once, since it takes a process. The arguments are what it depends on."""
    try:
        said = subprocess.run(
            ["git", "-C", "/", "config", "--type=path", "--get", "core.excludesFile"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=GIT_TIMEOUT, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(said.rstrip(b"\n"))


def _read(path: str, *, follow: bool = False) -> bytes:
    """What a regular file holds; nothing, where there is none, or one that is too large."""
    try:
        # A pipe in its place must not hold us up, hence O_NONBLOCK.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    except (OSError, ValueError):
        return b""
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > SIZE_MAX:
            return b""
        with os.fdopen(os.dup(file), "rb") as content:
            return content.read(SIZE_MAX)
    except OSError:
        return b""
    finally:
        os.close(file)
