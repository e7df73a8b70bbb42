"""A stage for `waitbus demo`: a folder of its own, real processes of this very installation, and nothing left behind."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs

import waitbus
from waitbus.errors import DemoFailed
from waitbus.paths import SOCKET_PATH_MAX

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any, NoReturn, Self

PATIENCE = 30.0
"""s for whatever one process waits for of another."""

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BUSY = "is this machine very busy? Try again"
_REPORT = "it should have worked: please report it"


@attrs.define(eq=False)
class Child:
    """A process that was started here, what to call it, and what was read of its output and not asked for yet."""

    process: subprocess.Popen[bytes]
    name: str
    rest: bytearray = attrs.field(factory=bytearray)


class Stage:
    """`with Stage() as stage`: processes started here have directories of their own, and end with the block."""

    def __init__(self) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="waitbus-demo-", dir=_short_folder()))
        except OSError as error:
            raise DemoFailed(
                f"no folder for the demo: {error.strerror}", hint="set TMPDIR to a folder that can be written"
            ) from None
        self.environment = _environment(self.folder)
        self._children: list[Child] = []
        self._handlers: dict[int, Any] = {}
        self._starting = False
        self._arrived = 0

    def __enter__(self) -> Self:
        for number in _ENDS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._handlers[number] = signal.signal(number, self._interrupted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C is not to leave half of them behind.
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)
        try:
            for child in self._children:
                _kill(child.process)
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _interrupted(self, number: int, _frame: FrameType | None) -> None:
        # Raised in the middle of a start, it would leave a process that nobody knows of.
        self._arrived = number
        if not self._starting:
            self._leave()

    def _leave(self) -> NoReturn:
        raise KeyboardInterrupt if self._arrived == signal.SIGINT else SystemExit(128 + self._arrived)

    # -- processes -----------------------------------------------------------------------------------------------------

    def start(self, *words: str, module: str = "waitbus") -> Child:
        """Start `waitbus WORDS`. In a process group of its own, so that a Ctrl-C of the terminal comes to us alone."""
        self._starting = True
        try:
            child = Child(self._spawn(module, words), f"{module.rpartition('.')[2]} {words[0]}")
            self._children.append(child)
        finally:
            self._starting = False
        if self._arrived:
            self._leave()
        return child

    def _spawn(self, module: str, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            # -P: what lies in the folder we are called from is no part of us.
            [sys.executable, "-P", "-m", module, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd=self.folder,
            process_group=0,
        )

    def call(self, *words: str, expect: int = 0) -> str:
        """Run `waitbus WORDS` to its end, and give what it printed.

        Raises:
          DemoFailed: it ended with another exit code than `expect`, or not at all.
        """
        return self.end(self.start(*words), expect)

    def end(self, child: Child, expect: int = 0) -> str:
        """Wait for the end of a process, and give what it printed since it was last read.

        Raises:
          DemoFailed: as `call`.
        """
        try:
            out, err = child.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"`{child.name}` did not end within {PATIENCE:g} s", hint=_BUSY) from None
        if (code := child.process.returncode) != expect:
            said = err.decode(errors="replace").strip().splitlines()
            why = f": {said[0]}" if said else ""
            raise DemoFailed(f"`{child.name}` ended with {code}, and {expect} was due{why}", hint=_REPORT)
        return (bytes(child.rest) + out).decode(errors="replace")

    def hear(self, child: Child, word: str, *, stderr: bool = True) -> str:
        """The first line of a process that has `word` in it.

        Raises:
          DemoFailed: it ended, or said nothing of the kind for 10 s.
        """
        stream = child.process.stderr if stderr else child.process.stdout
        assert stream is not None
        heard = []
        for line in _lines(stream, bytearray() if stderr else child.rest, time.monotonic() + PATIENCE):
            if word in line:
                return line
            heard.append(line)
        said = f"; it said: {heard[0]}" if heard else ""
        raise DemoFailed(f"`{child.name}` did not say {word!r}{said}", hint=_REPORT if heard else _BUSY)


def _lines(stream: IO[bytes], buffer: bytearray, deadline: float) -> Iterable[str]:
    while (left := deadline - time.monotonic()) > 0:
        line, newline, rest = bytes(buffer).partition(b"\n")
        if newline:
            buffer[:] = rest
            yield line.decode(errors="replace")
        elif select.select([stream], [], [], left)[0]:
            data = os.read(stream.fileno(), 65536)
            if not data:
                return
            buffer += data


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # what it started, too
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _short_folder() -> str | None:
    """Where the temporary folder's own name leaves no room for a socket's, a shorter one."""
    usual = tempfile.gettempdir()
    room = SOCKET_PATH_MAX - len("/waitbus-demo-abcdefgh/run/.broadcast.sock.1234567")
    return None if len(os.fsencode(usual)) <= room or not os.access("/tmp", os.W_OK) else "/tmp"


def _environment(folder: Path) -> dict[str, str]:
    foreign = ("WAITBUS_", "LISTEN_", "NOTIFY_SOCKET", "_WAITBUS", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    places = {"STATE": "state", "RUNTIME": "run", "CONFIG": "config"}
    kept |= {f"WAITBUS_{name}_DIR": str(folder / place) for name, place in places.items()}
    home = Path(waitbus.__file__).parent.parent
    if home.name not in ("site-packages", "dist-packages"):
        # Run from a source tree: `-P` leaves that out of the path, and it is where we are.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(home), kept.get("PYTHONPATH"))))
    return kept
