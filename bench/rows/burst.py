"""10,000 events to 100 subscribers.

The subscribers are raw sockets that ask for plain protocol 1, the same bytes from both programs, read by one process: so the
figure is the daemon's, and not that of a hundred clients sharing the machine with it. Afterwards each socket must have had
every event once and in order. The clock runs from the call of `emit_batch` to the last byte at the last subscriber.

0.2 loses what exceeds 500 rows a ring, so it cannot do the burst; `burst` says what it delivered. For the ratio it gets the same
events as it can take them, 400 at a time, each after the one before was delivered; ours stands beside that with the whole
burst, and once more with the same 400 at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from bench.figures import Budget, Sample, Wanted
from bench.rows import Row, Scale
from bench.sides import Home, Side, Worker

PLAIN = '{"proto":1}'
LEAN = '{"proto":1,"ext":{"lean":true}}'
PIECE = 400
PATIENCE = 3.0
"""s without a byte after which nothing more will come."""


def measure(side: Side, scale: Scale) -> Sample:
    sample = {**_burst(side, scale, PLAIN, "burst"), **_pieces(side, scale)}
    if not side.old:
        sample |= _burst(side, scale, LEAN, "lean")
    return sample


def _ready(home: Home, scale: Scale, frame: str) -> tuple[Worker, Worker]:
    home.daemon()
    producer = home.worker("producer")
    sinks = home.worker("sinks", os.fspath(home.socket), frame, str(scale.subscribers))
    producer.ask(do="batch", tag="warm", count=10)
    sinks.ask(events=10, patience=PATIENCE, first="warm")
    return producer, sinks


def _burst(side: Side, scale: Scale, frame: str, key: str) -> Sample:
    with side.home() as home:
        producer, sinks = _ready(home, scale, frame)
        sinks.tell(events=scale.burst, patience=PATIENCE, first="b")
        sent = producer.ask(do="batch", tag="b", count=scale.burst)
        got = sinks.hear()
        wanted = scale.subscribers * scale.burst
        sample = {
            f"{key}_delivered": got["delivered"] / wanted * 100,
            f"{key}_incomplete": scale.subscribers - got["complete"],
        }
        if not got["missing"]:
            sample[f"{key}_rate"] = got["delivered"] / (got["last"] - sent["start"]) * 1e9
        return sample


def _pieces(side: Side, scale: Scale) -> Sample:
    with side.home() as home:
        producer, sinks = _ready(home, scale, PLAIN)
        spent = delivered = 0
        for number in range(scale.burst // PIECE):
            sinks.tell(events=PIECE, patience=PATIENCE, first=f"p{number}x")
            sent = producer.ask(do="batch", tag=f"p{number}x", count=PIECE)
            got = sinks.hear()
            spent += got["last"] - sent["start"]
            delivered += got["delivered"]
            if got["missing"]:
                break
        wanted = scale.subscribers * (scale.burst // PIECE) * PIECE
        return {"pieces_rate": delivered / spent * 1e9, "pieces_missing": wanted - delivered}


def notes(rounds: Sequence[Mapping[str, Sample]]) -> list[str]:
    told = []
    for one in rounds[:1]:
        theirs = one.get("0.2.0", {})
        if theirs.get("burst_incomplete"):
            told.append(
                f"0.2 did not finish the burst: it delivered {theirs['burst_delivered']:.1f} % and then nothing for"
                f" {PATIENCE:g} s; the ratio stands beside its rate with {PIECE} events at a time."
            )
        if theirs.get("pieces_missing"):
            told.append(f"0.2 lost {theirs['pieces_missing']:.0f} deliveries with {PIECE} at a time, too.")
    return told


BURST = Row(
    "burst",
    "100 subscribers x 10,000 events",
    measure,
    (
        Wanted("burst_delivered", "burst in one transaction: delivered", "%", Budget(least=100, absolute=True)),
        Wanted("burst_rate", "burst in one transaction", "deliveries/s", Budget(least=5), beside="pieces_rate"),
        Wanted("pieces_rate", "400 at a time, each after the one before", "deliveries/s"),
        Wanted("lean_rate", "the burst, to subscribers that ask as our SDK does", "deliveries/s", beside="pieces_rate"),
    ),
    losses=("burst_incomplete", "lean_incomplete", "pieces_missing"),
    notes=notes,
)
