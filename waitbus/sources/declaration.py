"""Asking an installed package for its declaration, by a child process that is given 10 s."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from waitbus.errors import PluginBroken, WaitbusError
from waitbus.sources.spec import from_plain
from waitbus.sources.surroundings import environment, python

if TYPE_CHECKING:
    from waitbus.sources.discovery import Entry

TIME = 10.0
"""s for a declaration."""
ANSWER_MAX = 256 * 1024
"""Bytes of one."""


class Declared(NamedTuple):
    """A declaration as JSON has it, and the files that it was read from."""

    spec: dict[str, Any]
    files: tuple[str, ...]


def ask(entry: Entry) -> Declared:
    """The declaration of an installed plugin. Blocks for as long as a Python needs to start.

    Raises:
      PluginBroken: it gives none; the message says why, the hint what to do.
    """
    answer = _answer(entry)
    if "error" in answer:
        raise _broken(entry, str(answer["error"]))
    try:
        given, files = answer["spec"], tuple(str(file) for file in answer["files"])
        spec = from_plain(given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(entry, error.message if isinstance(error, WaitbusError) else "its declaration is none") from None
    if spec.name != entry.name:
        raise _broken(entry, f"its entry point is called {entry.name!r} and declares the source {spec.name!r}")
    return Declared(given, files)


def _answer(entry: Entry) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            python("waitbus.sources.declaring", entry.value),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment(),
            cwd="/",
            start_new_session=True,
        )
        try:
            child.wait(TIME)
        except subprocess.TimeoutExpired:
            raise _broken(entry, f"its declaration took more than {TIME:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)  # with what it started
            child.wait()
        return _json(entry, _start(out, ANSWER_MAX + 1), _end(err))


def _json(entry: Entry, data: bytes, said: str) -> dict[str, Any]:
    try:
        value = json.loads(data) if len(data) <= ANSWER_MAX else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _broken(entry, said or "the process that was to read its declaration ended without one")
    return value


def _start(file: Any, size: int) -> bytes:
    file.seek(0)
    data: bytes = file.read(size)
    return data


def _end(file: Any) -> str:
    """The last line of what was said."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:400] if lines else ""


def _broken(entry: Entry, reason: str) -> PluginBroken:
    return PluginBroken(
        f"plugin {entry.name!r} of {entry.distribution} {entry.version} cannot be used: {reason}",
        hint=f"report it to its author, or remove {entry.distribution}",
    )
