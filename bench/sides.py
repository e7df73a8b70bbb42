"""The two programs that are compared, each in its own environment, and the processes that a measurement runs with them.

Every measurement gets a fresh home (state, runtime and config directory) on the same file system, so that neither program
carries the rows of another measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from bench.proc import listening_pid

PATIENCE = 120.0
"""s until a process that says nothing counts as broken."""


class Broken(Exception):
    """A run did not get through: no figure, and the bench fails."""


@attrs.frozen
class Side:
    """One program: its interpreter and its command. `old` is 0.2."""

    name: str
    python: Path
    command: Path
    old: bool
    root: Path
    """Where homes are made."""

    @contextlib.contextmanager
    def home(self) -> Iterator[Home]:
        """A fresh home, gone afterwards."""
        place = Path(tempfile.mkdtemp(prefix="h", dir=self.root))
        home = Home(self, place)
        try:
            for folder in (place / "state", place / "run", place / "config", place / "path"):
                folder.mkdir(mode=0o700)
            # Workers import `bench`, and nothing else from this repository: `waitbus` is what the interpreter has installed.
            (place / "path" / "bench").symlink_to(Path(__file__).parent)
            if self.old:
                home.call("init")
            yield home
        finally:
            home.end()
            shutil.rmtree(place, ignore_errors=True)

    def version(self) -> str:
        code = "import waitbus, sqlite3; print(waitbus.__version__, sqlite3.sqlite_version)"
        return subprocess.run(
            [self.python, "-c", code], capture_output=True, text=True, check=True, cwd=self.root
        ).stdout.strip()


@attrs.define(eq=False)
class Worker:
    """A child that speaks one JSON object a line."""

    process: subprocess.Popen[bytes]
    _buffer: bytes = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, within: float = PATIENCE) -> dict[str, Any]:
        """Its next line.

        Raises:
          Broken: it ended, or said nothing for `within` s.
        """
        assert self.process.stdout is not None
        deadline = time.monotonic() + within
        while b"\n" not in self._buffer:
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Broken(f"{self.process.args!r} said nothing for {within:g} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Broken(f"{self.process.args!r} ended with {self.process.wait()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def ask(self, within: float = PATIENCE, **message: Any) -> dict[str, Any]:
        self.tell(**message)
        return self.hear(within)


@attrs.define(eq=False)
class Home:
    """One measurement's directories and processes."""

    side: Side
    place: Path
    extra: dict[str, str] = attrs.field(factory=dict)
    """Variables beside those of every home."""
    _children: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    @property
    def socket(self) -> Path:
        return self.place / "run" / "broadcast.sock"

    @property
    def env(self) -> dict[str, str]:
        """Nothing of the caller's environment that could change what is measured."""
        return {
            "HOME": os.fspath(self.place),
            "PATH": f"{self.side.python.parent}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "WAITBUS_STATE_DIR": os.fspath(self.place / "state"),
            "WAITBUS_RUNTIME_DIR": os.fspath(self.place / "run"),
            "WAITBUS_CONFIG_DIR": os.fspath(self.place / "config"),
            **self.extra,
        }

    def call(self, *args: str) -> str:
        """Run the program's command to its end."""
        done = subprocess.run(
            [self.side.command, *args], env=self.env, cwd=self.place, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode:
            raise Broken(f"{self.side.name}: {' '.join(args)} gave {done.returncode}: {done.stderr.strip()[-400:]}")
        return done.stdout

    def start(self, *args: str | Path, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """A child that ends with this home."""
        child = subprocess.Popen(list(args), env=self.env | (env or {}), cwd=self.place, **options)
        self._children.append(child)
        return child

    def worker(self, name: str, *args: str, pass_fds: tuple[int, ...] = ()) -> Worker:
        """`bench/workers/NAME.py` under this program's interpreter, ready."""
        child = self.start(
            self.side.python, "-m", f"bench.workers.{name}", *args,
            env={"PYTHONPATH": os.fspath(self.place / "path")}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds,
        )  # fmt: skip
        worker = Worker(child)
        if not worker.hear().get("ready"):
            raise Broken(f"the worker {name} is not ready")
        return worker

    def daemon(self) -> int:
        """The broadcast daemon alone, accepting; its pid is the one that the socket itself names."""
        with (self.place / "daemon.log").open("wb") as log:
            child = self.start(self.side.command, "broadcast", "serve", stdout=log, stderr=log)
        self.until(self.answers, child)
        pid = listening_pid(self.socket)
        if pid != child.pid:
            raise Broken(f"{self.side.name}: pid {child.pid} was started, and pid {pid} listens")
        return pid

    def answers(self) -> bool:
        """Whether somebody accepts on the socket."""
        try:
            return listening_pid(self.socket) > 0
        except OSError:
            return False

    def until(self, condition: Callable[[], bool], child: subprocess.Popen[bytes], patience: float = 20.0) -> None:
        """Wait for a condition that nothing announces."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline or child.poll() is not None:
                log = self.place / "daemon.log"
                raise Broken(f"{child.args!r} did not come up: {log.read_text()[-400:] if log.exists() else ''}")
            time.sleep(0.01)

    def stop(self, pid: int, how: signal.Signals = signal.SIGTERM) -> None:
        """End a child that this home started; by default as its user would."""
        for child in self._children:
            if child.pid == pid:
                child.send_signal(how)
                child.wait(20)

    def end(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


def sides(root: Path, old: Path | None) -> list[Side]:
    """Ours, and 0.2 where it is installed."""
    here = Path(sys.executable)
    found = [Side("ours", here, here.parent / "waitbus", old=False, root=root)]
    if old is not None:
        found.append(Side("0.2.0", old / "bin" / "python", old / "bin" / "waitbus", old=True, root=root))
    return found
