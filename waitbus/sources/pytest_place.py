"""The folder of one `waitbus run`, `<state>/relays/<random>`: a socket for pytest below it, its plugin as a wheel, and a note of
each session that goes on. A `run` that is killed leaves its notes to the next one.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import waitbus
from waitbus import whole
from waitbus.paths import own_directory, state_dir
from waitbus.sources.pidfd import Process, is_alive

MODULE = "waitbus_relay"
"""The plugin's name where it is a copy; `pytest_plugin` knows itself by it."""
ENTRY = "waitbus_entry"
"""The module that pytest loads. Any Python can read it, 2.7 too; where one of both is too old for the plugin it does nothing."""
ENTRY_SOURCE = f"""\
import sys

import pytest

if sys.version_info >= (3, 7) and hasattr(pytest, "version_tuple"):
    from {MODULE} import pytest_addoption, pytest_load_initial_conftests
"""
WHEEL = f"{MODULE}-1-py3-none-any.whl"
"""Of this form pip knows a wheel (PEP 427)."""
SOCKET = "s"
NOTE = ".session"
NOTE_MAX = 64 * 1024
BACKLOG = 64
STALE_MAX, YOUNG_S = 16, 60.0


def base() -> Path:
    """Where the folders lie."""
    return state_dir() / "relays"


def make(base: Path) -> tuple[Path, socket.socket]:
    """A folder of our own with the wheel in it, and the listening socket.

    Raises:
      OSError, WaitbusError: it cannot be made.
    """
    own_directory(base)
    folder = base / os.urandom(8).hex()
    folder.mkdir(mode=0o700)
    try:
        os.symlink(_wheel(base), folder / WHEEL)
        return folder, _listener(folder)
    except BaseException:
        remove(folder)
        raise


def remove(folder: Path) -> None:
    """Remove what `make` made, and notes."""
    with suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(folder / name)
        os.rmdir(folder)


def note(folder: Path, name: str, process: Process, beginning: Mapping[str, Any]) -> None:
    """Note that a session goes on, in that process."""
    with suppress(OSError):
        text = json.dumps({"pid": process.pid, "start_ticks": process.start_ticks, "beginning": beginning})
        (folder / f"{name}{NOTE}").write_text(text)


def forget(folder: Path, name: str) -> None:
    """It is over, and told."""
    with suppress(OSError):
        os.unlink(folder / f"{name}{NOTE}")


def left(base: Path) -> list[dict[str, Any]]:
    """How the sessions began that a killed `run` has left, and that are over themselves; nobody learns of them again."""
    found = []
    for name in [name for name in _names(base) if not name.endswith(".whl")][:STALE_MAX]:
        if _is_used(base / name):
            continue
        notes = [_note(base / name / file) for file in _names(base / name) if file.endswith(NOTE)]
        if not any(_goes_on(one) for one in notes):
            found += [one["beginning"] for one in notes if isinstance(one.get("beginning"), dict)]
            remove(base / name)
    return found


def _note(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes()[:NOTE_MAX])
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _goes_on(one: Mapping[str, Any]) -> bool:
    pid, ticks = one.get("pid"), one.get("start_ticks")
    return type(pid) is int and type(ticks) is int and pid > 0 and is_alive(Process(pid, ticks))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _wheel(base: Path) -> Path:
    """The wheel of this version's plugin, made when first needed."""
    plugin, entry = Path(waitbus.__file__).with_name("pytest_plugin.py").read_bytes(), ENTRY_SOURCE.encode()
    path = base / f"{crc32(plugin + entry):08x}.whl"
    if not path.exists():
        whole.write(path, _zipped(plugin, entry))
    return path


def _zipped(plugin: bytes, entry: bytes) -> bytes:
    import io
    import zipfile

    info = f"{MODULE}-1.dist-info"
    files = {
        f"{MODULE}.py": plugin,
        f"{ENTRY}.py": entry,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n".encode(),
        f"{info}/entry_points.txt": f"[pytest11]\nwaitbus = {ENTRY}\n".encode(),
    }
    # Without a RECORD pytest 4 ends with an error.
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:  # not compressed: there are Pythons without zlib
        for name, data in files.items():
            file.writestr(name, data)
    return made.getvalue()


def _listener(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _socket_in(folder) as name:
            listener.bind(name)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


@contextmanager
def _socket_in(folder: Path) -> Iterator[str]:
    """The name of the socket there: by the folder's handle where that is possible, since a socket's path has 107 bytes."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{handle}"
        yield os.path.join(short if os.path.isdir(short) else folder, SOCKET)
    finally:
        os.close(handle)


def _is_used(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with _socket_in(folder) as name:
                probe.connect(name)
        except ConnectionRefusedError:
            return False
        except FileNotFoundError:  # it is being made, or was left half made
            return _is_young(folder)
        except OSError:
            return True
    return True


def _is_young(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime < YOUNG_S
    except OSError:
        return True
