"""What `waitbus init` makes, and why each of it is safe to make again: nothing that is there is written over."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from waitbus import paths, whole
from waitbus.errors import FileUnwritable, LogReadOnly, LogUnavailable
from waitbus.ops.config_schema import toml_example
from waitbus.ops.log_facts import is_there
from waitbus.store import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODE = 0o700
OLD_LOG = "github.db"
"""The log of 0.2, which had the same state directory."""


class Step(NamedTuple):
    """One thing that was looked at. `action`: `made`, `changed` (its mode), `there`."""

    action: str
    kind: str
    path: Path


def prepare(*, dry_run: bool = False) -> Iterator[Step]:
    """Make folders, log and config file, as far as they are not there; with `dry_run` only say what would be made.

    Raises:
      PathError, LogError: a folder is somebody else's or cannot be made, or the log cannot be opened.
      FileUnwritable: the config file cannot be written.
    """
    folders = (paths.state_dir(), paths.bells_dir(), paths.cursors_dir(), paths.runtime_dir(), paths.config_dir())
    for folder in dict.fromkeys(folders):
        yield Step(_folder(folder, dry_run), "folder", folder)
    yield Step(_log(paths.log_path(), dry_run), "log", paths.log_path())
    yield Step(_config(paths.config_path(), dry_run), "config", paths.config_path())


def old_log() -> Path | None:
    """A log of 0.2 in the state directory."""
    path = paths.state_dir() / OLD_LOG
    return path if os.path.isfile(path) else None


def _folder(folder: Path, dry_run: bool) -> str:
    try:
        facts = folder.stat()
    except FileNotFoundError:
        if not dry_run:
            paths.own_directory(folder)
        return "made"
    except OSError as error:
        raise LogUnavailable(
            f"cannot look at {folder}: {error.strerror}", hint=f"mend the rights of {folder.parent}"
        ) from None
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and stat.S_IMODE(facts.st_mode) & ~MODE:
        if not dry_run:
            _chmod(folder)
        return "changed"
    paths.own_directory(folder)  # it is there: this only refuses one that is a file, or another user's
    return "there"


def _chmod(folder: Path) -> None:
    try:
        folder.chmod(MODE)
    except OSError as error:
        raise LogReadOnly(f"cannot change the mode of {folder}: {error.strerror}", hint=f"chmod 700 {folder}") from None


def _log(path: Path, dry_run: bool) -> str:
    there = is_there(path) and path.stat().st_size > 0
    if not dry_run:
        shared(path).facts()
    return "there" if there else "made"


def _config(path: Path, dry_run: bool) -> str:
    if os.path.exists(path):
        return "there"
    if dry_run:
        return "made"
    try:
        whole.write(path, toml_example().encode(), replace=False)
    except FileExistsError:
        return "there"
    except OSError as error:
        raise FileUnwritable(
            f"{path} cannot be written: {error.strerror}", hint="make space, or set WAITBUS_CONFIG_DIR"
        ) from None
    return "made"
