"""An event that nobody waits for: what it costs the daemon with 10,000 waiters, and with 10.

Each waiter asks for one `head_sha` of its own. CPU is the daemon's own, over all its threads, while events come at 200 Hz, so
that each is swept alone; it is divided by the events. 0.2 has no predicates in its daemon: it writes every event to everybody,
and stands here with 10 and 1,000 waiters, since 10,000 would take it seconds for each event.
"""

from __future__ import annotations

import json
import os

from bench.figures import Budget, Sample, Wanted
from bench.proc import account
from bench.rows import Row, Scale
from bench.sides import Broken, Side

RATE = 200.0
FEW = 10
OLD_MANY = 1000


def measure(side: Side, scale: Scale) -> Sample:
    if side.old:
        few, many = (
            _cpu(side, FEW, 200.0, scale.unwanted),
            _cpu(side, min(OLD_MANY, scale.waiters), 5.0, scale.unwanted // 20),
        )
    else:
        few, many = _cpu(side, FEW, RATE, scale.unwanted), _cpu(side, scale.waiters, RATE, scale.unwanted)
    return {"few": few, "many": many, "growth": many / few}


def _cpu(side: Side, waiters: int, rate: float, count: int) -> float:
    """µs of the daemon's CPU for one event."""
    frame = (
        {"proto": 1} if side.old else {"proto": 1, "ext": {"lean": True, "match": [["source=github", "head_sha=w%d"]]}}
    )
    with side.home() as home:
        pid = home.daemon()
        producer = home.worker("producer")
        sinks = home.worker("sinks", os.fspath(home.socket), json.dumps(frame), str(waiters))
        out = os.fspath(home.place / "out")
        producer.ask(do="paced", tag="w", rate=rate, count=20, out=out)
        sinks.ask(events=20 if side.old else 1, patience=0.5, first="w")
        if side.old:
            sinks.tell(events=count, patience=5, first="u")
        before = account(pid).cpu
        producer.ask(do="paced", tag="u", rate=rate, count=count, out=out)
        if not side.old:
            spent = account(pid).cpu - before
            if sinks.ask(events=1, patience=0.2, first="u")["delivered"]:
                raise Broken("an event went to somebody who does not wait for it")
            return spent / count * 1e6
        sinks.hear()
        return (account(pid).cpu - before) / count * 1e6


UNWANTED = Row(
    "unwanted",
    "an event nobody waits for",
    measure,
    (
        Wanted("few", "daemon CPU for an event nobody waits for, 10 waiters", "µs"),
        Wanted("many", "the same, 10,000 waiters (0.2: 1,000)", "µs"),
        Wanted("growth", "the second through the first", "x", Budget(most=2, absolute=True)),
    ),
)
