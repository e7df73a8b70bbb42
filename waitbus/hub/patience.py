"""Waiting for a log that cannot be read just now: longer each time, said once."""

from __future__ import annotations

import logging

import attrs
import trio

from waitbus.errors import LogBusy, LogError, PathError, WaitbusError

log = logging.getLogger("waitbus.hub")

UNREADABLE = (LogError, PathError)
"""What reading the log may raise: also where its folder was replaced by something else."""

BUSY_MAX = 0.05
"""s between attempts while another process holds a lock: those are short."""

BROKEN_MAX = 5.0
"""s between attempts while the log cannot be read at all."""


@attrs.define
class Patience:
    """One episode of failures; `pause` is the next wait in s."""

    pause: float = 0.001
    said: bool = False

    async def wait(self, error: WaitbusError) -> None:
        """Sleep before the next attempt. Whatever position the caller has stays as it is, so nothing is lost."""
        busy = isinstance(error, LogBusy)
        if not busy and not self.said:
            log.warning("%s; trying again", error.message)
            self.said = True
        await trio.sleep(self.pause)
        self.pause = min(self.pause * 2, BUSY_MAX if busy else BROKEN_MAX)

    def over(self) -> None:
        """It works again."""
        if self.said:
            log.info("the log can be read again")
        self.pause, self.said = 0.001, False
