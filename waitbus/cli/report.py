"""Bug reports: the traceback that a person is never shown, in a file that only they can read."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from waitbus import __version__, paths

REPORTS_KEPT = 20
"""A job that meets a bug once a minute must not fill the disk with it."""


def write(error: BaseException, args: Sequence[str]) -> Path | None:
    """Write the report (mode 0600) into `<state>/reports`, else the temp directory; None if neither takes it."""
    text = _text(error, args)
    for directory in (_reports_dir, _temp_dir):
        try:
            return _write_new(directory(), text)
        except (
            Exception
        ):  # a state directory may be missing, foreign, full or misnamed: any reason is a reason to go on
            continue
    return None


def summary(error: BaseException) -> str:
    """`TypeError: what` on one line, not longer than a line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:199] + "…"


def _write_new(directory: Path, text: str) -> Path:
    fd, name = tempfile.mkstemp(prefix=f"waitbus-bug-{time.strftime('%Y%m%dT%H%M%S')}-", suffix=".txt", dir=directory)
    with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)


def _reports_dir() -> Path:
    paths.own_directory(paths.state_dir())
    directory = paths.own_directory(paths.state_dir() / "reports")
    for old in sorted(directory.glob("waitbus-bug-*.txt"))[: -REPORTS_KEPT + 1]:
        old.unlink(missing_ok=True)
    return directory


def _temp_dir() -> Path:
    return Path(tempfile.gettempdir())


def _text(error: BaseException, args: Sequence[str]) -> str:
    return "\n".join(
        [
            f"waitbus {__version__}, Python {sys.version.split()[0]}, {platform.platform()}",
            f"command: {['waitbus', *args]!r}",
            "(the command may hold private values: look it over before you send this)",
            "",
            *traceback.format_exception(error),
        ]
    )
