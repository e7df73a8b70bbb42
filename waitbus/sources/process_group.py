"""A process that leads a group of its own: started, heard, and ended with all that it started, and never outliving us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import attrs
import trio

from waitbus.sources.child import refusal
from waitbus.sources.lifeline import Lifeline

GRACE, KILL = 1.0, 2.0
"""s from SIGTERM to SIGKILL, and to the end of all patience."""


@attrs.define(eq=False)
class ProcessGroup:
    """A running child and its streams. Its exit can be awaited without reaping it: until then its number is nobody else's."""

    process: trio.Process
    lifeline: Lifeline
    stdin: trio.abc.SendStream | None
    stdout: trio.abc.ReceiveStream
    stderr: trio.abc.ReceiveStream

    @classmethod
    async def start(cls, command: tuple[str, ...], environment: Mapping[str, str], *, hears: bool) -> ProcessGroup:
        """Start `command` in a session of its own, in the root folder; `hears`: it has a standard input.

        Raises:
          CommandNotFound, CommandNotExecutable: it cannot be started.
        """
        lifeline = Lifeline.open()
        try:
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.PIPE if hears else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
                pass_fds=(lifeline.held,),
            )
        except BaseException as error:
            lifeline.close()
            if isinstance(error, OSError):
                raise refusal(command[0], error) from None
            raise
        lifeline.tie(process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        return cls(process, lifeline, process.stdin, process.stdout, process.stderr)

    async def exited(self) -> None:
        """Its end, while it is still there to be reaped."""
        if sys.platform != "linux":
            await self.process.wait()
            return
        descriptor = os.pidfd_open(self.process.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)

    async def end(self) -> int | None:
        """End all of the group, by force after 1 s; gives how the first one ended, as `subprocess` does.

        None where even that does not help within 2 s.
        """
        with trio.CancelScope(shield=True, deadline=trio.current_time() + KILL):
            try:
                self._signal(signal.SIGTERM)
                with trio.move_on_after(GRACE):
                    await self.exited()
                self._signal(signal.SIGKILL)
                await self.process.wait()
            finally:
                await self._close()
        return self.process.returncode

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    async def _close(self) -> None:
        self.lifeline.close()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                await trio.aclose_forcefully(stream)
