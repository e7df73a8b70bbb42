"""Where a subscription begins, and the frames that say so: the ack, and behind it the gap or the end of the replay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from waitbus import __version__, wire
from waitbus.errors import InvalidCursor
from waitbus.events import log_id, make_event_id, parse_event_id

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.store import Facts, Log
    from waitbus.wire import Subscribe


class Begin(NamedTuple):
    """The floor of a new subscriber, and the gap that is told first: (reason, from, to), or None."""

    floor: int
    gap: tuple[str, int, int] | None = None


def begin(log: Log, asked: Subscribe, facts: Facts) -> Begin:
    """Where `asked` begins in a log of which `facts` were read in the same tick.

    Without `since` that is the log's last row, not what was fanned out so far: what was committed before the ack is never
    delivered, what is committed after it always is.
    """
    found = _place(log, asked, facts)
    missing = log.hole(found.floor, facts) if found.gap is None else None
    return found if missing is None else Begin(found.floor, ("pruned", *missing))


def _place(log: Log, asked: Subscribe, facts: Facts) -> Begin:
    if asked.at_ns is not None:
        return Begin(log.seq_before(asked.at_ns // 1_000_000, told=asked.told))
    if asked.position is not None:
        position = asked.position
        if position.log_id != log_id(facts.tag):
            return Begin(0, ("other_log", 0, facts.last))
        if position.seq > facts.last:
            return Begin(facts.last, ("unknown", facts.last + 1, position.seq))
        return Begin(position.seq)
    if asked.since is not None:
        return _of_event(log, asked.since, facts)
    return Begin(facts.last)


def _of_event(log: Log, event_id: str, facts: Facts) -> Begin:
    """A client of 0.2 expects that an id which the log does not know replays from its beginning."""
    alias = log.alias(event_id)
    if alias is not None:
        return Begin(alias)
    try:
        place = parse_event_id(event_id)
    except InvalidCursor:
        return Begin(0, ("unknown", 0, facts.last))
    if place.tag != facts.tag:
        return Begin(0, ("other_log", 0, facts.last))
    row = log.row(place.seq)
    known = row.at_ms == place.at_ms if row is not None else place.seq <= facts.pruned_to
    return Begin(place.seq) if known else Begin(0, ("unknown", 0, facts.last))


def ack(asked: Subscribe, facts: Facts, floor: int, heartbeat: float, path: Path, identity: tuple[int, int]) -> bytes:
    """The first frame. `identity` is the (device, inode) of the log at `path`, by which a client knows its own."""
    resumed = asked.since is not None or asked.at_ns is not None or asked.position is not None
    caught_up_at = make_event_id(facts.last_at_ms, facts.tag, facts.last) if resumed and facts.last else None
    if not asked.extended:
        return wire.ack(caught_up_at=caught_up_at, heartbeat_sec=heartbeat)
    extra = {
        "ext": list(wire.EXTENSIONS),
        "log_id": log_id(facts.tag),
        "seq": floor,
        "heartbeat": heartbeat,
        "pid": os.getpid(),
        "version": __version__,
        "log": {"path": os.fspath(path), "dev": identity[0], "ino": identity[1]},
    }
    return wire.ack(caught_up_at=caught_up_at, heartbeat_sec=heartbeat, extra=extra)
