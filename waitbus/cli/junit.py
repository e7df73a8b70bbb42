"""`emit --junit`: what a test runner has left in a file, as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitbus.cli import output
from waitbus.cli.command import Usage
from waitbus.cli.emit import doubt_source, source_name
from waitbus.cli.files import opened
from waitbus.errors import InvalidValue
from waitbus.producer import emit_all
from waitbus.sources import junit

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.events import EmitResult

DEFAULTS = ("source", "owner", "repo")
"""The options that go with it."""


def emit_junit(name: str, log: Path | None, event_type: str | None, given: dict[str, Any]) -> list[EmitResult]:
    """Write the rows of the file `name` in one transaction; `given` are the other options of the command.

    Raises:
      Usage: it is no JUnit XML, or too much of it, or an option says what only the file can.
    """
    others = [key for key, value in given.items() if value not in (None, ()) and key not in DEFAULTS]
    if event_type is not None or others:
        what = "an event type" if event_type is not None else f"--{others[0].replace('_', '-')}"
        raise Usage(
            f"--junit and {what} are given", hint="with --junit only --source, --owner, --repo and --db may stand"
        )
    source = "pytest" if given["source"] is None else source_name(given["source"])
    doubt_source(source)
    where = "stdin" if name == "-" else name
    with opened("--junit", name) as file:
        data = file.read(junit.FILE_MAX + 1)
    if len(data) > junit.FILE_MAX:
        raise Usage(f"{where} has more than {junit.FILE_MAX:,} bytes", hint="import it in parts")
    try:
        batch = junit.rows(data, what=where, source=source, owner=given["owner"] or "local", repo=given["repo"] or "")
    except InvalidValue as error:
        raise Usage(error.message, hint=error.hint) from None
    results = emit_all(batch, db_path=log)
    known = sum(not result.inserted for result in results)
    output.talk(f"{len(results) - known} written" + (f", {known} in the log already" if known else ""))
    return results
