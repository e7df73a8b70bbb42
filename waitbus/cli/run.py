"""`waitbus run -- CMD`: the command as if it stood alone, and a row for its start and one for its end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from waitbus.cli import output
from waitbus.cli.command import Usage, command
from waitbus.cli.options import option
from waitbus.producer import emit
from waitbus.sources import child as children
from waitbus.sources import pidfd, process
from waitbus.store import shared

if TYPE_CHECKING:
    from collections.abc import Callable


@command(
    "run",
    tail="command",
    examples=[
        ("waitbus run -- true", 0),
        ("waitbus run --name build -- sh -c 'exit 2'", 2),
    ],
)
@option("--name", help="What to call it in events [default: the command's file name].", group="What")
def run(name: str | None, command: tuple[str, ...]) -> int:
    """Run a command unchanged, with its own exit code, and tell whoever waits when it has started and ended.

    It has the terminal, the streams and the environment to itself, as under `env`. The exit code is its own, or 128+n if
    signal n ended it; 127 if there is no such command, 126 if it cannot be executed. If the log cannot be written, that is
    said once and changes nothing else.
    """
    if name is not None and not name.strip():
        raise Usage("--name is empty", hint="leave it out to use the command's own name")
    children.keep_streams_closed()
    diary = _Diary(name, command)
    begun = time.monotonic()
    child = children.spawn(command)
    diary.started(child.pid)
    status = children.wait(child)
    diary.exited(status, time.monotonic() - begun)
    return process.ending(status)[0]


class _Diary:
    """Writes the two rows of one run; where it cannot, it says so once and goes on."""

    def __init__(self, name: str | None, command: tuple[str, ...]) -> None:
        self.name = name or process.default_name(command)
        self.command = command
        self.lost = False
        own = os.getpid()
        self.run = pidfd.Process(own, pidfd.start_time(own) or 0)
        self._try(self._rehearse)

    def _rehearse(self) -> None:
        # The command's end is to be our end within 2 ms. The first connection, and the modules that are imported when the first
        # row is made, cost more than that; so both are had before the command starts.
        process.exited(self._subject(os.getpid()), 0, 1.0)
        shared().head()

    def _subject(self, pid: int) -> process.Subject:
        # The pid is ours to reap, so it cannot be another's yet.
        it = pidfd.Process(pid, pidfd.start_time(pid) or 0)
        return process.Subject(process=it, name=self.name, command=self.command, run=self.run)

    def started(self, pid: int) -> None:
        self.subject = self._subject(pid)
        self._try(lambda: emit(process.started(self.subject)))

    def exited(self, status: int, duration_s: float) -> None:
        self._try(lambda: emit(process.exited(self.subject, status, duration_s)))

    def _try(self, act: Callable[[], object]) -> None:
        # A boundary like that of a supervisor: no fault of ours may keep the command from running or cost its exit code.
        try:
            act()
        except Exception as error:
            if not self.lost:
                output.warn(f"the start and end of {self.name} are not in the log: {error}")
            self.lost = True
