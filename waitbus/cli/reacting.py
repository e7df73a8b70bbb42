"""The children of `on`: one for each match, started, awaited, and stopped when its time is over."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING

import attrs
import trio

from waitbus import render
from waitbus.cli import output
from waitbus.cli.handover import environment, event_file
from waitbus.paths import here
from waitbus.quantities import say_duration
from waitbus.sources import child as children
from waitbus.sources.process import ending, shown_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.events import EventFrame

LAST_GRACE = 5.0
"""s for the kernel to end what was killed."""
GROUP_LOOK = 0.05
"""s between two looks at a process group whose leader is gone."""


@attrs.define
class Child:
    """A child while it runs: cancel `scope` to stop it; `ended` is set when it is gone, with `code` as a shell has it."""

    scope: trio.CancelScope
    ended: trio.Event = attrs.field(factory=trio.Event)
    code: int = 0


@attrs.frozen
class Command:
    """What to run for each event. `stop_timeout` is in s; `own_group`: as a process group, stopped as a whole.

    `interrupted` answers, when a child is to be stopped, whether the terminal has told it already (Ctrl-C).
    """

    words: tuple[str, ...]
    stop_timeout: float
    own_group: bool = False
    interrupted: Callable[[], bool] = lambda: False

    async def run(
        self,
        frame: EventFrame | None,
        verdict: str,
        *,
        said: str = "",
        task_status: trio.TaskStatus[Child] = trio.TASK_STATUS_IGNORED,
    ) -> int:
        """Run it for an event, or for a state of things that `said` tells, to its end; gives its exit code.

        Cancelled, it is stopped first, in bounded time.

        Raises:
          CommandNotFound, CommandNotExecutable: it cannot be executed.
        """
        with event_file(frame) if frame else nullcontext() as file, trio.CancelScope() as scope:
            child = Child(scope)
            output.talk(f"→ {_about(frame) if frame else said}: {shown_command(self.words)}")
            begun = trio.current_time()
            process = await self._start(environment(frame, verdict, file, children.environment()))
            task_status.started(child)
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    await self._stop(process)
                child.code = _code(process)
                output.talk(f"← {_how(process)} after {say_duration(trio.current_time() - begun)}")
                child.ended.set()
        return child.code

    async def _start(self, environ: dict[str, str]) -> trio.Process:
        group = 0 if self.own_group else None
        words = list(self.words)
        try:
            try:
                return await trio.lowlevel.open_process(words, env=environ, process_group=group)
            except OSError as error:
                if error.errno != errno.ENOEXEC or (script := children.found(words[0])) is None:
                    raise
                # A script without `#!`: POSIX gives it to the shell.
                words[:1] = [children.SHELL, script]
                return await trio.lowlevel.open_process(words, env=environ, process_group=group)
        except OSError as error:
            raise children.refusal(self.words[0], error) from None

    async def _stop(self, process: trio.Process) -> None:
        """SIGTERM; after `stop_timeout` SIGKILL. Behind a Ctrl-C there are `stop_timeout` s before that, to end by itself."""
        with trio.move_on_after(2 * self.stop_timeout + LAST_GRACE) as shield:
            shield.shield = True
            if not self.own_group and self.interrupted() and await self._ends(process):
                return
            self._signal(process, signal.SIGTERM)
            if not await self._ends(process):
                self._signal(process, signal.SIGKILL)
                await process.wait()

    async def _ends(self, process: trio.Process) -> bool:
        """Whether it ends in time."""
        with trio.move_on_after(self.stop_timeout):
            await process.wait()
            await self._rest(process)
            return True
        return False

    async def _rest(self, process: trio.Process) -> None:
        while self.own_group and _exists(process.pid):  # noqa: ASYNC110 - the kernel has no event for it
            await trio.sleep(GROUP_LOOK)

    def _signal(self, process: trio.Process, number: signal.Signals) -> None:
        try:
            if self.own_group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        except (ProcessLookupError, PermissionError):
            pass


def terminal_is_ours() -> bool:
    """Whether we are in the foreground of a terminal, so that a Ctrl-C there is for our children as well."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _about(frame: EventFrame) -> str:
    said = render.parts(frame, base=here())
    return " ".join(" ".join((said.event_type, said.about, said.verdict)).split())


def _status(process: trio.Process) -> int:
    """The wait status that Python made a return code of."""
    code = process.returncode
    assert code is not None
    return -code if code < 0 else code << 8


def _code(process: trio.Process) -> int:
    return 0 if process.returncode is None else ending(_status(process))[0]


def _how(process: trio.Process) -> str:
    if process.returncode is None:
        return f"not ended, although killed: pid {process.pid}"
    code, name = ending(_status(process))
    return name or f"exit {code}"
