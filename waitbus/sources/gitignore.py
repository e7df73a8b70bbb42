"""What `.gitignore` files say, as git reads them: gitignore(5), and `dir.c` where that page is silent.

Whether a file is tracked is not looked at: an answer is that of `git check-ignore --no-index`. Text is as in `wildmatch`.
"""

from __future__ import annotations

import os

import attrs

from waitbus.sources.wildmatch import Matches, name_matcher, path_matcher

LINE_MAX = 4096
"""Bytes of a pattern; a longer one matches no path that a system call takes."""
RULES_MAX = 10_000


@attrs.frozen
class Rule:
    """One line. `by_name`: it is compared with the last part of a path, whichever folder that is in."""

    text: str
    matches: Matches = attrs.field(eq=False)
    negative: bool
    folders_only: bool
    by_name: bool


Rules = tuple[Rule, ...]
"""The lines of one file, the last one first: that is the order in which they win."""


def parse(content: bytes, *, fold: bool = False) -> Rules:
    """The rules of a file's content; `fold`: for a repository to which `A` and `a` are one."""
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1").split("\n")
    rules = [rule for line in lines if (rule := _rule(line, fold)) is not None]
    return tuple(reversed(rules[:RULES_MAX]))


def _rule(line: str, fold: bool) -> Rule | None:
    if line.startswith("#"):
        return None
    line = _trimmed(line.removesuffix("\r").partition("\0")[0])
    return None if not line or len(line) > LINE_MAX else rule(line, fold=fold)


def _trimmed(line: str) -> str:
    """Without trailing spaces, but for those behind a backslash."""
    keep, at = 0, 0
    while at < len(line):
        if line[at] == "\\":
            at += 1
            keep = at + 1
        elif line[at] != " ":
            keep = at + 1
        at += 1
    return line[:keep]


def rule(pattern: str, *, fold: bool = False) -> Rule | None:
    """The rule of one pattern; None where nothing is left of it."""
    text = pattern
    negative = pattern.startswith("!")
    pattern = pattern[negative:]
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    if not pattern:
        return None
    if "/" not in pattern:
        return Rule(text, name_matcher(pattern, fold=fold), negative, folders_only, by_name=True)
    return Rule(text, path_matcher(pattern.removeprefix("/"), fold=fold), negative, folders_only, by_name=False)


def judged(rules: Rules, path: str, name: str, is_folder: bool) -> bool | None:
    """Whether the rules ignore a path (relative to where they stand); None where they do not say."""
    for one in rules:
        if (is_folder or not one.folders_only) and one.matches(name if one.by_name else path):
            return not one.negative
    return None


@attrs.frozen
class Scope:
    """The rules in force for what lies in a folder: its own, those of the folders around it, up to the top of a repository, and
    there those of `.git/info/exclude` and of the user (`others`, the first one wins). `fold`: `A` and `a` are one there."""

    name: str
    rules: Rules = ()
    outer: Scope | None = None
    others: tuple[Rules, ...] = ()
    fold: bool = False

    def ignores(self, name: str, *, is_folder: bool) -> bool:
        """Whether what has this name in the folder is ignored; the folder itself is not."""
        path = name
        scope: Scope | None = self
        while scope is not None:
            found = judged(scope.rules, path, name, is_folder)
            if found is not None:
                return found
            if scope.outer is None:
                break
            path = f"{scope.name}/{path}"
            scope = scope.outer
        for rules in scope.others if scope is not None else ():
            found = judged(rules, path, name, is_folder)
            if found is not None:
                return found
        return False


def latin(name: str) -> str:
    """A file name as patterns are compared with it: its bytes, each as a character."""
    return name if name.isascii() else os.fsencode(name).decode("latin-1")
