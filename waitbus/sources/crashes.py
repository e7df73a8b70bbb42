"""How often something may crash before it is left alone."""

from __future__ import annotations

from collections import deque

import attrs

CRASHES = 5
WITHIN = 600.0
"""s."""


@attrs.define
class Crashes:
    """Counts crashes: the fifth one within 10 minutes is one too many."""

    _times: deque[float] = attrs.field(factory=lambda: deque(maxlen=CRASHES), init=False)

    def one_more(self, now: float) -> bool:
        """Count one at `now` (s of a monotonic clock); whether it was one too many."""
        self._times.append(now)
        return len(self._times) == CRASHES and now - self._times[0] <= WITHIN
