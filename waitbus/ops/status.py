"""Everything `waitbus status` tells, gathered in well under a second whatever state things are in. Prints nothing."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Literal

import attrs

from waitbus import bell, holder, instance
from waitbus.config import Config, load
from waitbus.errors import ConfigError, LogError
from waitbus.ops.log_facts import Damaged, LogFacts, facts, is_there, set_aside
from waitbus.ops.processes import command_name, wal_readers
from waitbus.ops.question import Answer, ask
from waitbus.paths import bells_dir, log_path, runtime_dir, socket_path, state_dir

if TYPE_CHECKING:
    from pathlib import Path

WAL_LARGE = 64 * 1024 * 1024
"""Above this some reader keeps the WAL from being reset; it is named."""


@attrs.frozen
class Holder:
    """A process that keeps the WAL from being reset."""

    pid: int
    command: str


@attrs.frozen
class Daemon:
    """`elsewhere`: it holds this log's lock and is not on this socket. `other_log`: it is on this socket, for another log."""

    state: Literal["running", "absent", "hung", "foreign", "elsewhere", "other_log"]
    socket: Path
    pid: int | None = None
    uptime_s: int | None = None
    version: str | None = None
    how: str | None = None
    log: str | None = None
    lock: Path | None = None
    """Of one that does not answer: the file that tells who it is."""


@attrs.frozen
class LogState:
    """The log; `error` where it could not be read, `facts` where it could, neither where there is none yet."""

    path: Path
    facts: LogFacts | None = None
    error: str = ""
    holders: tuple[Holder, ...] = ()
    damaged: tuple[Damaged, ...] = ()


@attrs.frozen
class Waiting:
    """One subscriber: `lag` in events behind the head, `since` in ns since the epoch."""

    pid: int | None
    command: str
    predicate: str
    seq: int
    lag: int
    since: int


@attrs.frozen
class SourceState:
    """A source that the daemon runs, and what it listens to (`scope`). In ns since the epoch: `since` when it is in its state,
    `retry_at` when it is tried again, `heard` when its last event came."""

    name: str
    state: Literal["starting", "up", "down"]
    reason: str
    since: int
    retry_at: int | None
    events: int
    heard: int | None
    scope: tuple[str, ...] = ()


@attrs.frozen
class Bus:
    """`by_log`: processes that wait by the log itself, for want of a daemon."""

    subscribers: int = 0
    lagging: int = 0
    by_log: int = 0


@attrs.frozen
class Status:
    """All of it, as of `at` (s since the epoch)."""

    at: float
    daemon: Daemon
    log: LogState
    bus: Bus
    waiting: tuple[Waiting, ...]
    config: Config
    config_error: str = ""
    sources: tuple[SourceState, ...] = ()


def gather() -> Status:
    """Ask and look.

    Raises:
      PathError: a directory variable is wrong, so that there is nothing to look at.
    """
    answer = ask(socket_path())
    config, fault = _config()
    daemon = _daemon(answer)
    log, bus = _log(log_path()), _bus(daemon, answer.report)
    return Status(time.time(), daemon, log, bus, _waiting(answer), config, fault, sources_in(answer.report))


def sources_in(report: dict[str, Any]) -> tuple[SourceState, ...]:
    """The sources in a daemon's report; one of an older version has none."""
    rows = report.get("sources", ())
    return tuple(SourceState(**{**row, "scope": tuple(row["scope"])}) for row in rows)


def _config() -> tuple[Config, str]:
    try:
        return load(), ""
    except ConfigError as error:
        return Config(), error.message


def _daemon(answer: Answer) -> Daemon:
    path, report = socket_path(), answer.report
    if answer.state == "running":
        theirs = report["log"]["path"]
        return Daemon(
            "running" if _same_log(answer.ack.get("log")) else "other_log",
            path, answer.pid, report["uptime_sec"], report["version"], report["how"], theirs,
        )  # fmt: skip
    lock = next((one for one in _locks() if instance.is_held(one)), None)
    about = {} if lock is None else holder.read(lock)
    if answer.state == "absent" and lock is None:
        return Daemon("absent", path)
    if answer.state == "foreign":
        return Daemon("foreign", path, answer.pid)
    since = about.get("since")
    return Daemon(
        "hung" if answer.state == "hung" else "elsewhere",
        path,
        about.get("pid", answer.pid),
        None if since is None else max(0, int(time.time() - since / 1e9)),
        about.get("version"),
        about.get("how"),
        lock=lock,
    )


def _locks() -> list[Path]:
    return [folder / "daemon.lock" for folder in dict.fromkeys((state_dir(), runtime_dir()))]


def _same_log(theirs: Any) -> bool:
    """Whether a daemon's ack names our log: by its file, or, where one of us cannot see it, by its path."""
    if not isinstance(theirs, dict):
        return False
    file = theirs.get("dev"), theirs.get("ino")
    try:
        ours = log_path().stat()
    except OSError:
        file = (0, 0)
    return theirs.get("path") == os.fspath(log_path()) if file == (0, 0) else file == (ours.st_dev, ours.st_ino)


def _log(path: Path) -> LogState:
    damaged = tuple(set_aside(path))
    try:
        if not is_there(path):
            return LogState(path, damaged=damaged)
        found = facts(path)
    except LogError as error:
        return LogState(path, error=error.message, damaged=damaged)
    holders: tuple[Holder, ...] = ()
    if found.wal_bytes > WAL_LARGE:
        readers = wal_readers(path.with_name(path.name + "-shm"))
        holders = tuple(Holder(pid, command_name(pid)) for pid in readers)
    return LogState(path, found, holders=holders, damaged=damaged)


def _bus(daemon: Daemon, report: dict[str, Any]) -> Bus:
    if report:
        return Bus(report["subscriber_count"], report["lagging_count"])
    return Bus(by_log=bell.listeners(bells_dir()) if daemon.state in ("absent", "foreign") else 0)


def _waiting(answer: Answer) -> tuple[Waiting, ...]:
    rows = answer.report.get("subscribers", ())
    return tuple(
        Waiting(row["pid"], command_name(row["pid"]), row["predicate"], row["seq"], row["lag"], row["since"])
        for row in rows
    )
