"""A terminal for one program: a pseudo-terminal, a session of its own, and a screen that can be waited for."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType

CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x04", "\x1a", "\x1c"


class Terminal:
    """`with Terminal(["bash", "-i"]) as screen`: the program has the terminal as its controlling one, 24 by 80.

    `said` is everything it showed; `read_until` answers only what came since the last call.
    """

    def __init__(self, argv: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 80)
        self.said = ""
        self._seen = 0
        self.program = subprocess.Popen(
            list(argv),
            env={**os.environ, **(env or {})},
            pass_fds=[slave],
            preexec_fn=lambda: os.login_tty(slave),
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.program.poll() is None:
            os.killpg(self.program.pid, signal.SIGKILL)
        os.close(self.master)  # hangs up: the foreground group gets SIGHUP
        self.program.wait(timeout=10)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read_until(self, text: str, timeout: float = 20) -> str:
        """What was shown since the last call, up to and including `text`."""
        deadline = time.monotonic() + timeout
        while (at := self.said.find(text, self._seen)) < 0:
            if not self._more(deadline):
                raise AssertionError(f"{text!r} was not shown; since then: {self.said[self._seen :]!r}")
        fresh = self.said[self._seen : at + len(text)]
        self._seen = at + len(text)
        return fresh

    def wait(self, timeout: float = 20) -> int:
        """Read to the end, and give the exit code."""
        deadline = time.monotonic() + timeout
        while self._more(deadline):
            pass
        return self.program.wait(timeout=max(0.1, deadline - time.monotonic()))

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self.master, 65536) if ready else b""
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.said += data.decode(errors="replace")
        return bool(data)
