"""Git's patterns for names and paths, exactly: what `wildmatch.c` matches, said as a regular expression of linear time.

Text here is bytes decoded as Latin-1: git compares bytes, a `?` is one byte, and a file name need not be UTF-8. The format is
that of gitignore(5); where that page and git's own code differ, the code is right (`foo**/bar` matches `foobar`).

`fold` is what git does under `core.ignoreCase`: `A` and `a` are one, in ASCII alone, and not in a bracket or behind a backslash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

Matches = Callable[[str], bool]

SPECIAL = frozenset("*?[\\")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_EVERY = frozenset(range(1, 256))
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \t",
    "cntrl": "\x01-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@[-`{-~",
    "space": "\t\n\r ",  # git has a table of its own, without form feed and vertical tab
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class _Never(Exception):
    """The pattern can match nothing: a bracket that never closes, a backslash before nothing."""


def literal_length(pattern: str) -> int:
    """How many characters of it come before the first special one."""
    return next((at for at, letter in enumerate(pattern) if letter in SPECIAL), len(pattern))


def name_matcher(pattern: str, *, fold: bool = False) -> Matches:
    """Whether a file name, which has no slash in it, is what the pattern says."""
    if not SPECIAL.intersection(pattern):
        return _literal(pattern, fold)
    if pattern[0] == "*" and not SPECIAL.intersection(pattern[1:]):
        end = _folded(pattern[1:]) if fold else pattern[1:]
        return _folding(lambda name: name.endswith(end), fold)
    return _folding(_expression(pattern, paths=False, fold=fold), fold)


def path_matcher(pattern: str, *, fold: bool = False) -> Matches:
    """Whether a path without a leading slash is what the pattern says: `*` stays inside of a name, `**` does not."""
    length = literal_length(pattern)
    if length == len(pattern):
        return _literal(pattern, fold)
    # As git does: what follows the literal beginning is a pattern of its own, and a `**` there stands at its beginning.
    beginning, rest = pattern[:length], _expression(pattern[length:], paths=True, fold=fold)
    beginning = _folded(beginning) if fold else beginning
    return _folding(lambda path: path.startswith(beginning) and rest(path[length:]), fold)


def _literal(pattern: str, fold: bool) -> Matches:
    return _folding(_folded(pattern).__eq__, fold) if fold else pattern.__eq__


def _folding(matches: Matches, fold: bool) -> Matches:
    return (lambda text: matches(_folded(text))) if fold else matches


def _folded(text: str) -> str:
    return text.translate(_LOWER)


def _expression(pattern: str, *, paths: bool, fold: bool) -> Matches:
    try:
        expression = "".join(_translated(pattern, paths, fold))
    except _Never:
        return _nothing
    import re2  # costs more than all the rest, and most patterns need none

    options = re2.Options()
    options.log_errors = False
    try:
        found = re2.compile(rf"(?s:{expression})", options)
    except re2.error:  # larger than RE2 allows
        return _nothing
    return lambda text: found.fullmatch(text) is not None


def _nothing(_: str) -> bool:
    return False


def _translated(pattern: str, paths: bool, fold: bool) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "*":
            piece, at = _stars(pattern, at, paths)
        elif letter == "?":
            piece, at = ("[^/]" if paths else "."), at + 1
        elif letter == "[":
            members, at = _bracket(pattern, at + 1, fold)
            piece = _class(members - {ord("/")} if paths else members)
        elif letter == "\\":
            piece, at = _letter(_at(pattern, at + 1)), at + 2
        else:
            piece, at = _letter(ord(_folded(letter) if fold else letter)), at + 1
        yield piece


def _stars(pattern: str, at: int, paths: bool) -> tuple[str, int]:
    end = at
    while end < len(pattern) and pattern[end] == "*":
        end += 1
    if not paths:
        return ".*", end
    alone = at == 0 or pattern[at - 1] == "/"
    if end - at == 1 or not alone or not (end == len(pattern) or pattern.startswith(("/", "\\/"), end)):
        return "[^/]*", end
    if end < len(pattern) and pattern[end] == "/":
        return "(?:.*/)?", end + 1
    return ".*", end


def _bracket(pattern: str, at: int, fold: bool = False) -> tuple[frozenset[int], int]:
    """The bytes that it stands for, and where the pattern goes on. Walks as git's own loop does, oddities included: with `fold` a
    range or a class has its small letters too, a single capital letter matches nothing."""
    negated = pattern[at : at + 1] in ("!", "^")
    at += negated
    members: set[int] = set()
    before, letter = 0, _at(pattern, at)
    while True:
        if letter == ord("\\"):
            at += 1
            letter = _at(pattern, at)
            members.add(letter)
        elif letter == ord("-") and before and pattern[at + 1 : at + 2] not in ("", "]"):
            at += 1
            if pattern[at] == "\\":
                at += 1
            members.update(_both(range(before, _at(pattern, at) + 1), fold))
            letter = 0
        elif letter == ord("[") and pattern[at + 1 : at + 2] == ":":
            end = pattern.find("]", at + 2)
            if end < 0:
                raise _Never
            if end == at + 2 or pattern[end - 1] != ":":  # no class: a set with a bracket in it
                members.add(letter)
            else:
                members.update(_both(_named(pattern[at + 2 : end - 1]), fold))
                at, letter = end, 0
        else:
            members.add(letter)
        before, at = letter, at + 1
        letter = _at(pattern, at)
        if letter == ord("]"):
            return (_EVERY - members if negated else frozenset(members)), at + 1


def _both(members: Iterable[int], fold: bool) -> Iterable[int]:
    return (each for one in members for each in (one, _LOWER.get(one, one))) if fold else members


def _at(pattern: str, at: int) -> int:
    if at >= len(pattern):
        raise _Never
    return ord(pattern[at])


def _named(name: str) -> frozenset[int]:
    if name not in _CLASSES:
        raise _Never
    return _bracket(_CLASSES[name].replace("[", "\\[") + "]", 0)[0]


def _letter(byte: int) -> str:
    return rf"\x{byte:02x}"


def _class(members: frozenset[int]) -> str:
    if not members:
        raise _Never
    return f"[{''.join(map(_letter, sorted(members)))}]"
