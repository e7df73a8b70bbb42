"""What installed packages and the configuration declare, read from an index: plain data, so that `emit` and `wait` know every
source without running anybody's code.

The index is a file for each Python and configuration, `<state>/declared/*.json`. It holds as long as what it was made from is as
it was: the folders that Python searches, the two config files, the plugins' own files. `waitbus.sources.index` makes it anew.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeGuard
from zlib import crc32

from waitbus import __version__, paths, whole
from waitbus.errors import WaitbusError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from waitbus.verdict import ProgressRule

FORMAT = 1
"""Of the index; another one is not read."""
INDEX_MAX = 4 << 20
"""Bytes of an index."""

VARIABLES = ("WAITBUS_PLUGINS", "WAITBUS_DISABLE_SOURCE_AUTOLOAD")
"""What decides in the environment which plugins may be used."""

Index = dict[str, Any]
"""`of`: for whom it was made. `watched`: path -> its `facts`. `sources`: name -> {`spec`, `origin`, ...}. `refused`: what was not
taken in, with a reason."""


def folders() -> list[str]:
    """Where packages are installed: what Python searches, but for the current folder and that of the script.

    Anybody's files may lie in those, and change at any time.
    """
    here = paths.here() or "/"  # from a current directory that was removed nothing relative leads anywhere
    script = os.path.join(here, sys.argv[0]) if getattr(sys, "argv", None) else ""
    others = {here, os.path.dirname(os.path.normpath(script)), os.path.dirname(os.path.realpath(script or here))}
    known = (os.path.normpath(os.path.join(here, folder)) for folder in sys.path if folder)
    return [folder for folder in dict.fromkeys(known) if folder not in others or folder.endswith("-packages")]


def of() -> list[Any]:
    """For whom an index is made: this waitbus in this Python, with these folders and these variables."""
    given = [os.environ.get(variable) for variable in VARIABLES]
    return [FORMAT, __version__, sys.executable, sys.version, folders(), os.fspath(paths.config_dir()), given]


def index_path(whose: list[Any]) -> Path:
    """Where the index for `whose` lies."""
    return paths.state_dir() / "declared" / f"{crc32(json.dumps(whose).encode()):08x}.json"


def facts(path: str) -> list[int] | None:
    """What changes when a file or a folder does: (mtime in ns, size, inode), None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def is_fresh(index: Index) -> bool:
    """Whether all that the index was made from is as it was."""
    return index.get("of") == of() and all(facts(path) == then for path, then in index["watched"].items())


def stored() -> Index | None:
    """The index in force, if there is one and it is fresh."""
    try:
        index = json.loads(whole.read(index_path(of()), INDEX_MAX))
    except (OSError, ValueError, RecursionError, WaitbusError):
        return None
    return index if _is_index(index) and is_fresh(index) else None


def progress_rules(source: str) -> Mapping[str, ProgressRule]:
    """What a source that is none of ours declares as progress; nothing where nobody declared it."""
    try:
        index = stored()
        if index is None:
            index = import_module("waitbus.sources.index").index()  # by name: the floor imports nothing above it
        return _rules(index["sources"][source]["spec"])
    except (WaitbusError, KeyError, TypeError):
        return {}


def _rules(spec: Mapping[str, Any]) -> dict[str, ProgressRule]:
    rules: dict[str, ProgressRule] = dict.fromkeys(spec["concludes"], "without_conclusion")
    return rules | dict.fromkeys(spec["progress"], "always")


def _is_index(value: object) -> TypeGuard[Index]:
    if not isinstance(value, dict) or not isinstance(value.get("watched"), dict):
        return False
    sources = value.get("sources")
    return isinstance(sources, dict) and isinstance(value.get("refused"), list) and all(map(_is_row, sources.values()))


def _is_row(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("spec"), dict)
