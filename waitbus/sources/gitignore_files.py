"""Where git's rules stand on disk: `.gitignore` in each folder, `info/exclude` in the repository, one file of the user's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from waitbus.sources import git_config
from waitbus.sources.gitignore import Rules, Scope, latin, parse

NAME = ".gitignore"
SIZE_MAX = 1 << 20
"""Bytes of a file of rules; a larger one is no such file."""


@attrs.frozen
class Repository:
    """A working tree: its top, git's folder for it, and the one, mostly the same, whose `info/exclude` and `config` count."""

    top: str
    place: str
    common: str

    @property
    def exclude(self) -> str:
        return os.path.join(self.common, "info", "exclude")

    @property
    def configs(self) -> tuple[str, ...]:
        """The files of its own configuration."""
        return os.path.join(self.common, "config"), os.path.join(self.place, "config.worktree")

    def settings(self) -> git_config.Settings:
        return git_config.settings_of(self.top, self.configs)

    def files(self) -> Iterator[str]:
        """The files outside of its working tree on which its rules depend. The last is named by those before it: whoever watches
        each before the next misses nothing."""
        yield from (self.exclude, self.configs[0], *git_config.users_files())
        if excludes := self.settings().excludes:
            yield excludes


def repository_at(folder: str) -> Repository | None:
    """The repository whose top the folder is: it holds `.git`, a folder, or the file of a worktree or a submodule."""
    found = os.path.join(folder, ".git")
    if os.path.lexists(os.path.join(found, "HEAD")):
        return Repository(folder, found, found)
    said = _read(found).removeprefix(b"gitdir:")
    if not said.strip():
        return None
    place = os.path.join(folder, os.fsdecode(said.strip()))
    common = os.fsdecode(_read(os.path.join(place, "commondir")).strip())
    return Repository(folder, place, os.path.normpath(os.path.join(place, common)) if common else place)


def awaited_at(folder: str) -> Iterator[str]:
    """The file that will make a repository of a folder in which git is about to."""
    if os.path.lexists(os.path.join(folder, ".git")):
        yield os.path.join(folder, ".git", "HEAD")


def repository_around(folder: str) -> Repository | None:
    """The repository that a folder lies in."""
    for place in (folder, *map(str, Path(folder).parents)):
        if (found := repository_at(place)) is not None:
            return found
    return None


def own_rules(folder: str, fold: bool) -> Rules:
    """The rules of the `.gitignore` in a folder; git follows no link there."""
    content = _read(os.path.join(folder, NAME))
    return parse(content, fold=fold) if content else ()


def top_scope(repository: Repository) -> Scope:
    """The scope of a repository's top."""
    settings = repository.settings()
    fold = settings.ignore_case
    exclude = parse(_read(repository.exclude, follow=True), fold=fold)
    users = parse(_read(settings.excludes, follow=True), fold=fold)
    return Scope("", own_rules(repository.top, fold), others=(exclude, users), fold=fold)


def scope_around(folder: str) -> Scope | None:
    """The scope of the folder above this one, if that is in the same repository."""
    repository = repository_around(folder)
    if repository is None or repository.top == folder:
        return None
    scope, place = top_scope(repository), repository.top
    for part in os.path.relpath(os.path.dirname(folder), place).split(os.sep):
        if part != os.curdir:
            place = os.path.join(place, part)
            scope = Scope(latin(part), own_rules(place, scope.fold), scope, fold=scope.fold)
    return scope


def scope_of(folder: str, name: str, outer: Scope | None, repository: Repository | None) -> Scope:
    """The scope of a folder in the scope around it; a repository, of which it is the top, begins anew."""
    if repository is not None:
        return top_scope(repository)
    if outer is None:
        return Scope("", own_rules(folder, fold=False))
    return Scope(latin(name), own_rules(folder, outer.fold), outer, fold=outer.fold)


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
