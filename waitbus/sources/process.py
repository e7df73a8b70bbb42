"""The rows of the process source: one when `waitbus run` has started a command, one when a process has ended.

Whoever sees the end first writes it: `run` and a `--pid` watcher make the same delivery id of (boot, pid, start time), so
that two of them make one row.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Sequence

import attrs

from waitbus.events import EventInsert
from waitbus.sources.pidfd import Process, boot_id

STARTED = "process_started"
EXITED = "process_exited"
COMMAND_MAX = 400
NAME_LIMIT = 200


@attrs.frozen(kw_only=True)
class Subject:
    """What a row is about: which process, what it is called, what it runs, and the `waitbus run` that started it, if one did."""

    process: Process
    name: str
    command: Sequence[str]
    run: Process | None = None

    def fields(self) -> dict[str, object]:
        """What both rows have in common; None stands for what is not known."""
        return {
            "name": self.name,
            "pid": self.process.pid,
            "start_ticks": self.process.start_ticks or None,
            "command": shown_command(self.command) or None,
            "run_pid": self.run.pid if self.run else None,
            "run_start_ticks": self.run.start_ticks or None if self.run else None,
        }


def started(subject: Subject) -> EventInsert:
    """The row for a command that was started."""
    return EventInsert(
        source="process",
        event_type=STARTED,
        delivery_id=delivery_id(subject.process, "started"),
        status="in_progress",
        workflow_name=subject.name,
        fields=subject.fields(),
    )


def exited(subject: Subject, status: int | None, duration_s: float | None) -> EventInsert:
    """The row for a process that ended; `status` is its wait status, None where nobody could tell: then no conclusion either."""
    code, signal_name = (None, None) if status is None else ending(status)
    return EventInsert(
        source="process",
        event_type=EXITED,
        delivery_id=delivery_id(subject.process, "exited"),
        status="completed",
        conclusion=None if code is None else "success" if code == 0 else "failure",
        workflow_name=subject.name,
        fields={
            **subject.fields(),
            "exit_code": code,
            "signal": signal_name,
            "duration_ms": None if duration_s is None else max(0, round(duration_s * 1000)),
        },
    )


def ending(status: int) -> tuple[int, str | None]:
    """A wait status as (exit code, name of the signal or None); the code after signal n is 128+n, as in a shell's `$?`."""
    code = os.waitstatus_to_exitcode(status)
    return (code, None) if code >= 0 else (128 - code, signal_name(-code))


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `SIGRTMIN+3` for what has no name of its own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def delivery_id(process: Process, what: str) -> str | None:
    """The natural key of the process's `started` or `exited` row; None (one is made) where the start time is hidden.

    Without it the key would be that of the next process with this pid as well, whose row would be taken for a duplicate.
    """
    if not process.start_ticks:
        return None
    return f"process:{boot_id()}:{process.pid}:{process.start_ticks}:{what}"


def exit_terms(process: Process) -> list[list[str]]:
    """The match terms (alternatives of terms that AND) of this very process's end.

    The second alternative is for the pid of the `waitbus run` itself, which is what a shell's `$!` holds: its command's end
    is its own.
    """
    alternatives = []
    for pid, start in (("pid", "start_ticks"), ("run_pid", "run_start_ticks")):
        terms = ["source=process", f"event_type={EXITED}", f"{pid}={process.pid}"]
        alternatives.append([*terms, f"{start}={process.start_ticks}"] if process.start_ticks else terms)
    return alternatives


def default_name(command: Sequence[str]) -> str:
    """What a command is called if nobody says: its file name."""
    word = command[0] if command else ""
    return (word.rstrip("/").rpartition("/")[2] or word)[:NAME_LIMIT]


def shown_command(command: Sequence[str]) -> str:
    """The command line as a shell would take it, 400 characters at most."""
    text = shlex.join(command)
    return text if len(text) <= COMMAND_MAX else text[: COMMAND_MAX - 1] + "…"
