"""Wait for the end of a process that is not our child: `waitbus wait --pid N`."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

import attrs
import trio

from waitbus.events import EventInsert
from waitbus.sources import pidfd as kernel
from waitbus.sources.pidfd import Process
from waitbus.sources.process import Subject, default_name, delivery_id, exited

REAP_GRACE = 1.0
"""s that a parent has to reap its child; the kernel tells the exit status only then."""
RUN_GRACE = 1.0
"""s that `waitbus run` has to write its own row, which knows the name it was given and the exit code."""


@attrs.frozen
class Gone:
    """There was no process with this pid when the watch began: it ended before, and nothing more can be known."""

    pid: int


@attrs.frozen
class Recorded:
    """The process ended, and `waitbus run` has written the row itself."""

    process: Process
    delivery_id: str


def _nothing_recorded(_: str) -> bool:
    return False


async def watch_pid(
    pid: int,
    *,
    recorded: Callable[[str], bool] = _nothing_recorded,
    task_status: trio.TaskStatus[Process | Gone] = trio.TASK_STATUS_IGNORED,
) -> EventInsert | Recorded | Gone:
    """Wait until the process ends; answer the row to append.

    `recorded` says whether the log has a row with a given delivery id. If it has the `process_started` of this very process,
    `waitbus run` is its parent and is given a second to write the end. `task_status` gets the process, by which the pid is
    told from its later users, once it is held and cannot be mistaken any more.

    Raises:
      InvalidPid: the number cannot be a process, or is that of a thread.
      ServiceMissing: the system has no means to hear of the end.
    """
    handle = _open(pid)
    if handle is None:
        task_status.started(Gone(pid))
        return Gone(pid)
    try:
        process = kernel.identify(pid, handle)
        command = kernel.command_line(pid)
        task_status.started(process)
        await trio.lowlevel.wait_readable(handle)
        lived = kernel.age(process.start_ticks) if process.start_ticks else None
        status = await _status(process, handle)
    finally:
        os.close(handle)
    key = await _written_by_run(process, recorded)
    if key is not None:
        return Recorded(process, key)
    return exited(Subject(process=process, name=default_name(command) or str(pid), command=command), status, lived)


def _open(pid: int) -> int | None:
    if sys.platform == "darwin":
        from waitbus.sources import darwin

        kernel.check_pid(pid)
        return darwin.open_exit_queue(pid)
    return kernel.open_pidfd(pid)


async def _status(process: Process, pidfd: int) -> int | None:
    """The wait status: of a zombie from /proc, of a reaped process from its pidfd.

    The pidfd is readable from the end of the process on, and hung up once it was reaped. To be woken by the second only, it
    is put, with no events asked for, into an epoll: hang-ups are always reported, and an epoll is readable when it has any.
    """
    if sys.platform == "darwin":
        return None
    if (status := kernel.zombie_status(process)) is not None:
        return status
    if (status := kernel.exit_status(pidfd)) is not None or not kernel.may_tell(pidfd):
        return status
    with select.epoll() as hung_up, trio.move_on_after(REAP_GRACE):
        hung_up.register(pidfd, 0)
        await trio.lowlevel.wait_readable(hung_up.fileno())
    return kernel.exit_status(pidfd)


async def _written_by_run(process: Process, recorded: Callable[[str], bool]) -> str | None:
    started, ended = delivery_id(process, "started"), delivery_id(process, "exited")
    if started is None or ended is None or not recorded(started):
        return None
    with trio.move_on_after(RUN_GRACE):
        for pause in (0.0, 0.001, 0.004, 0.02, 0.1, *[0.2] * 5):
            await trio.sleep(pause)
            if recorded(ended):
                return ended
    return None
