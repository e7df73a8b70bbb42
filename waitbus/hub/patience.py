"""Waiting for a log that cannot be read just now: longer each time, said once however many wait."""

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
class Episode:
    """A time in which the log cannot be read, from the first who meets it to the next sweep that succeeds."""

    said: bool = False

    def tell(self, error: WaitbusError) -> None:
        if not self.said:
            log.warning("%s; trying again", error.message)
            self.said = True

    def over(self) -> None:
        """It works again."""
        if self.said:
            log.info("the log can be read again")
        self.said = False


@attrs.define
class Patience:
    """The waits of one who needs the log; `pause` is the next one in s."""

    episode: Episode
    pause: float = 0.001

    async def wait(self, error: WaitbusError) -> None:
        """Sleep before the next attempt. Whatever position the caller has stays as it is, so nothing is lost."""
        busy = isinstance(error, LogBusy)
        if not busy:
            self.episode.tell(error)
        await trio.sleep(self.pause)
        self.pause = min(self.pause * 2, BUSY_MAX if busy else BROKEN_MAX)

    def over(self) -> None:
        """It works again."""
        self.episode.over()
        self.pause = 0.001
