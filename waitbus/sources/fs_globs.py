"""Which files of a root are meant: `--glob '*.py'`, `include`, `exclude`. A glob is compared as a line of a `.gitignore` is.

`*.py` is any file of that name, `src/*.py` those directly in `src`, `src/**/*.py` those below it, `docs/` all that lies in a
folder `docs`; `{a,b}` stands for either; `!` in front turns an include into an exclude.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import attrs

from waitbus.errors import InvalidValue
from waitbus.event_checks import shown
from waitbus.sources.gitignore import Rule, latin, rule

GLOBS_MAX = 256
BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


@attrs.frozen
class Globs:
    """Rules of which any includes (none: everything is included), and rules of which any excludes."""

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, include: Iterable[str], exclude: Iterable[str] = ()) -> Globs:
        """The globs of what a person wrote.

        Raises:
          InvalidValue: a glob is empty, or there are more than 256 of them, alternatives in braces counted.
        """
        given = [*include]
        wanted = [glob for glob in given if not glob.startswith("!")]
        unwanted = [*exclude, *(glob[1:] for glob in given if glob.startswith("!"))]
        return cls(_rules(wanted), _rules(unwanted))

    def includes(self, path: str, name: str, *, is_folder: bool) -> bool:
        """Whether a path relative to the root is included; what lies in an included folder is, too."""
        return not self.include or _any(self.include, path, name, is_folder)

    def excludes(self, path: str, name: str, *, is_folder: bool) -> bool:
        """Whether a path relative to the root is excluded; what lies in an excluded folder is, too."""
        return _any(self.exclude, path, name, is_folder)


def _any(rules: tuple[Rule, ...], path: str, name: str, is_folder: bool) -> bool:
    return any((is_folder or not one.folders_only) and one.matches(name if one.by_name else path) for one in rules)


def _rules(globs: Iterable[str]) -> tuple[Rule, ...]:
    found: list[Rule] = []
    for glob in globs:
        for each in _expanded(glob.removeprefix("./")):
            one = rule(latin(each)) if not each.startswith("!") and _may_be_a_name(each) else None
            if one is None:
                raise InvalidValue(f"{shown(glob)} is no glob", hint="write one as in '*.py' or 'src/**/*.ts'")
            found.append(one)
        _check_count(len(found))
    return tuple(found)


def _may_be_a_name(text: str) -> bool:
    """Whether a file can be called so: not by a lone surrogate that stands for no byte."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _expanded(glob: str) -> list[str]:
    """The alternatives of its braces, the innermost first."""
    done, left = [], [glob]
    while left:
        text = left.pop()
        braces = BRACES.search(text)
        if braces is None:
            done.append(text)
        else:
            left += [text[: braces.start()] + each + text[braces.end() :] for each in braces[1].split(",")]
        _check_count(len(left) + len(done))
    return done


def _check_count(count: int) -> None:
    if count > GLOBS_MAX:
        raise InvalidValue(f"more than {GLOBS_MAX} globs", hint="fewer and wider ones say the same")
