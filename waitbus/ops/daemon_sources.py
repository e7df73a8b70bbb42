"""Which sources the daemon runs, asked of it: a wait runs by itself what nobody runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from waitbus.errors import PathError
from waitbus.ops.question import ask
from waitbus.paths import socket_path

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class Running:
    """A source that hears; `roots` are the folders that it watches (its scope), where it has any."""

    name: str
    roots: tuple[str, ...] = ()


def daemon_sources() -> tuple[Running, ...]:
    """What the daemon runs and is not down; nothing where there is no daemon, or where it does not answer within 1 s."""
    try:
        return of_report(ask(socket_path()).report)
    except PathError:
        return ()


def of_report(report: Mapping[str, Any]) -> tuple[Running, ...]:
    """The sources that hear, by a daemon's report. What is not of the form, or is missing, counts as if nothing ran: two watchers
    of one thing make one row, none makes no row."""
    rows = report.get("sources")
    return tuple(filter(None, map(_running, rows if isinstance(rows, list) else ())))


def _running(row: object) -> Running | None:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or row.get("state") not in ("up", "starting"):
        return None
    scope = row.get("scope")
    several = scope if isinstance(scope, list) else ()
    return Running(row["name"], tuple(one for one in several if isinstance(one, str)))
