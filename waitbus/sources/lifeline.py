"""What ends a process group when whoever started it is gone, however it went, and whatever the group is doing.

A pipe to which nobody ever writes: its writing end is ours alone, its reading end is the child's. When the last writer is gone
the kernel signals whoever owns the reading end (O_ASYNC, F_SETOWN, F_SETSIG of fcntl(2)), and that is the group, by SIGKILL. Not
PR_SET_PDEATHSIG: it ends one process and not what that one started, and it takes the end of the thread that forked, in our case
one of trio's workers, for the end of the parent. Nor a thread in the child that reads: a regular expression that never ends
holds the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys

import attrs


@attrs.define(eq=False)
class Lifeline:
    """Both ends. The child inherits `held` and needs to know nothing of it."""

    held: int
    ours: int

    @classmethod
    def open(cls) -> Lifeline:
        return cls(*os.pipe())

    def tie(self, group: int) -> None:
        """From now on the group lives no longer than this process. `held` is closed here: the child has it.

        Elsewhere than on Linux no signal can be chosen, and this does nothing; nor where a sandbox's kernel lacks it.
        """
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.held, fcntl.F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(self.held, fcntl.F_SETOWN, -group)  # the kernel keeps the group itself, not its number
                fcntl.fcntl(self.held, fcntl.F_SETFL, fcntl.fcntl(self.held, fcntl.F_GETFL) | os.O_ASYNC)
        self._close_held()

    def close(self) -> None:
        """Let go: what is left of the group is killed."""
        self._close_held()
        ours, self.ours = self.ours, -1
        if ours >= 0:
            os.close(ours)

    def _close_held(self) -> None:
        held, self.held = self.held, -1
        if held >= 0:
            os.close(held)
