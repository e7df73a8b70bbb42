"""The forms an event is printed in: a line for people, a JSON object, a CloudEvent. Shared by the commands that read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from waitbus.cli import output
from waitbus.cli.command import Usage
from waitbus.cli.options import json_option, option
from waitbus.paths import here
from waitbus.render import line

if TYPE_CHECKING:
    from waitbus.events import EventFrame

F = TypeVar("F", bound=Callable[..., Any])
Form = Literal["text", "json", "cloudevent"]
Payload = Callable[[int], str | None]
"""From a seq to the raw body that the log keeps; it travels only where a form has it."""


def form_options(default: Form, forms: tuple[Form, ...] = ("text", "json", "cloudevent")) -> Callable[[F], F]:
    """`--json`, `--text` and `--format`: passed as `as_json`, `as_text` and `form`, to be given to `chosen`."""

    def add(function: F) -> F:
        choice = option(
            "--format", "form", type=click.Choice(forms), group="Output", help=f"How to print it [default: {default}]."
        )
        text = option("--text", "as_text", is_flag=True, group="Output", help="Print one line an event, for people.")
        return choice(json_option(text(function)))

    return add


def chosen(form: Form | None, as_json: bool, as_text: bool, default: Form) -> Form:
    """The form that was asked for.

    Raises:
      Usage: two different ones were.
    """
    asked = {"--json": "json" if as_json else None, "--text": "text" if as_text else None, f"--format {form}": form}
    names = [name for name, value in asked.items() if value is not None]
    forms = {value for value in asked.values() if value is not None}
    if len(forms) > 1:
        raise Usage(f"{names[0]} and {names[1]} are two forms", hint="leave one of them out")
    found: Any = forms.pop() if forms else default
    if form == "json":
        output.speak_json()
    return found  # type: ignore[no-any-return]


def printer(form: Form, payload: Payload, *, flush: bool = True) -> Callable[[EventFrame], None]:
    """What prints one event in that form."""
    if form == "json":
        return lambda frame: output.record(frame.to_dict(), flush=flush)
    if form == "cloudevent":
        return lambda frame: _cloudevent(frame, payload, flush)
    base = here()
    return lambda frame: output.data(text_line(frame, base), flush=flush)


def text_line(frame: EventFrame, base: str) -> str:
    """The event's id, which is the cursor to go on from, and its line; paths below `base` are shown relative to it."""
    return f"{frame.event_id}  {line(frame, paint=output.verdict, base=base)}"


def _cloudevent(frame: EventFrame, payload: Payload, flush: bool) -> None:
    from waitbus.cloudevents import cloudevent

    output.record(cloudevent(frame, payload(frame.seq)), flush=flush)
