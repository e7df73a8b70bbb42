"""`waitbus emit`: write one event, or a batch of them, and wake whoever waits for it."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any

import click

from waitbus.cli import output
from waitbus.cli.command import Usage, command
from waitbus.cli.options import TIME, argument, json_option, option, quiet_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from waitbus.events import EmitResult, EventInsert

DEFAULT_SOURCE = "agent"
NAMED_FIELDS = {
    "msg_to": "--to",
    "msg_from": "--from",
    "msg_body": "--body",
    "msg_thread": "--thread",
    "msg_correlation_id": "--correlation-id",
}
"""Fields that have an option of their own."""
OWN_OPTION = ("source", "event_type", "owner", "repo", "status", "conclusion", "ingest_method")


@command(
    "emit",
    examples=[
        ("waitbus emit deploy_finished --conclusion success --field env=staging", 0),
        ("waitbus emit agent_message --from ci --to alice --body 'main is green' --json", 0),
        ('echo \'{"event_type": "nightly", "conclusion": "failure"}\' | waitbus emit --batch -', 0),
    ],
)
@argument("type", required=False, note="event type, as in deploy_finished")
@option("--event-type", metavar="TYPE", group="What", help="The event type, in place of the argument.")
@option("--source", metavar="NAME", group="What", help=f"Who tells it [default: {DEFAULT_SOURCE}].")
@option("--status", metavar="WORD", group="What", help="How far it is: in_progress, completed, ...")
@option("--conclusion", metavar="WORD", group="What", help="How it ended: success, failure, ...")
@option("--summary", metavar="TEXT", group="What", help="One sentence for people [default: made of the rest].")
@option("--owner", metavar="OWNER", group="What", help="Whose it is [default: local].")
@option("--repo", metavar="REPO", group="What", help="Of which repository or project [default: the source].")
@option(
    "--field", "fields", metavar="KEY=VALUE", multiple=True, group="What", help="A fact of your own; may be repeated."
)
@option("--payload-json", metavar="JSON", group="What", help="The whole story, as JSON: text, @FILE, or - for stdin.")
@option("--to", "msg_to", metavar="NAME", group="Message", help="Whom it is for.")
@option("--from", "msg_from", metavar="NAME", group="Message", help="Who says it.")
@option("--body", "msg_body", metavar="TEXT", group="Message", help="What is said.")
@option("--thread", "msg_thread", metavar="ID", group="Message", help="What it belongs to.")
@option("--correlation-id", "msg_correlation_id", metavar="ID", group="Message", help="Ties a reply to its request.")
@option("--delivery-id", metavar="ID", group="Record", help="Idempotency key: a second event with it is not written.")
@option("--received-at", type=TIME, metavar="TIME", group="Record", help="When it happened [default: now].")
@option("--ingest-method", metavar="WORD", group="Record", help="The way it came [default: api].")
@option(
    "--batch",
    metavar="FILE",
    group="Record",
    help="Many events, one JSON object a line, from FILE or - (stdin); all or none.",
)
@option(
    "--db", type=click.Path(), metavar="FILE", group="Record", help="Another log than the one of WAITBUS_STATE_DIR."
)
@option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "cloudevent"]),
    group="Output",
    help="How to print it [default: text].",
)
@json_option
@quiet_option
def emit(
    type: str | None,
    event_type: str | None,
    batch: str | None,
    db: str | None,
    form: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Write an event and wake whoever waits for it.

    A value of --field is JSON's true, false, null or plain number where it reads as one, else text; "1" in quotes is
    text. Where the delivery id is in the log already nothing is written, and the first event with it is printed. A
    line of a batch has the keys event_type, source, owner, repo, status, conclusion, summary, fields, payload_json,
    delivery_id, received_at, ingest_method, and those of the well-known fields (head_sha, msg_to, ...).
    """
    if form == "json":
        output.speak_json()
    form = _form(form, as_json)
    if batch is not None:
        results = _emit_batch(batch, db, type or event_type, given)
    else:
        results = [_emit_one(_event_type(type, event_type), db, given)]
    for result in results:
        _print(result, form, db)


def _form(form: str | None, as_json: bool) -> str:
    if as_json and form not in (None, "json"):
        raise Usage(f"--json and --format {form} are two forms", hint="leave one of them out")
    return "json" if as_json else form or "text"


def _event_type(type: str | None, event_type: str | None) -> str:
    if type is not None and event_type is not None and type != event_type:
        raise Usage(f"two event types are given, {type!r} and {event_type!r}", hint="leave --event-type out")
    chosen = event_type if type is None else type
    if chosen is None:
        raise Usage("no event type is given", hint="write it behind emit: waitbus emit deploy_finished")
    return chosen


# -- one event ---------------------------------------------------------------------------------------------------------


def _emit_one(event_type: str, db: str | None, given: dict[str, Any]) -> EmitResult:
    from waitbus.producer import emit

    event = _event(event_type, **given)
    doubt_source(event.source)
    result = emit(event, db_path=_log_path(db))
    if not result.inserted:
        output.talk(
            f"delivery id {event.delivery_id!r} is in the log already: nothing was written, this is the first event with it"
        )
    return result


def _event(
    event_type: str, *, fields: tuple[str, ...], source: str | None, payload_json: str | None, **given: Any
) -> EventInsert:
    from waitbus.events import EventInsert

    named = {key: given.pop(key) for key in NAMED_FIELDS}
    keywords = {key: value for key, value in given.items() if value is not None}
    if payload_json is not None:
        keywords["payload_json"] = _payload(payload_json)
    return EventInsert(source=source_name(source), event_type=event_type, fields=_fields(fields, named), **keywords)


def _fields(texts: tuple[str, ...], named: dict[str, str | None]) -> dict[str, Any]:
    if not texts:
        return named
    from waitbus.terms import parse_value

    fields: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        _check_key(text, key, sign, fields, named)
        fields[key] = parse_value(value, key)
    return {**named, **fields}


def _check_key(text: str, key: str, sign: str, before: dict[str, Any], named: dict[str, str | None]) -> None:
    if not sign or not key.strip():
        raise Usage(
            f"--field {_shown(text)} has no {'=' if key.strip() else 'key'}",
            hint="write --field KEY=VALUE, as in env=staging",
        )
    bare = key.removeprefix("fields.")
    if bare in OWN_OPTION:
        option = f"--{bare.replace('_', '-')}"
        raise Usage(
            f"--field {_shown(text)}: {bare} has an option of its own", hint=f"write {option} {text.partition('=')[2]}"
        )
    if bare != key:
        raise Usage(
            f"--field {_shown(text)} begins with 'fields.'", hint=f"write --field {text.removeprefix('fields.')}"
        )
    if key in before:
        raise Usage(f"--field {key} is given twice", hint="a field has one value")
    if named.get(key) is not None:
        raise Usage(f"--field {key} and {NAMED_FIELDS[key]} are the same", hint="leave one of them out")


def _payload(text: str) -> str:
    from waitbus.events import PAYLOAD_MAX

    name = {"-": "-", "@-": "-"}.get(text) or (text[1:] if text.startswith("@") else None)
    if name is None:
        return text
    with opened("--payload-json", name) as file:
        data = file.read(4 * PAYLOAD_MAX + 1)  # four bytes for a character at most, and one that tells of too many
    return _decoded("--payload-json", name, data)


# -- many --------------------------------------------------------------------------------------------------------------


def _emit_batch(name: str, db: str | None, event_type: str | None, given: dict[str, Any]) -> list[EmitResult]:
    from waitbus.cli.batch import events
    from waitbus.producer import emit_all

    others = [key for key, value in given.items() if value not in (None, ()) and key != "source"]
    if event_type is not None or others:
        what = "an event type" if event_type is not None else _option_name(others[0])
        raise Usage(
            f"--batch and {what} are given",
            hint="each line of a batch says all of its event; only --source is a default",
        )
    default = source_name(given["source"])
    with opened("--batch", name) as file:
        batch = list(events(file, name, default))
    for source in dict.fromkeys(event.source for event in batch):
        doubt_source(source)
    results = emit_all(batch, db_path=_log_path(db))
    known = sum(not result.inserted for result in results)
    output.talk(f"{len(results) - known} written" + (f", {known} in the log already" if known else ""))
    return results


def _option_name(key: str) -> str:
    return NAMED_FIELDS.get(key) or ("--field" if key == "fields" else f"--{key.replace('_', '-')}")


# -- shared ------------------------------------------------------------------------------------------------------------


def source_name(text: str | None) -> str:
    """The source as written, without the blanks and capitals that 0.2 forgave."""
    return DEFAULT_SOURCE if text is None else text.strip().lower()


def doubt_source(name: str) -> None:
    """Warn of a source that nobody declared and that looks like one that somebody did."""
    from waitbus.cli.spelling import near_source

    meant = near_source(name)
    if meant:
        output.warn(f"no source {name!r} is known here; did you mean {meant!r}? Written anyway.")


@contextlib.contextmanager
def opened(option: str, name: str) -> Iterator[BinaryIO]:
    """The file, or stdin for `-`, in bytes.

    Raises:
      Usage: it cannot be opened or read.
    """
    try:
        if "\0" in name:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as file:
            yield file
    except OSError as error:
        raise Usage(
            f"{option} {_shown(name)} cannot be read: {error.strerror}", hint="give the name of a file, or - for stdin"
        ) from None


def _decoded(option: str, name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Usage(
            f"{option} {_shown(name)} is not UTF-8: {error.reason} at byte {error.start}", hint="JSON is UTF-8"
        ) from None


def _log_path(db: str | None) -> str | None:
    if db is not None and not db.strip():
        raise Usage("--db is empty", hint="give the file of a log, or leave it out")
    return db


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77])[:-1] + "...'"


def _print(result: EmitResult, form: str, db: str | None) -> None:
    frame = result.event
    if form == "text":
        import os

        from waitbus.render import line

        output.data(f"{frame.event_id}  {line(frame, paint=output.verdict, base=os.getcwd())}")
        return
    from waitbus.cloudevents import cloudevent, flat

    payload = _payload_of(frame.seq, db)
    if form == "cloudevent":
        output.record(cloudevent(frame, payload))
    else:
        output.record({"inserted": result.inserted, "event": flat(frame, payload)})


def _payload_of(seq: int, db: str | None) -> str | None:
    from pathlib import Path

    from waitbus.store import shared

    return shared(None if db is None else Path(db).absolute()).payload(seq)
