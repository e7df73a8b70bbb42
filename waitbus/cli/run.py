"""`waitbus run -- CMD`: the command as if it stood alone, and a row for its start and one for its end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from waitbus.cli import output
from waitbus.cli.command import Usage, command
from waitbus.cli.options import option
from waitbus.sources import child as children

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.events import EventInsert


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
    begun = time.monotonic()
    child = children.spawn(command)
    rows = _Rows(child.pid, name, command)
    rows.write_start()
    status = children.wait(child)
    return rows.write_end(status, time.monotonic() - begun)


class _Rows:
    """The two rows of one run. What is imported here is imported while the command already runs."""

    def __init__(self, pid: int, name: str | None, command: tuple[str, ...]) -> None:
        from waitbus.sources.pidfd import Process, start_time
        from waitbus.sources.process import Subject, default_name

        self.lost = False
        self.subject = Subject(
            process=Process(pid, start_time(pid) or 0),  # not reaped before we say so: the pid is its own
            name=name or default_name(command),
            command=command,
            run=Process(os.getpid(), start_time(os.getpid()) or 0),
        )

    def write_start(self) -> None:
        from waitbus.sources.process import started

        self._write(lambda: started(self.subject))

    def write_end(self, status: int, duration_s: float) -> int:
        from waitbus.sources.process import ending, exited

        self._write(lambda: exited(self.subject, status, duration_s))
        return ending(status)[0]

    def _write(self, make: Callable[[], EventInsert]) -> None:
        # A boundary like that of a supervisor: the command runs, and no fault of ours may cost its exit code.
        try:
            from waitbus.producer import emit

            emit(make())
        except Exception as error:
            if not self.lost:
                output.warn(f"not written to the log: {error}; the command goes on")
            self.lost = True
