"""The files of an installed distribution, held against its RECORD, and one hash for all of them.

RECORD is described at https://packaging.python.org/en/latest/specifications/recording-installed-packages/.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import attrs

RECORD_MAX = 4 << 20
"""Bytes of a RECORD."""
FILES_MAX = 20_000
SIZE_MAX = 512 << 20
"""Bytes of all files of a plugin."""

_OF_THE_INSTALLER = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"})
"""Files of a `*.dist-info` that say how it was installed, and differ between two installations of one wheel."""


@attrs.frozen
class Content:
    """What a distribution consists of. `wrong` names the first thing that does not agree with RECORD; then there is no hash."""

    hash: str = ""
    """`sha256:` and 64 hexadecimal digits, over the names and hashes of its files; the same wherever one wheel is installed."""
    files: tuple[Path, ...] = ()
    """Those that RECORD has a hash of, as far as it can be read."""
    wrong: str = ""
    editable: bool = False
    """Installed to be edited (`pip install -e`): its files are elsewhere and change at any time."""


def content(info: Path) -> Content:
    """The content of the distribution whose `*.dist-info` is given: every file is read."""
    if _is_editable(info):
        return Content(editable=True)
    files: tuple[Path, ...] = ()
    try:
        rows = list(_rows(info))
        files = tuple(_path(info, name) for name, _ in rows)
        for name, recorded in rows:
            _check(info, name, recorded)
    except _Wrong as wrong:
        return Content(wrong=str(wrong), files=files)
    own = sorted((name, recorded) for name, recorded in rows if is_inside(name))
    digest = hashlib.sha256("".join(f"{name}\0{recorded}\n" for name, recorded in own).encode("utf-8", "replace"))
    return Content(hash=f"sha256:{digest.hexdigest()}", files=files)


def inside(info: Path) -> dict[str, str]:
    """Name -> hash, as RECORD writes it, of the files that came out of the wheel; nothing where RECORD cannot be read."""
    try:
        return {name: recorded for name, recorded in _rows(info) if is_inside(name)}
    except _Wrong:
        return {}


def has_module(found: Content, info: Path, module: str) -> bool:
    """Whether a module is one of the distribution's own files."""
    path = info.parent.joinpath(*module.split("."))
    return not {path.with_name(f"{path.name}.py"), path / "__init__.py"}.isdisjoint(found.files)


class _Wrong(Exception):
    """What does not agree."""


def _rows(info: Path) -> Iterator[tuple[str, str]]:
    """(name, hash) of every file that has a hash. Compiled files have none, and RECORD itself cannot."""
    try:
        with open(info / "RECORD", "rb") as file:
            data = file.read(RECORD_MAX + 1)
        rows = list(csv.reader(data.decode("utf-8").splitlines()))
    except FileNotFoundError:
        raise _Wrong("it has no RECORD, so its files cannot be checked") from None
    except (OSError, ValueError, csv.Error):
        raise _Wrong("its RECORD cannot be read") from None
    if len(data) > RECORD_MAX or len(rows) > FILES_MAX:
        raise _Wrong(f"its RECORD is longer than {FILES_MAX:,} files")
    for row in rows:
        name, recorded = (*row, "", "")[:2]
        if recorded:
            yield name, recorded
        elif name and not name.endswith(".pyc") and PurePosixPath(name).name not in _OF_THE_INSTALLER:
            raise _Wrong(f"its RECORD has no hash for {name}")


def _path(info: Path, name: str) -> Path:
    return Path(os.path.normpath(info.parent / name))


def _check(info: Path, name: str, recorded: str) -> None:
    path = _path(info, name)
    algorithm, _, expected = recorded.partition("=")
    if algorithm not in ("sha256", "sha384", "sha512"):
        raise _Wrong(f"its RECORD has {algorithm!r} for {name}, which is no hash to trust")
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > SIZE_MAX:
                raise _Wrong(f"{name} is larger than a plugin may be")
            digest = hashlib.file_digest(file, algorithm).digest()
    except OSError:
        raise _Wrong(f"{name} is missing or cannot be read") from None
    if written(digest) != expected:
        raise _Wrong(f"{name} is not the file that was installed")


def written(digest: bytes) -> str:
    """A digest as RECORD writes it."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_inside(name: str) -> bool:
    """Whether the file is the wheel's own: scripts get the path of their Python written into them."""
    path = PurePosixPath(name)
    made = path.name in _OF_THE_INSTALLER and path.parent.name.endswith(".dist-info")
    return not made and ".." not in path.parts and not path.is_absolute()


def _is_editable(info: Path) -> bool:
    try:
        with open(info / "direct_url.json", "rb") as file:
            about = json.loads(file.read(FILES_MAX))
        return about["dir_info"]["editable"] is True
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
