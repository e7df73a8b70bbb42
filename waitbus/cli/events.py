"""`waitbus events query`: SQL over the log, which it cannot change."""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from waitbus.cli import output
from waitbus.cli.command import Command, Usage, group
from waitbus.cli.files import log_file
from waitbus.cli.options import COUNT, argument, json_option, option, quiet_option

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 1000
_COMMENT_FIRST = re.compile(r"--(?:\s|[^=\s]*\s)")
"""An option has no blank in it before its `=`: this is SQL that begins with a comment."""
SQL_MAX = 1_000_000
"""Bytes of a statement from stdin; SQLite takes no more by itself."""


@group("events")
def events() -> None:
    """Ask questions about the log."""


class _Query(Command):
    """SQL may begin with a comment, which to a parser of options is an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" not in args:
            sql = [arg for arg in args if _COMMENT_FIRST.match(arg)]
            args = [arg for arg in args if arg not in sql] + (["--", *sql] if sql else [])
        return super().parse_args(ctx, args)


@events.command(
    "query",
    cls=_Query,
    examples=[
        ("waitbus events query 'SELECT source, count(*) AS n FROM events GROUP BY source'", 0, "deploy"),
        (
            "waitbus events query --text \"SELECT head_sha, summary FROM events WHERE source = 'agent'\" -n 5",
            0,
            "deploy",
        ),
    ],
)
@argument("sql", note="one statement, or - for stdin")
@option(
    "-n",
    "--limit",
    type=COUNT,
    default=LIMIT,
    metavar="N",
    group="Which",
    help=f"At most N rows [default: {LIMIT}].",
)
@option("--no-limit", is_flag=True, group="Which", help="All rows.")
@option("--db", type=click.Path(), metavar="FILE", group="Which", help="Another log than the one of WAITBUS_STATE_DIR.")
@option(
    "--text", "as_text", is_flag=True, group="Output", help="Print `column: value` lines, rows parted by empty ones."
)
@json_option
@quiet_option
def query(sql: str, limit: int, no_limit: bool, db: str | None, as_text: bool, as_json: bool) -> None:
    """Run one read-only SQL statement over the log and print its rows.

    The table is events: seq, event_id, delivery_id, source, event_type, owner, repo, status, conclusion, received_at
    (ns), ingest_method, summary, fields and payload_json (JSON text), at_ms (time of commit, ms), and a column for
    each well-known field (run_id, head_sha, msg_to, ...). Rows are printed as a JSON array of objects, bytes as
    hexadecimal digits.
    """
    if as_json and as_text:
        raise Usage("--json and --text are two forms", hint="leave one of them out")
    from waitbus.paths import log_path
    from waitbus.store.query import query as ask

    columns, rows, truncated = ask(log_file(db) or log_path(), _statement(sql), None if no_limit else limit)
    names = _distinct(columns)
    if as_text:
        _print_text(names, rows)
    else:
        output.array([dict(zip(names, map(_plain, row), strict=True)) for row in rows])
    if truncated:
        output.warn(f"there are more than {limit:,} rows; -n N or --no-limit shows more")


def _statement(sql: str) -> str:
    if sql != "-":
        return sql
    stdin = sys.stdin.buffer if sys.stdin is not None else None
    data = stdin.read(SQL_MAX + 1) if stdin is not None else b""
    if len(data) > SQL_MAX:
        raise Usage(f"the statement has more than {SQL_MAX:,} bytes", hint="a statement is a question, not a script")
    return data.decode("utf-8", "replace")


def _print_text(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from waitbus.render import neutral

    for number, row in enumerate(rows):
        if number:
            output.data("", flush=False)
        for name, value in zip(names, row, strict=True):
            shown = "null" if value is None else neutral(str(_plain(value)))
            output.data(f"{neutral(name)}: {shown}", flush=False)


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names for the keys of an object: a second `a` is `a_2`."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def _plain(value: Any) -> Any:
    """What JSON can hold: bytes as hexadecimal digits, and infinity, which SQL has, as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
