"""`python -m bench.soak --seconds 60` (`nox -s soak`): real processes, a daemon that is killed, stopped and restarted, a ledger.

4 producers write events and batches; 20 consumers read all of them, 15 by the daemon's socket and 5 by the log alone, through
the synchronous face, trio, asyncio, and by a bookmark that is left and taken up again. Meanwhile the daemon gets a SIGKILL, a
SIGSTOP that is longer than its clients' patience, a SIGCONT, and a SIGTERM; after each end it is started again.

At the end the log is read, and everything must agree: each line of a producer's ledger is a row, and each consumer had exactly
the rows behind the beginning, once, in the order of seq. One row too few, too many or out of order is a failure (exit 1). What
is said about time fails nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from bench import machine
from bench.sides import Broken, Home, Worker, sides

RESULTS = Path(__file__).parent / "results"
PRODUCERS = 4
CONSUMERS = (
    *[("sync", "socket")] * 5,
    *[("trio", "socket")] * 5,
    *[("asyncio", "socket")] * 3,
    *[("bookmark", "socket")] * 2,
    *[("sync", "log")] * 2,
    *[("trio", "log")] * 2,
    ("bookmark", "log"),
)
HEARTBEAT = 1.0
STOPPED = 4.0
"""s of SIGSTOP: more than 2.5 heartbeats, so that every client gives the daemon up."""
SETTLE = 90.0
"""s that a consumer may need for the rest, once the producers have ended."""


@attrs.frozen
class Consumer:
    worker: Worker
    face: str
    transport: str
    ledger: Path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description="Producers, consumers, faults, and a ledger."
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=30.0, help="calls a second, for each producer")
    parser.add_argument("--dir", type=Path, default=None, help="where the log is made")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="ws", dir=options.dir))
    side = sides(root, None)[0]
    try:
        report = machine.describe(root, [side]) | {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
        with side.home() as home:
            report |= run(home, options.seconds, options.rate)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(json.dumps(report, indent=1))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "soak.md").write_text(markdown(report))
    return 1 if report["failures"] else 0


def run(home: Home, seconds: float, rate: float) -> dict[str, Any]:
    """One soak: what was done, what came of it, and what is wrong with it."""
    home.extra["WAITBUS_HEARTBEAT_SEC"] = str(HEARTBEAT)
    daemon = home.daemon()
    begin = home.worker("producer")
    since = begin.ask(do="hello", name="begin")["event_id"]
    producers = [
        home.worker("soak_producer", f"p{n}", os.fspath(home.place / f"p{n}"), str(rate)) for n in range(PRODUCERS)
    ]
    consumers = [_consumer(home, n, face, transport, since) for n, (face, transport) in enumerate(CONSUMERS)]
    for producer in producers:
        producer.tell(go=True)
    faults = _faults(home, daemon, seconds)
    written = [producer.ask(stop=True) for producer in producers]
    begin.ask(do="hello", name="end")
    failures, notes = _ends(consumers)
    rows = _log(home.place / "state" / "events.db")
    failures += _wrong_in_ledgers(home, rows) + _wrong_in_consumers(consumers, rows)
    return {
        "seconds": seconds,
        "producers": [
            {"calls": one["calls"], "events": one["written"], "slowest_ms": one["slowest_ms"]} for one in written
        ],
        "consumers": len(consumers),
        "faults": faults,
        "events": len(rows),
        "deliveries": sum(len(_read(consumer.ledger)) for consumer in consumers),
        "changes_of_transport": dict(notes),
        "failures": failures,
    }


def _consumer(home: Home, number: int, face: str, transport: str, since: str) -> Consumer:
    ledger = home.place / f"c{number}"
    return Consumer(home.worker("soak_consumer", face, transport, since, os.fspath(ledger)), face, transport, ledger)


def _faults(home: Home, daemon: int, seconds: float) -> list[str]:
    """Break the daemon at a fifth, two fifths and three fifths of the time; says what was done."""
    start = time.monotonic()
    done = []

    def at(share: float, what: str) -> None:
        time.sleep(max(0.0, start + share * seconds - time.monotonic()))
        done.append(f"{time.monotonic() - start:.1f} s: {what}")

    at(0.2, "SIGKILL")
    home.stop(daemon, signal.SIGKILL)
    at(0.25, "started again")
    daemon = home.daemon()
    at(0.4, f"SIGSTOP for {STOPPED:g} s")
    os.kill(daemon, signal.SIGSTOP)
    time.sleep(STOPPED)
    os.kill(daemon, signal.SIGCONT)
    at(0.7, "SIGTERM")
    home.stop(daemon)
    at(0.75, "started again")
    home.daemon()
    at(1.0, "the producers end")
    return done


def _ends(consumers: Sequence[Consumer]) -> tuple[list[str], Counter[str]]:
    failures, notes = [], Counter[str]()
    deadline = time.monotonic() + SETTLE
    for number, consumer in enumerate(consumers):
        try:
            notes.update(consumer.worker.hear(max(0.1, deadline - time.monotonic()))["told"])
        except Broken as error:
            failures.append(
                f"consumer {number} ({consumer.face}, {consumer.transport}) did not come to the end: {error}"
            )
    return failures, notes


def _log(path: Path) -> list[tuple[str, int]]:
    """(delivery id, seq) of every row behind the beginning, and that the file is whole."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute("SELECT delivery_id, seq FROM events ORDER BY seq").fetchall()
    return rows[rows.index(next(row for row in rows if row[0] == "begin")) + 1 :]


def _wrong_in_ledgers(home: Home, rows: list[tuple[str, int]]) -> list[str]:
    known = dict(rows)
    failures = []
    for number in range(PRODUCERS):
        lines = _read(home.place / f"p{number}")
        lost = [name for name, seq in lines if name not in known or (seq and known[name] != seq)]
        failures += (
            [f"producer {number}: {len(lost)} of {len(lines)} are not in the log as told, first {lost[0]}"]
            if lost
            else []
        )
    if len(known) != len(rows):
        failures.append("the log has a delivery id twice")
    return failures


def _wrong_in_consumers(consumers: Sequence[Consumer], rows: list[tuple[str, int]]) -> list[str]:
    failures = []
    for number, consumer in enumerate(consumers):
        got = _read(consumer.ledger)
        if got == rows:
            continue
        if got == rows[: len(got)]:
            failures.append(
                f"consumer {number} ({consumer.face}, {consumer.transport}): stopped after {len(got)} of {len(rows)}"
            )
            continue
        counted = Counter(name for name, _ in got)
        lost = [name for name, _ in rows if not counted[name]]
        doubled = [name for name, times in counted.items() if times > 1]
        what = f"{len(lost)} lost {lost[:3]}, {len(doubled)} doubled {doubled[:3]}"
        failures.append(
            f"consumer {number} ({consumer.face}, {consumer.transport}): {what if lost or doubled else 'out of order'}"
        )
    return failures


def _read(ledger: Path) -> list[tuple[str, int]]:
    if not ledger.exists():
        return []
    return [(name, int(seq)) for name, seq in map(str.split, ledger.read_text().splitlines())]


def markdown(report: dict[str, Any]) -> str:
    slowest = max(one["slowest_ms"] for one in report["producers"])
    changes = ", ".join(f"{kind} {times}" for kind, times in sorted(report["changes_of_transport"].items()))
    lines = [
        f"# Soak of {report['seconds']:g} s, {report['date']}",
        "",
        f"{report['cpus']} x {report['cpu']}, {report['kernel']}, {report['file_system']}; load average before"
        f" {report['load_before'][0]}.",
        "",
        f"- {len(report['producers'])} producers wrote {report['events']:,} events; the slowest call took {slowest:.1f} ms",
        f"- {report['consumers']} consumers received {report['deliveries']:,}",
        f"- the daemon: {'; '.join(report['faults'])}",
        f"- changes of transport: {changes}",
        f"- lost, doubled or out of order: {'; '.join(report['failures']) or 'none'}",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
