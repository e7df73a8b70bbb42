"""`waitbus db`: look at the log's file, and look after it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from waitbus.cli import output
from waitbus.cli.command import Usage, group
from waitbus.cli.options import COUNT, DURATION, SIZE, argument, json_option, option, quiet_option
from waitbus.cli.status import tidy
from waitbus.errors import EXIT_NO, InvalidValue, LogCorrupt
from waitbus.ops.log_facts import LogFacts, check, facts, reading
from waitbus.paths import absolute, log_path
from waitbus.quantities import say_count, say_size, say_time
from waitbus.store import migrations

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from waitbus.ops.prune import Pruned
    from waitbus.store.old import Imported
    from waitbus.store.retention import Retention

    F = TypeVar("F", bound=Callable[..., Any])

REFUSED_SHOWN = 10
"""Rows that are named in text; `--json` names them all."""


@group("db")
def db() -> None:
    """Look at the log's file, and look after it."""


def _db_option(function: F) -> F:
    where = click.Path(path_type=Path)
    return option("--db", "path", type=where, metavar="FILE", group="Which", help="The log [default: the one in use].")(
        function
    )


def _path(path: Path | None) -> Path:
    return log_path() if path is None else absolute(path)


# -- info --------------------------------------------------------------------------------------------------------------


@db.command("info", examples=[("waitbus db info", 0, "deploy"), ("waitbus db info --check --json", 0, "deploy")])
@option("--check", "checked", is_flag=True, group="What", help="Let SQLite read all of it and say whether it is whole.")
@_db_option
@json_option
def info(path: Path | None, checked: bool, as_json: bool) -> int:
    """Show the log's format, its tag, its bounds and its size.

    Exit code 74 says that it cannot be read or, with --check, that it is damaged.
    """
    found = facts(_path(path))
    faults = check(found.path) if checked else None
    if as_json:
        output.record(_info_dict(found, faults))
    else:
        for label, text in _info_rows(found, faults):
            output.data(f"{label:<12}{text}", flush=False)
    if faults:
        raise LogCorrupt(
            f"the log {found.path} is damaged: {_first(faults)}",
            hint="move it away, and a new log is begun with the next event",
        )
    return 0


def _first(faults: list[str]) -> str:
    """One line of what SQLite says, which may be a page, and begins with a heading."""
    lines = [line for fault in faults for line in fault.splitlines() if not line.startswith("***")]
    return lines[0] if lines else faults[0]


def _info_rows(found: LogFacts, faults: list[str] | None) -> list[tuple[str, str]]:
    rows = [
        ("path", tidy(found.path)),
        ("tag", found.log_id),
        ("format", f"{found.format} (readers need {found.min_reader}, writers {found.min_writer})"),
        *(("migration", f"{one.number} {one.name}, {_at(one.applied_at)}") for one in found.migrations),
        ("rows", f"{found.rows:,}" + (f", seq {found.first_seq} to {found.last_seq}" if found.rows else "")),
        ("pruned to", f"seq {found.pruned_to}" if found.pruned_to else "nothing was pruned"),
        ("oldest", _at(found.first_at_ms * 1_000_000) if found.rows else "none"),
        ("newest", _at(found.last_at_ms * 1_000_000) if found.rows else "none"),
        ("size", f"{say_size(found.live_bytes)} in use; the file has {say_size(found.bytes)}"),
        ("journal", f"{found.journal_mode}, {say_size(found.wal_bytes)}"),
    ]
    if faults is not None:
        rows.append(("check", "; ".join(faults) or "ok"))
    return rows


def _at(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ns / 1e9))


def _info_dict(found: LogFacts, faults: list[str] | None) -> dict[str, Any]:
    return {
        "path": os.fspath(found.path),
        "log_id": found.log_id,
        "format": found.format,
        "min_reader": found.min_reader,
        "min_writer": found.min_writer,
        "migrations": [
            {"number": one.number, "name": one.name, "applied_at": say_time(one.applied_at)} for one in found.migrations
        ],
        "rows": found.rows,
        "first_seq": found.first_seq,
        "last_seq": found.last_seq,
        "oldest_at": say_time(found.first_at_ms * 1_000_000) if found.rows else None,
        "newest_at": say_time(found.last_at_ms * 1_000_000) if found.rows else None,
        "pruned_to": found.pruned_to,
        "payload_pruned_to": found.payload_pruned_to,
        "bytes": found.bytes,
        "live_bytes": found.live_bytes,
        "wal_bytes": found.wal_bytes,
        "journal_mode": found.journal_mode,
        "check": None if faults is None else {"ok": not faults, "faults": faults},
    }


# -- migrate -----------------------------------------------------------------------------------------------------------


@db.command("migrate", examples=[("waitbus db migrate --status", 0, "deploy"), ("waitbus db migrate", 0, "deploy")])
@option("--status", "only_status", is_flag=True, group="What", help="Only list what was done and what is to be done.")
@option("--dry-run", is_flag=True, group="What", help="Only say what would be done.")
@_db_option
@json_option
def migrate(path: Path | None, only_status: bool, dry_run: bool, as_json: bool) -> int:
    """Bring the log to the format of this version, with nobody else attached.

    Most versions need none of it. Where other processes have the log open it is refused, and nothing is changed.
    """
    where = _path(path)
    with reading(where) as connection:
        done, todo = migrations.applied(connection), migrations.pending(connection, migrations.MIGRATIONS)
    run = [] if only_status or dry_run or not todo else migrations.migrate(where, migrations.MIGRATIONS)
    if as_json:
        output.record(
            {
                "path": os.fspath(where),
                "applied": [
                    {"number": number, "name": name, "applied_at": say_time(at)} for number, (name, at) in done.items()
                ],
                "pending": [{"number": step.number, "name": step.name} for step in todo if step not in run],
                "run": [{"number": step.number, "name": step.name} for step in run],
            }
        )
        return 0
    if only_status:
        for number, (name, at) in done.items():
            output.data(f"applied  {number} {name}, {_at(at)}")
    word = "run" if run else "would run" if dry_run else "pending"
    for step in todo:
        output.data(f"{word}  {step.number} {step.name}")
    if not todo:
        output.data("nothing to do")
    return 0


# -- prune -------------------------------------------------------------------------------------------------------------


@db.command(
    "prune",
    examples=[
        ("waitbus db prune --dry-run", 0, "deploy"),
        ("waitbus db prune --max-age 7d --max-size 100MiB --vacuum", 0, "deploy"),
    ],
)
@option("--max-age", type=DURATION, metavar="DURATION", group="What", help="Prune events older than that; or none.")
@option(
    "--max-size", type=SIZE, metavar="SIZE", group="What", help="Prune the oldest while the log takes more than that."
)
@option("--max-rows", type=COUNT, metavar="N", group="What", help="Prune the oldest beyond the newest N.")
@option("--dry-run/--no-dry-run", default=False, group="What", help="Only say what would be pruned.")
@option("--vacuum", is_flag=True, group="What", help="Then make the file smaller; emits wait meanwhile.")
@_db_option
@quiet_option
@json_option
@click.pass_context
def prune(ctx: click.Context, /, path: Path | None, dry_run: bool, vacuum: bool, as_json: bool, **caps: Any) -> int:
    """Prune the oldest events now, down to what the caps allow, while everything goes on.

    A cap that is not given is the one of the configuration. The newest event always stays, and what a bookmark in use has not
    passed, and imported events, leave by --max-size or --max-rows only. A reader whose place was pruned is told so.
    """
    from waitbus.ops import prune as pruning

    if dry_run and vacuum:
        raise Usage("--vacuum and --dry-run are given", hint="a dry run changes nothing; leave one of them away")
    where = _path(path)
    facts(where)  # one that is no log is told before a retention is made of it
    given = {name for name in caps if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT}
    keep = _retention(where, {name: caps[name] for name in given})
    done = pruning.plan(where, keep) if dry_run else pruning.prune(where, keep, vacuum=vacuum)
    if as_json:
        output.record({"path": os.fspath(where), "dry_run": dry_run, **attrs.asdict(done)})
    else:
        output.data(_pruned(done, dry_run=dry_run))
    return 0


def _retention(path: Path, caps: dict[str, Any]) -> Retention:
    from waitbus.config import load
    from waitbus.store import Log
    from waitbus.store.retention import Retention

    table = load().retention
    with Log(path) as log:
        keep = Retention.in_force(table, log)
    names = {"max_age": "max_age", "max_size": "max_bytes", "max_rows": "max_rows"}
    return attrs.evolve(keep, **{names[name]: value for name, value in caps.items()})


def _pruned(done: Pruned, *, dry_run: bool) -> str:
    verb, about = ("would prune", "about ") if dry_run else ("pruned", "")
    if not done.rows and not done.payloads:
        text = "nothing to prune"
    else:
        payloads = f" and {say_count(done.payloads, 'payload')}" if done.payloads else ""
        text = f"{verb} {say_count(done.rows, 'event')}{payloads}, {about}{say_size(done.bytes)}"
    tail = f"; the file has {say_size(done.file_bytes)}" if done.vacuumed else ""
    return f"{text}; {done.left:,} left, {about}{say_size(done.live_bytes)} in use{tail}"


# -- import ------------------------------------------------------------------------------------------------------------


@db.command(
    "import",
    examples=[("waitbus db import ./github.db", 0, "old log"), ("waitbus db import ./github.db --json", 0, "old log")],
)
@argument(
    "old",
    type=click.Path(path_type=Path),
    required=False,
    metavar="[PATH]",
    note="[default: github.db in the state folder]",
)
@quiet_option
@json_option
def import_(old: Path | None, as_json: bool) -> int:
    """Bring the events of a 0.2 log (github.db) over, in their order; what is here already is left as it is.

    It may be called again, also after it was interrupted. The old file is only read. Old event ids go on being understood as
    cursors. The exit code is 1 if an old row was no event that can be kept; such rows are named.
    """
    from waitbus.bell import ring
    from waitbus.paths import bells_dir, state_dir
    from waitbus.store import shared
    from waitbus.store.old import import_old

    path = state_dir() / "github.db" if old is None else old
    try:
        there = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        there = False
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}", hint="mend its rights, or copy it") from None
    if not there:
        raise InvalidValue(f"there is no file {path}", hint="0.2 kept its log as github.db in its state folder")
    done = import_old(path, shared())
    if done.inserted:
        ring(bells_dir())
    if as_json:
        refused = [{"seq": seq, "error": why} for seq, why in done.refused]
        counts = {"read": done.read, "inserted": done.inserted, "known": done.known}
        output.record({"path": os.fspath(path), **counts, "refused": refused})
    else:
        for seq, why in done.refused[:REFUSED_SHOWN]:
            output.warn(f"row {seq} was left out: {why}")
        output.data(_imported(done))
    return EXIT_NO if done.refused else 0


def _imported(done: Imported) -> str:
    text = f"{say_count(done.inserted, 'event')} brought over"
    known = f"{done.known:,} here already" if done.known else ""
    refused = f"{len(done.refused):,} left out" if done.refused else ""
    return ", ".join(part for part in (text, known, refused) if part)
