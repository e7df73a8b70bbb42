"""The lines of `emit --batch`: each a JSON object of `EventInsert`'s keywords. A line that is wrong is named by its number."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from waitbus.cli import output
from waitbus.cli.command import Usage, near
from waitbus.cli.emit import NAMED_FIELDS, doubt_source, source_name
from waitbus.cli.files import opened
from waitbus.errors import InvalidValue
from waitbus.event_checks import not_json
from waitbus.events import PAYLOAD_MAX, WELL_KNOWN, EventInsert
from waitbus.producer import emit_all
from waitbus.quantities import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from waitbus.events import EmitResult

LINE_MAX = 2 * PAYLOAD_MAX
"""Bytes of one line: the largest payload, with room for its escapes."""
EVENTS_MAX = 100_000
"""Events of one batch, which is one transaction and stands in memory until it is committed."""

COLUMNS = (
    *("source", "event_type", "owner", "repo", "delivery_id", "received_at", "status", "conclusion", "summary"),
    *("fields", "payload_json", "ingest_method"),
)
KEYS = frozenset(COLUMNS) | WELL_KNOWN


def emit_batch(name: str, log: Path | None, event_type: str | None, given: dict[str, Any]) -> list[EmitResult]:
    """Write the events of the file `name` in one transaction; `given` are the other options of the command.

    Raises:
      Usage: a line is no event, or an option says what only a line can.
    """
    others = [key for key, value in given.items() if value not in (None, ()) and key != "source"]
    if event_type is not None or others:
        what = "an event type" if event_type is not None else _option_name(others[0])
        raise Usage(
            f"--batch and {what} are given",
            hint="each line of a batch says all of its event; only --source is a default",
        )
    with opened("--batch", name) as file:
        batch = list(events(file, name, source_name(given["source"])))
    for source in dict.fromkeys(event.source for event in batch):
        doubt_source(source)
    results = emit_all(batch, db_path=log)
    known = sum(not result.inserted for result in results)
    output.talk(f"{len(results) - known} written" + (f", {known} in the log already" if known else ""))
    return results


def _option_name(key: str) -> str:
    return NAMED_FIELDS.get(key) or ("--field" if key == "fields" else f"--{key.replace('_', '-')}")


def events(file: BinaryIO, name: str, source: str) -> Iterator[EventInsert]:
    """The events of a file, in order; `source` is that of a line without one. Empty lines are none.

    Raises:
      Usage: a line is no event; the message says which and why.
    """
    where = "stdin" if name == "-" else name
    number = count = 0
    while data := _line(file, f"{where}, line {number + 1}"):
        number += 1
        if data.isspace():
            continue
        count += 1
        if count > EVENTS_MAX:
            raise Usage(
                f"{where} has more than {EVENTS_MAX:,} events", hint="emit it in parts: each batch is one transaction"
            )
        yield _event(data, f"{where}, line {number}", source)


def _line(file: BinaryIO, where: str) -> bytes:
    data = file.readline(LINE_MAX + 1)
    if len(data) > LINE_MAX:
        raise Usage(f"{where} has more than {LINE_MAX:,} bytes", hint="one event a line")
    return data


def _event(data: bytes, where: str, source: str) -> EventInsert:
    value = _object(data, where)
    unknown = next((key for key in value if key not in KEYS), None)
    if unknown is not None:
        _refuse_key(unknown, where)
    try:
        return EventInsert(**{"source": source, **value, **_converted(value)})
    except InvalidValue as error:
        raise Usage(f"{where}: {error.message}", hint=error.hint) from None
    except TypeError:
        raise Usage(
            f"{where} has no event_type", hint='{"event_type": "deploy_finished"} is the least of an event'
        ) from None


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Usage(f"{where} is not UTF-8: {error.reason}", hint="save it as UTF-8") from None
    except RecursionError:
        raise Usage(f"{where} is nested too deeply", hint="flatten it") from None
    except ValueError as error:
        raise Usage(
            f"{where} is not JSON: {not_json(error)}", hint="a batch has one JSON object on each line"
        ) from None
    if not isinstance(value, dict):
        raise Usage(
            f"{where} is no JSON object", hint='as in {"event_type": "deploy_finished", "conclusion": "success"}'
        )
    return value


def _refuse_key(key: str, where: str) -> NoReturn:
    meant = near(key, sorted(KEYS))
    hint = f"did you mean {meant!r}? " if meant else ""
    raise Usage(f"{where} has the unknown key {key[:80]!r}", hint=f'{hint}facts of your own stand in "fields"')


def _converted(value: dict[str, Any]) -> dict[str, Any]:
    """What is friendlier to write in JSON than `EventInsert` takes it: a time as text, a payload as it is."""
    converted: dict[str, Any] = {}
    received_at, payload = value.get("received_at"), value.get("payload_json")
    if isinstance(received_at, str):
        converted["received_at"] = parse_time(received_at, what="received_at")
    if isinstance(payload, dict | list):
        converted["payload_json"] = json.dumps(payload, ensure_ascii=False)
    fields = value.get("fields")
    if fields is not None and not isinstance(fields, dict):
        raise InvalidValue("fields is no JSON object", hint='as in {"env": "staging"}')
    return converted
