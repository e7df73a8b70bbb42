"""A daemon process, and raw connections to it that know nothing of the client: bytes and frames, each wait bounded."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import support
from waitbus.events import EventInsert
from waitbus.producer import emit_batch

DEADLINE = 10.0
"""s for any single answer, on a machine that does other things too."""


class Wire:
    """One connection to the bus."""

    def __init__(self, path: Path | str, *, timeout: float = DEADLINE) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(os.fspath(path))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, message: Any) -> Wire:
        """One frame; `message` is bytes for its body, or something for JSON."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.socket.sendall(struct.pack(">I", len(body)) + body)
        return self

    def body(self) -> bytes | None:
        """The body of the next frame as it came; None at EOF. A reset is an error."""
        head = self._exactly(4)
        return None if head is None else self._exactly(struct.unpack(">I", head)[0])

    def frame(self) -> dict[str, Any] | None:
        body = self.body()
        return None if body is None else json.loads(body)

    def frames(self, count: int) -> list[dict[str, Any]]:
        """The next `count` frames but heartbeats."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            frame = self.frame()
            assert frame is not None, f"EOF after {len(found)} of {count} frames"
            if frame["kind"] != "daemon_heartbeat":
                found.append(frame)
        return found

    def rest(self) -> list[dict[str, Any]]:
        """Every frame up to EOF."""
        found = []
        while (frame := self.frame()) is not None:
            found.append(frame)
        return found

    def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes, not even EOF, for so long."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b"never"
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(DEADLINE)

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                assert not data, f"EOF within a frame, behind {data!r}"
                return None
            data += part
        return data


class Daemon:
    """`waitbus serve` in folders of its own below `home`, ready when made."""

    def __init__(self, home: Path, *argv: str, program: tuple[str, ...] = support.WAITBUS, **variables: str) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WAITBUS_")},
            "WAITBUS_STATE_DIR": str(home / "s"),
            "WAITBUS_RUNTIME_DIR": str(home / "r"),
            "WAITBUS_CONFIG_DIR": str(home / "c"),
            **variables,
        }
        self.process = subprocess.Popen(
            [*program, *(argv or ("serve",))],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.said = support.read_until(self._stderr, "serving ")
        except BaseException:
            self.kill()
            raise

    @property
    def _stderr(self) -> Any:
        assert self.process.stderr is not None
        return self.process.stderr

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.home / "s" / "events.db"

    @property
    def path(self) -> Path:
        return self.home / "r" / "broadcast.sock"

    def connect(self) -> Wire:
        return Wire(self.path)

    def subscribe(self, **message: Any) -> Wire:
        """A connection that has sent its subscribe frame; the ack is the next frame."""
        return self.connect().send(message)

    def armed(self, **message: Any) -> Wire:
        """A subscription behind its ack (and, with `lean`, its `replay_complete`)."""
        wire = self.subscribe(**message)
        assert wire.frames(1)[0]["kind"] == "subscribe_ack"
        if message.get("ext", {}).get("lean"):
            assert wire.frames(1)[0]["kind"] == "replay_complete"
        return wire

    def report(self) -> dict[str, Any]:
        """What the daemon says of itself."""
        with self.subscribe(ext={"status": True}) as wire:
            return wire.frames(2)[1]

    def memory(self) -> int:
        """Resident bytes."""
        return self._status("VmRSS") * 1024

    def wakeups(self, *, main: bool = False) -> int:
        """How often it gave the processor away: all its threads, or only the one of the event loop."""
        tasks = Path(f"/proc/{self.pid}/task")
        return sum(
            int(line.split()[1])
            for task in ([tasks / str(self.pid)] if main else tasks.iterdir())
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )

    def cpu(self) -> float:
        """s of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
        raise AssertionError(key)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 15) -> str:
        """Signal it, wait for its end, and give what it said; it has to end with 0."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, said
        return said

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        self._stderr.close()


STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.chmod(sys.argv[1], 0o666)
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    print(connection.recv(100), flush=True)
    connection.close()
"""


@contextmanager
def stranger(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another user who listens on `path`, in a folder that everybody may write, and prints what each connection says first."""
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o777)
    path.parent.parent.chmod(0o755)  # the test's home
    program = [sys.executable, "-I", "-S", "-c", STRANGER, os.fspath(path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
        try:
            support.read_until(child.stdout, "listening")  # type: ignore[arg-type]
            yield child
        finally:
            child.kill()


def flood(bus: Daemon, count: int, pad: int = 0, event_type: str = "flood") -> None:
    """So many events in one transaction, with a field of `pad` characters."""
    fields = {"pad": "x" * pad} if pad else None
    emit_batch((EventInsert(source="t", event_type=event_type, fields=fields) for _ in range(count)), db_path=bus.log)


@contextmanager
def daemon(home: Path, *argv: str, **variables: Any) -> Iterator[Daemon]:
    """A `Daemon` that is gone behind the block, however it ends."""
    home.mkdir(exist_ok=True, parents=True)
    made = Daemon(home, *argv, **variables)
    try:
        yield made
    finally:
        made.kill()
