"""The daemon's heart: when it beats next, and whether it beats so late that its clients have gone."""

from __future__ import annotations

import attrs
import trio

LATE = 2.0
"""Intervals between two beats, where there should be one. Clients leave after two and a half."""


@attrs.define
class Pulse:
    """Beats from now on. Between two beats lies whatever is done there, too: it may be stopped anywhere.

    By the clock of the event loop, as the clients' patience is by theirs. Where a suspended machine stops both, nobody has left.
    """

    _last: float = attrs.field(factory=trio.current_time)

    async def next(self, interval: float) -> bool:
        """Sleep `interval` s, to the next beat; True where that is late: after SIGSTOP, in a container that was frozen.

        A jump of the clock is told once, however long it was.
        """
        await trio.sleep(interval)
        last, self._last = self._last, trio.current_time()
        return self._last - last > LATE * interval
