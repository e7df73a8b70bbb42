"""`waitbus status`: the daemon, the log, the bus, the sources and who waits, in a few lines or as one JSON object."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from waitbus.cli import output
from waitbus.cli.command import command
from waitbus.cli.options import json_option
from waitbus.errors import EXIT_LOG
from waitbus.ops.log_facts import RATE_WINDOW
from waitbus.ops.status import Bus, Daemon, LogState, SourceState, Status, Waiting, gather
from waitbus.quantities import say_count, say_duration, say_size, say_time
from waitbus.render import clip, neutral

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from waitbus.config import Config
    from waitbus.ops.log_facts import LogFacts

WIDTH = 120
"""Characters of a row that holds several sources."""
SHOWN = 20
"""Waiters that are shown; `--json` has them all."""


@command("status", examples=[("waitbus status", 0), ("waitbus status --json", 0)])
@json_option
def status(as_json: bool) -> int:
    """Show the daemon, the log, its sources and who waits for what.

    Nothing is started, made or changed, and without a daemon the exit code is 0 too: `wait` and `emit` work without one.
    It answers within about a second even where the daemon does not. Exit code 74 says that the log cannot be read.
    """
    found = gather()
    if found.config_error:
        output.warn(f"{found.config_error} (`waitbus config validate` says more)")
    if as_json:
        output.record(as_dict(found))
    else:
        for line in lines(found):
            output.data(line, flush=False)
    return EXIT_LOG if found.log.error else 0


def tidy(path: Path | str) -> str:
    """A path as people write it: `~` for the home directory, nothing hidden in it."""
    text, home = os.fspath(path), os.path.expanduser("~")
    return neutral("~" + text[len(home) :] if home != "/" and text.startswith(home + "/") else text)


# -- for people --------------------------------------------------------------------------------------------------------


def lines(found: Status) -> Iterator[str]:
    """The page, one subject a row."""
    yield _row("daemon", _daemon(found.daemon))
    yield _row("log", _log(found.log, found.at, found.config))
    for holder in found.log.holders:
        yield _row("", f"the WAL is kept from shrinking by pid {holder.pid}  {neutral(holder.command)}".rstrip())
    for damaged in found.log.damaged:
        yield _row("damaged", f"{tidy(damaged.path)}, {say_size(damaged.bytes)}, set aside")
    yield _row("bus", _bus(found.bus, found.daemon))
    for at, several in enumerate(_side_by_side(source_in_words(one, found.at) for one in found.sources)):
        yield _row("" if at else "sources", several)
    for at, one in enumerate(found.waiting[:SHOWN]):
        yield _row("" if at else "waiting", _waiter(one, found.at))
    more = found.bus.subscribers - min(len(found.waiting), SHOWN)
    if more > 0:
        yield _row("", f"and {more:,} more")


def _row(label: str, text: str) -> str:
    return f"{label:<10}{text}"


def _daemon(daemon: Daemon) -> str:
    who = _who(daemon)
    lasts = "" if daemon.uptime_s is None else f" {say_duration(daemon.uptime_s)}"
    match daemon.state:
        case "running":
            return f"running{lasts}, {who}"
        case "absent":
            return "not running (start one with `waitbus serve`)"
        case "hung":
            return f"does not answer, {who}; waits read the log themselves"
        case "foreign":
            return f"another program answers on {tidy(daemon.socket)}, {who}; waits read the log themselves"
        case "other_log":
            return f"running{lasts}, {who}, but for another log: {tidy(daemon.log or 'unknown')}"
        case "elsewhere":
            return f"running{lasts}, {who}, but not on {tidy(daemon.socket)} (another WAITBUS_RUNTIME_DIR?)"


def _who(daemon: Daemon) -> str:
    pid = f"pid {daemon.pid}" if daemon.pid else "pid unknown"
    if daemon.lock is not None and daemon.pid is None:
        pid = f"pid unknown ({tidy(daemon.lock)} cannot be read)"
    version = daemon.version and f"waitbus {daemon.version}"
    return ", ".join(neutral(part) for part in (pid, daemon.how, version) if part)


def _log(log: LogState, at: float, config: Config) -> str:
    if log.error:
        return neutral(log.error)
    if log.facts is None:
        return f"{tidy(log.path)}, not there yet (the first event makes it)"
    return ", ".join([tidy(log.path), *_contents(log.facts, at), _kept(config)])


def _contents(facts: LogFacts, at: float) -> Iterator[str]:
    yield say_count(facts.rows, "event")
    yield say_size(facts.bytes + facts.wal_bytes)
    if facts.rows:
        yield f"oldest {_ago(at - facts.first_at_ms / 1000)}"
    if facts.recent:
        yield f"{_rate(facts):g} events/min"


def _rate(facts: LogFacts) -> float:
    return round(facts.recent * 60 / RATE_WINDOW, 1)


def _kept(config: Config) -> str:
    keep = config.retention
    caps = [say_duration(keep.max_age)] if keep.max_age else []
    caps += [say_size(keep.max_size)] if keep.max_size else []
    return f"{' or '.join(caps)} kept" if caps else "all kept"


def _bus(bus: Bus, daemon: Daemon) -> str:
    if daemon.state in ("running", "other_log"):
        lagging = f"{bus.lagging:,} lagging" if bus.lagging else "none lagging"
        return f"{say_count(bus.subscribers, 'subscriber')}, {lagging}"
    if bus.by_log:
        return f"{bus.by_log:,} waiting by the log itself"
    return "nobody waits" if daemon.state == "absent" else "unknown"


def _side_by_side(parts: Iterable[str]) -> Iterator[str]:
    row = ""
    for part in parts:
        if row and len(row) + 3 + len(part) > WIDTH:
            yield row
            row = ""
        row = f"{row}   {part}" if row else part
    if row:
        yield row


def source_in_words(one: SourceState, at: float) -> str:
    """`github ok (webhook, 40 s ago)`, `docker down 3 min: the socket refuses (retry in 20 s)`; `at` is now, in s."""
    if one.state == "starting":
        return f"{neutral(one.name)} starting"
    if one.state == "down":
        lasts = say_duration(max(0.0, at - one.since / 1e9), parts=1)
        again = ""
        if one.retry_at is not None:
            again = f" (retry in {say_duration(max(0.0, one.retry_at / 1e9 - at), parts=1)})"
        reason = f": {clip(one.reason, WIDTH)}" if one.reason else ""
        return f"{neutral(one.name)} down {lasts}{reason}{again}"
    what = clip(one.reason) or _scope(one.scope)
    heard = "nothing yet" if one.heard is None else _ago(at - one.heard / 1e9)
    return f"{neutral(one.name)} ok ({', '.join(filter(None, (what, heard)))})"


def _scope(scope: tuple[str, ...]) -> str:
    more = f" and {len(scope) - 1} more" if len(scope) > 1 else ""
    return f"{clip(tidy(scope[0]))}{more}" if scope else ""


def _waiter(one: Waiting, at: float) -> str:
    parts = [
        f"pid {one.pid}" if one.pid else "pid unknown",
        neutral(one.command),
        neutral(_wanted(one.predicate)),
        f"seq {one.seq}" + (f", {say_count(one.lag, 'event')} behind" if one.lag else ""),
        f"for {say_duration(max(0.0, at - one.since / 1e9), parts=1)}",
    ]
    return "  ".join(part for part in parts if part)


_OPTION = re.compile(r'(?:, )?@(source|repo|to)="([^"]*)"')
_COMMIT = re.compile(r'"([0-9a-f]{7})[0-9a-f]{33}"')
_WORDS = {"source": "on", "repo": "in", "to": "to"}


def _wanted(predicate: str) -> str:
    """The terms as a wait says them: `--source` and its like stand in the daemon's report as terms of their own."""
    alternatives = []
    for terms in predicate.split(" | "):
        options = [f"{_WORDS[name]} {value}" for name, value in _OPTION.findall(terms)]
        plain = _COMMIT.sub(r'"\1…"', _OPTION.sub("", terms).removeprefix(", "))
        alternatives.append(" ".join([*([plain] if plain not in ("", "*") else ["everything"]), *options]))
    return " or ".join(alternatives)


def _ago(seconds: float) -> str:
    return f"{say_duration(seconds, parts=1)} ago" if seconds >= 1 else "now"


# -- for programs ------------------------------------------------------------------------------------------------------


def as_dict(found: Status) -> dict[str, Any]:
    """The object of `--json` (docs/schemas/status.json)."""
    daemon = found.daemon
    return {
        "daemon": {
            "state": daemon.state,
            "pid": daemon.pid,
            "uptime_s": daemon.uptime_s,
            "version": daemon.version,
            "how": daemon.how,
            "socket": os.fspath(daemon.socket),
        },
        "log": _log_dict(found.log, found.config),
        "bus": {"subscribers": found.bus.subscribers, "lagging": found.bus.lagging, "by_log": found.bus.by_log},
        "waiting": [
            {
                "pid": one.pid,
                "command": one.command,
                "predicate": one.predicate,
                "seq": one.seq,
                "lag": one.lag,
                "since": say_time(one.since),
            }
            for one in found.waiting
        ],
        "sources": [source_dict(one) for one in found.sources],
        "config_error": found.config_error or None,
    }


def source_dict(one: SourceState) -> dict[str, Any]:
    """A source of `status --json`."""
    return {
        "name": one.name,
        "state": one.state,
        "reason": one.reason or None,
        "since": say_time(one.since),
        "retry_at": None if one.retry_at is None else say_time(one.retry_at),
        "events": one.events,
        "heard": None if one.heard is None else say_time(one.heard),
        "scope": list(one.scope),
    }


def _log_dict(log: LogState, config: Config) -> dict[str, Any]:
    facts, keep = log.facts, config.retention
    return {
        "path": os.fspath(log.path),
        "error": log.error or None,
        "log_id": facts and facts.log_id,
        "rows": facts.rows if facts else 0,
        "last_seq": facts.last_seq if facts else 0,
        "oldest_at": say_time(facts.first_at_ms * 1_000_000) if facts and facts.rows else None,
        "events_per_min": _rate(facts) if facts else 0,
        "bytes": facts.bytes if facts else 0,
        "wal_bytes": facts.wal_bytes if facts else 0,
        "wal_holders": [{"pid": holder.pid, "command": holder.command} for holder in log.holders],
        "retention": {"max_age_s": keep.max_age, "max_bytes": keep.max_size, "payload_days": keep.payload_days},
        "damaged": [{"path": os.fspath(one.path), "bytes": one.bytes} for one in log.damaged],
    }
