"""What a session says when it is asked to step, besides events: wait for this, something cannot be given, something changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from waitbus.client.shared_bell import SharedBell


@attrs.frozen
class Wait:
    """Nothing now. Step again when `fd` is readable (or `bell` rang), at `deadline` (s, `time.monotonic`) at the latest.

    A deadline of 0 asks for no more than to let others run.
    """

    deadline: float
    fd: int | None = None
    bell: SharedBell | None = None


@attrs.frozen
class Gap:
    """Events that cannot be given: `pruned`, `other_log` or `unknown`; `first`..`last` are seqs. `initial`: of the place that the
    caller named, not of a resumed position."""

    reason: str
    first: int
    last: int
    log_id: str
    initial: bool


@attrs.frozen
class Note:
    """A change of transport, a doubt, or how a source of the wait is, that a person may want to know.

    `no_daemon`, `lost` (it went away), `hung` (it does not answer), `foreign` (another program's), `stranger` (another
    user's), `other_log` (it serves another one), `garbled` (it broke the protocol), `stranded` (there is none, and the log
    cannot be read), `back`; `past` (what happened before cannot be looked at); `doubt` (a predicate could not compare, or not
    look into, what it met). Of the sources of a wait: `embedded` (one runs here), `down` (it hears nothing for now), `up`
    (again), `odd` (what it asks answers in a way that waiting may not cure), `process` (what is known of one).
    """

    kind: str
    text: str
