"""`waitbus cursor`: where the log ends now, to wait or read from later."""

from __future__ import annotations

from waitbus.cli import output
from waitbus.cli.command import command
from waitbus.cli.options import json_option
from waitbus.events import log_id, make_event_id
from waitbus.store import shared


@command(
    "cursor",
    examples=[
        ("waitbus cursor", 0),
        ('C=$(waitbus cursor); waitbus emit built; waitbus replay "$C"', 0),
        ("waitbus cursor --json", 0, "deploy"),
    ],
)
@json_option
def cursor(as_json: bool) -> None:
    """Print the cursor of now: what comes later is behind it.

    A cursor is an event id, and every event id is a cursor: --since takes both. That of an empty log stands before the
    first event.
    """
    facts = shared().facts()
    event_id = make_event_id(facts.last_at_ms, facts.tag, facts.last)
    if as_json:
        output.record({"cursor": event_id, "seq": facts.last, "log_id": log_id(facts.tag)})
    else:
        output.data(event_id)
