"""`waitbus run -- CMD`: the command as if it stood alone, and a row for its start and one for its end."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from waitbus.cli import output
from waitbus.cli.command import Usage, command
from waitbus.cli.options import option
from waitbus.errors import LogBusy, WaitbusError
from waitbus.sources import child as children
from waitbus.sources import pidfd, process
from waitbus.sources.kept import AGAIN, Kept
from waitbus.sources.pytest_relay import open_relay
from waitbus.store import shared
from waitbus.store.log import BUSY_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from waitbus.events import EventInsert
    from waitbus.sources.pytest_relay import Relay


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

    Test sessions of pytest below it, also through make, tox, nox or uv, are told as they go: each failure, and the end. For
    that PYTHONPATH has one place more at its end, and TOX_OVERRIDE tells tox to hand it down; WAITBUS_PYTEST=0 leaves
    both alone, WAITBUS_PYTEST=all tells of every test.
    """
    if name is not None and not name.strip():
        raise Usage("--name is empty", hint="leave it out to use the command's own name")
    children.keep_streams_closed()
    diary = _Diary(name, command)
    begun = time.monotonic()
    with _relay(diary) as relay:
        child = _spawn(command, relay)
        diary.started(child.pid)
        status = _wait(child, relay, diary)
        took = time.monotonic() - begun
        if relay is not None:
            diary.sessions(lambda: relay.end(status))
        diary.exited(status, took)
    return process.ending(status)[0]


def _wait(child: children.Child, relay: Relay | None, diary: _Diary) -> int:
    if relay is None:
        return children.wait(child)
    diary.try_to(lambda: relay.wake_by_signal(child.pid))
    return children.wait(child, lambda: diary.sessions(relay.hear))


def _spawn(command: tuple[str, ...], relay: Relay | None) -> children.Child:
    if relay is None:
        return children.spawn(command)
    return children.spawn(command, relay.environment(children.environment()), also=[signal.SIGIO])


@contextmanager
def _relay(diary: _Diary) -> Iterator[Relay | None]:
    """What hears of pytest below the command; none where the log cannot be written, or it was turned off."""
    relay = None
    if (
        not diary.lost and children.found(diary.command[0]) is not None
    ):  # else nothing will run, and nothing is to be written
        try:
            relay = open_relay(os.environ)
        except (OSError, WaitbusError) as error:
            diary.untold = f"what pytest does below {diary.name} is not told: {error}"
    try:
        yield relay
    finally:
        if relay is not None:
            relay.close()


class _Diary:
    """Writes the two rows of one run; where it cannot, it says so once and goes on."""

    def __init__(self, name: str | None, command: tuple[str, ...]) -> None:
        self.name = name or process.default_name(command)
        self.command = command
        self.lost = False
        self.untold = ""
        self.kept = Kept()
        own = os.getpid()
        self.run = pidfd.Process(own, pidfd.start_time(own) or 0)
        self.try_to(self._rehearse)

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
        self.write([process.started(self.subject)])
        if self.untold and not self.lost:  # else it has one cause with what was said
            output.warn(self.untold)

    def exited(self, status: int, duration_s: float) -> None:
        self.try_to(lambda: self.kept.write([process.exited(self.subject, status, duration_s)], patience=BUSY_TIMEOUT))

    def sessions(self, hear: Callable[[], list[EventInsert]]) -> float | None:
        """Write what pytest sessions below the command have told; the s after which it is to be tried again."""
        rows: list[EventInsert] = []
        self.try_to(lambda: rows.extend(hear()))
        self.write(rows)
        return AGAIN if self.kept else None

    def write(self, rows: list[EventInsert]) -> None:
        """Write without holding up anybody: what a locked log does not take is written later, at the latest with the end."""
        self.try_to(lambda: self._offer(rows))

    def _offer(self, rows: list[EventInsert]) -> None:
        with suppress(LogBusy):
            self.kept.write(rows)

    def try_to(self, act: Callable[[], object]) -> None:
        # A boundary like that of a supervisor: no fault of ours may keep the command from running or cost its exit code.
        try:
            act()
        except Exception as error:
            if not self.lost:
                output.warn(f"the start and end of {self.name} are not in the log: {error}")
            self.lost = True
