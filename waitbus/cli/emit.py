"""`waitbus emit`: write one event, or a batch of them, and wake whoever waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from waitbus.cli import output
from waitbus.cli.command import Usage, command
from waitbus.cli.completing import event_types, files, source_names
from waitbus.cli.files import decoded, log_file, opened, shown
from waitbus.cli.forms import chosen, form_options, text_line
from waitbus.cli.options import TIME, argument, option, quiet_option
from waitbus.paths import here

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.cli.forms import Form
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
@argument("type", required=False, shell_complete=event_types, note="event type, as in deploy_finished")
@option("--event-type", metavar="TYPE", group="What", help="The event type, in place of the argument.")
@option(
    "--source",
    metavar="NAME",
    group="What",
    shell_complete=source_names,
    help=f"Who tells it [default: {DEFAULT_SOURCE}].",
)
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
    shell_complete=files,
    group="Record",
    help="Many events, one JSON object a line, from FILE or - (stdin); all or none.",
)
@option(
    "--junit",
    metavar="FILE",
    shell_complete=files,
    group="Record",
    help="The suites and failures of a JUnit XML file, or of - (stdin); twice is once.",
)
@option(
    "--db", type=click.Path(), metavar="FILE", group="Record", help="Another log than the one of WAITBUS_STATE_DIR."
)
@form_options(default="text")
@quiet_option
def emit(
    type: str | None,
    event_type: str | None,
    batch: str | None,
    junit: str | None,
    db: str | None,
    form: Form | None,
    as_json: bool,
    as_text: bool,
    **given: Any,
) -> None:
    """Write an event and wake whoever waits for it.

    A value of --field is JSON's true, false, null or plain number where it reads as one, else text; "1" in quotes is
    text. Where the delivery id is in the log already nothing is written, and the first event with it is printed. A
    line of a batch has the keys event_type, source, owner, repo, status, conclusion, summary, fields, payload_json,
    delivery_id, received_at, ingest_method, and those of the well-known fields (head_sha, msg_to, ...).
    """
    form = chosen(form, as_json, as_text, "text")
    log = log_file(db)
    if batch is not None and junit is not None:
        raise Usage("--batch and --junit are given", hint="one file at a time")
    if junit is not None:
        from waitbus.cli.junit import emit_junit

        results = emit_junit(junit, log, type or event_type, given)
    elif batch is not None:
        from waitbus.cli.batch import emit_batch

        results = emit_batch(batch, log, type or event_type, given)
    else:
        results = [_emit_one(_event_type(type, event_type), log, given)]
    for result in results:
        _print(result, form, log)


def _event_type(type: str | None, event_type: str | None) -> str:
    if type is not None and event_type is not None and type != event_type:
        raise Usage(f"two event types are given, {type!r} and {event_type!r}", hint="leave --event-type out")
    chosen = event_type if type is None else type
    if chosen is None:
        raise Usage("no event type is given", hint="write it behind emit: waitbus emit deploy_finished")
    return chosen


# -- one event ---------------------------------------------------------------------------------------------------------


def _emit_one(event_type: str, log: Path | None, given: dict[str, Any]) -> EmitResult:
    from waitbus.producer import emit

    event = _event(event_type, **given)
    doubt_source(event.source)
    result = emit(event, db_path=log)
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
            f"--field {shown(text)} has no {'=' if key.strip() else 'key'}",
            hint="write --field KEY=VALUE, as in env=staging",
        )
    bare = key.removeprefix("fields.")
    if bare in OWN_OPTION:
        option = f"--{bare.replace('_', '-')}"
        raise Usage(
            f"--field {shown(text)}: {bare} has an option of its own", hint=f"write {option} {text.partition('=')[2]}"
        )
    if bare != key:
        raise Usage(
            f"--field {shown(text)} begins with 'fields.'", hint=f"write --field {text.removeprefix('fields.')}"
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
    return decoded("--payload-json", name, data)


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


def _print(result: EmitResult, form: Form, log: Path | None) -> None:
    frame = result.event
    if form == "text":
        output.data(text_line(frame, here()))
        return
    from waitbus.cloudevents import cloudevent, flat
    from waitbus.store import shared

    payload = shared(log).payload(frame.seq)
    if form == "cloudevent":
        output.record(cloudevent(frame, payload))
    else:
        output.record({"inserted": result.inserted, "event": flat(frame, payload)})
