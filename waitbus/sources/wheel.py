"""Wheels: which one a distribution was installed from, and whether what is installed is what is in it.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/. `packaging` comes with the extra.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from waitbus.sources.record import FILES_MAX, SIZE_MAX, inside, is_inside, written

if TYPE_CHECKING:
    from typing import BinaryIO

    from waitbus.sources.discovery import Entry

WHEEL_MAX = 1 << 16
"""Bytes of a `WHEEL`."""


def tags(info: Path) -> tuple[str, ...]:
    """What `WHEEL` in a `*.dist-info` says that it runs on, such as py3-none-any."""
    return tuple(value for key, value in _lines(info) if key == "tag")


def is_of(name: str, entry: Entry) -> bool:
    """Whether a file of that name is the wheel from which a distribution was installed, by all that its name says."""
    from packaging.tags import parse_tag
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    try:
        project, version, build, runs_on = parse_wheel_filename(name)
        if project != entry.distribution or version != Version(entry.version):
            return False
    except (InvalidWheelFilename, InvalidVersion):
        return False
    number = next((value for key, value in _lines(entry.info) if key == "build"), "")
    installed = {one for tag in tags(entry.info) for one in parse_tag(tag)}
    return runs_on == installed and "".join(map(str, build)) == number


def _lines(info: Path) -> Iterable[tuple[str, str]]:
    try:
        with open(info / "WHEEL", "rb") as file:
            text = file.read(WHEEL_MAX).decode("utf-8", "replace")
    except OSError:
        return []
    parts = [line.partition(":") for line in text.splitlines()]
    return [(key.strip().lower(), value.strip()) for key, _, value in parts]


def difference(wheel: BinaryIO, info: Path) -> str:
    """The first thing in which a wheel is not what is installed from it; empty where it is. The files that are installed were
    held against their RECORD before."""
    installed = inside(info)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > FILES_MAX or sum(member.file_size for member in members) > SIZE_MAX:
                return "the wheel is larger than a plugin may be"
            for member in members:
                name = _placed(member.filename)
                if name and (wrong := _differs(archive, member, name, installed.pop(name, ""))):
                    return wrong
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        return "the wheel cannot be unpacked"
    return next((f"{name} is installed, and not in the wheel" for name in installed), "")


def _differs(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, recorded: str) -> str:
    algorithm, _, expected = recorded.partition("=")
    if not recorded:
        return f"{name} is in the wheel, and not installed"
    with archive.open(member) as file:
        digest = hashlib.file_digest(file, algorithm).digest()  # type: ignore[arg-type]
    return "" if written(digest) == expected else f"{name} is another file than in the wheel"


def _placed(name: str) -> str:
    """Under which name beside its modules a member is installed; empty where it is put elsewhere, or made anew."""
    first, *rest = PurePosixPath(name).parts
    if first.endswith(".data"):
        return "/".join(rest[1:]) if rest and rest[0] in ("purelib", "platlib") else ""
    if first.endswith(".dist-info") and rest and rest[0].startswith("RECORD."):
        return ""  # signatures of RECORD, of which it has no hash
    return name if is_inside(name) else ""
