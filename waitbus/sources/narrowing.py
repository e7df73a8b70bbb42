"""From folders and globs to terms on `path`: others may watch more than a wait is for. Pure but for `realpath`.

A glob is what a line of a .gitignore is, as the source of files has it: without a slash it is about names at any depth, with one
about paths from the folder on, `docs/` about what lies in a folder `docs`; what lies in a folder that it matches belongs to it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence

from waitbus.errors import InvalidWait
from waitbus.paths import absolute
from waitbus.predicate import Predicate, Term
from waitbus.quantities import say_count
from waitbus.terms import PATTERN_MAX

REPEAT_MAX = 1000
"""The largest count in a pattern of RE2."""

_PIECES = re.compile(
    r"(?P<deep>\*\*/)|(?P<all>\*\*)|(?P<star>\*)|(?P<any>\?)|\[(?P<set>[!^]?\]?[^\]/]*)\]|\\(?P<escaped>.)|(?P<one>.)",
    re.DOTALL,
)
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_MEMBERS = re.compile(r"(?:\w(?:-\w)?)+", re.ASCII)
_RANGES = re.compile(r"(\w)-(\w)", re.ASCII)


def fs_predicate(roots: Sequence[str], globs: Sequence[str]) -> Predicate:
    """Changes of files below any of the folders whose names match any of the globs (none: all).

    Raises:
      InvalidWait: as `path_terms`.
    """
    return Predicate((Term("@source", "=", "fs"), *path_terms(roots, globs)))


def path_terms(roots: Sequence[str], globs: Sequence[str]) -> tuple[Term, ...]:
    """Terms that hold for paths below any of the folders, and for the folders themselves where there is no glob.

    A prefix, and one regular expression for what stands behind it: only equalities are alternatives of each other. Globs that
    exclude (`!*.tmp`) are left to the source.

    Raises:
      InvalidWait: an empty folder or glob, a folder that is a file, or so many that no term can hold them.
      PathError: a folder is relative, and the current directory was removed.
    """
    for option, texts in (("--root", roots), ("--glob", globs)):
        if not all(text.strip() and "\0" not in text for text in texts):
            raise InvalidWait(f"{option} is empty", hint=f"give {option} a value, or leave it out")
    if not roots and not globs:
        return ()
    for root in roots:
        _refuse_file(os.path.expanduser(root))
    folders = sorted({path for root in roots or (os.curdir,) for path in _names_of(root)})
    before = os.path.commonpath(folders).rstrip("/")
    said = _said(roots, globs)
    if len(before) > REPEAT_MAX:
        return (Term("path", "^=", before, said=said),)
    terms = (Term("path", "^=", before, said=""),) if before else ()
    pattern = f"(?s)^{_skip(before)}{_rests(folders, before)}{_behind(globs)}$"
    if len(pattern) > PATTERN_MAX:
        raise InvalidWait(
            f"{say_count(len(roots) or 1, 'folder')} and {say_count(len(globs), 'glob')} are too much for one wait",
            hint="give fewer --root and --glob, or a folder above them",
        )
    return (*terms, Term("path", "~=", pattern, said=said))


def glob_pattern(glob: str) -> str:
    """The regular expression (RE2) of a glob, for all that stands behind the folder and a slash."""
    text = glob.removeprefix("./")
    inside = text.endswith("/")
    text = text.rstrip("/")
    body = "".join(map(_piece, _PIECES.finditer(text.lstrip("/"))))
    return f"{'' if '/' in text else '(?:.*/)?'}{body}{'/.*' if inside else '(?:/.*)?'}"


def _refuse_file(path: str) -> None:
    if os.path.isfile(path):
        folder, name = os.path.split(path)
        instead = shlex.join(["--root", folder or os.curdir, "--glob", f"/{name}"])
        raise InvalidWait(f"--root {path} is a file, not a folder", hint=f"for that file alone: {instead}")


def _said(roots: Sequence[str], globs: Sequence[str]) -> str:
    words = [
        word for option, texts in (("--root", roots), ("--glob", globs)) for text in texts for word in (option, text)
    ]
    return shlex.join(words)


def _names_of(root: str) -> tuple[str, str]:
    """As it was written, and without links: another watcher may tell of either."""
    path = absolute(os.path.expanduser(root), what="--root")
    return os.path.normpath(path), os.path.realpath(path)


def _rests(folders: Sequence[str], before: str) -> str:
    rests = list(dict.fromkeys(folder[len(before) :].rstrip("/") for folder in folders))
    return f"(?:{'|'.join(map(_quoted, rests))})" if any(rests) else ""


def _behind(globs: Sequence[str]) -> str:
    """What may stand behind the folder."""
    wanted = [each for glob in globs if not glob.startswith("!") for each in _expanded(glob)]
    return f"/(?:{'|'.join(map(glob_pattern, wanted))})" if wanted else "(?:/.*)?"


def _expanded(glob: str) -> list[str]:
    """The alternatives of its braces; of so many that no term could hold them, the first ones."""
    done, left = list[str](), [glob]
    while left and len(done) + len(left) <= PATTERN_MAX:
        text = left.pop()
        braces = _BRACES.search(text)
        if braces is None:
            done.append(text)
        else:
            left += [text[: braces.start()] + each + text[braces.end() :] for each in braces[1].split(",")]
    return [*done, *left]


def _piece(found: re.Match[str]) -> str:
    kind = found.lastgroup
    if kind == "set":
        return _of_set(found["set"])
    plain = {"deep": "(?:.*/)?", "all": ".*", "star": "[^/]*", "any": "[^/]"}
    return plain.get(kind or "", "") or _quoted(found["escaped"] or found[0])


def _of_set(inner: str) -> str:
    """A set of letters and ranges; of any other kind any letter, since the source itself looks closer."""
    negated = inner[:1] in ("!", "^")
    members = inner[1:] if negated else inner
    ranges = _RANGES.findall(members)
    if not _MEMBERS.fullmatch(members) or any(first > last for first, last in ranges):
        return "[^/]"
    return f"[{'^/' if negated else ''}{members}]"


def _quoted(text: str) -> str:
    return re.sub(r"[!-,.:-@\[-^`{-~]", lambda found: f"\\{found[0]}", text)


def _skip(text: str) -> str:
    return f".{{{len(text)}}}" if text else ""


def covers(watched: Iterable[str], roots: Iterable[str], reaches: Callable[[str, str], bool] = lambda *_: True) -> bool:
    """Whether every one of `roots` is a folder that is watched already, or lies in one from which a watch `reaches` it."""
    above = [_real(folder) for folder in watched]
    return all(any(_covers(folder, root, reaches) for folder in above) for root in map(_real, roots))


def _covers(folder: str, root: str, reaches: Callable[[str, str], bool]) -> bool:
    return root == folder or (root.startswith(folder.rstrip("/") + "/") and reaches(folder, root))


def _real(folder: str) -> str:
    return os.path.realpath(os.path.expanduser(folder))
