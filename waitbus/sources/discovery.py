"""Which installed packages bring a source: the entry points of `waitbus.sources.v1`, read from the files themselves.

Not by `importlib.metadata`, whose import alone costs as much as a wait's start. The format is that of
https://packaging.python.org/en/latest/specifications/entry-points/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from configparser import ConfigParser, Error
from pathlib import Path

import attrs

GROUP = "waitbus.sources.v1"

FILE_MAX = 1 << 16
"""Bytes of an entry_points.txt; those of the largest packages have a tenth of it."""

_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info\Z")


@attrs.frozen
class Entry:
    """One entry point: the source's name, what it names (`module` or `module:attribute`), and whose it is."""

    name: str
    value: str
    distribution: str
    """The distribution's name, normalised."""
    version: str
    info: Path
    """Its `*.dist-info`."""

    @property
    def module(self) -> str:
        return self.value.partition(":")[0]


def normalised(name: str) -> str:
    """A distribution's name as it is compared: https://packaging.python.org/en/latest/specifications/name-normalization/."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(folders: Iterable[str], group: str = GROUP) -> Iterator[Entry]:
    """The entry points of the group, in the order in which Python searches the folders.

    Of a distribution that is there twice, the first is the one that is imported.
    """
    had: set[str] = set()
    for folder in folders:
        for info in _infos(folder):
            found = _INFO.match(info.name)
            name = normalised(found["name"]) if found else ""
            if found and name not in had:
                had.add(name)
                yield from (
                    Entry(key, value, name, found["version"], info) for key, value in _named(info, group).items()
                )


def _infos(folder: str) -> list[Path]:
    try:
        return sorted(Path(folder, name) for name in os.listdir(folder) if name.endswith(".dist-info"))
    except OSError:
        return []


def _named(info: Path, group: str) -> dict[str, str]:
    try:
        with open(info / "entry_points.txt", "rb") as file:
            data = file.read(FILE_MAX)
    except OSError:
        return {}
    return parsed(data.decode("utf-8", "replace"), group) if group.encode() in data else {}


def parsed(text: str, group: str) -> dict[str, str]:
    """Name -> value of one group of an entry_points.txt, without extras; nothing of one that is damaged."""
    parser = ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    try:
        parser.read_string(text)
        items = parser.items(group)
    except Error:
        return {}
    return {name: value.partition("[")[0].strip() for name, value in items if value}
