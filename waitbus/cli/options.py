"""Options that several commands share, and the types of their values.

`option` is click's with `group=`, the heading it stands under in the help. The types read what `waitbus.quantities` reads, so
that a duration is the same thing in every command, and name the option in their error: `--timeout 'soon' is not a duration`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click

from waitbus.cli import output
from waitbus.cli.command import GroupedOption, NotedArgument, Usage, parameter_name
from waitbus.errors import InvalidValue

F = TypeVar("F", bound=Callable[..., Any])


if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic from click 8.5 on


class Quantity(_ParamType):
    """A value read by a function of `waitbus.quantities`, which is imported when there is a value to read."""

    def __init__(self, name: str, parser: str) -> None:
        self.name = name
        self.parser = parser

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value  # a default
        from waitbus import quantities

        what = parameter_name(param, ctx) if param is not None else ""
        try:
            return getattr(quantities, self.parser)(value, what=what)
        except InvalidValue as error:
            raise Usage(error.message, hint=error.hint, ctx=ctx) from None


DURATION = Quantity("duration", "parse_duration")
"""Seconds as a float; None for `none`."""
SIZE = Quantity("size", "parse_size")
"""Bytes."""
TIME = Quantity("time", "parse_time")
"""Nanoseconds since 1970."""


class Since(NamedTuple):
    """Where to begin: `now`, an event id (`id`), seconds `ago`, or a `time` in ns since 1970."""

    kind: Literal["now", "id", "ago", "time"]
    value: str | float | int = ""


class _Since(_ParamType):
    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        found = parse_since(value)
        if found is None:
            what = parameter_name(param, ctx) if param is not None else ""
            hint = "write now, 10m, a time as in 2025-01-31T12:00:00Z, or an event id as `waitbus cursor` prints"
            raise Usage(f"{what} {value!r} is neither a cursor nor a time", hint=hint, ctx=ctx)
        return found


SINCE = _Since()
"""`now`, an event id (which is a cursor), a duration back from now, or a time: a `Since`."""

BARE_TIME = 10**9
"""A bare number from here on is a time (seconds since 1970, or ns), a smaller one seconds ago: 31 years would be a slip."""


def parse_since(text: str) -> Since | None:
    """What `--since` takes, or None if `text` is none of it."""
    from waitbus.events import parse_event_id
    from waitbus.quantities import parse_duration, parse_time

    bare = text.strip()
    if bare.lower() == "now":
        return Since("now")
    if len(bare) == 26 and bare.isalnum():
        try:
            parse_event_id(bare.upper())
            return Since("id", bare.upper())
        except InvalidValue:
            return None
    if not (bare.isdecimal() and int(bare) >= BARE_TIME):
        try:
            ago = parse_duration(bare)
            return None if ago is None else Since("ago", ago)
        except InvalidValue:
            pass
    try:
        return Since("time", parse_time(bare))
    except InvalidValue:
        return None


def option(*names: str, group: str = "Other", **attrs: Any) -> Callable[[F], F]:
    """click's option, under the heading `group` of the command's help."""
    return click.option(*names, cls=GroupedOption, group=group, **attrs)


def argument(name: str, *, note: str = "", **attrs: Any) -> Callable[[F], F]:
    """click's argument, with a line in the help."""
    return click.argument(name, cls=NotedArgument, note=note, **attrs)


def json_option(function: F) -> F:
    """`--json`: passed as `as_json`; errors, too, are JSON from then on."""
    return option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,  # an error in a later option is to be JSON already
        callback=_take(output.speak_json),
        group="Output",
        help="Print JSON, one object a line; errors too.",
    )(function)


def quiet_option(function: F) -> F:
    """`-q`, `--quiet`: `output.talk` and `output.warn` say nothing; the command gets nothing."""
    return option(
        "-q",
        "--quiet",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_take(output.be_quiet),
        group="Output",
        help="Say nothing on stderr but errors.",
    )(function)


def timeout_option(**attrs: Any) -> Callable[[F], F]:
    """`--timeout`, with `WAITBUS_TIMEOUT` as its default: seconds, or None."""
    attrs = {"help": "Wait at most 10m; or none.", **attrs}
    return option("--timeout", type=DURATION, envvar="WAITBUS_TIMEOUT", show_envvar=True, group="Time", **attrs)


def _take(setting: Callable[[bool], None]) -> Callable[[click.Context, click.Parameter, bool], bool]:
    def callback(_ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
        if value:
            setting(True)
        return value

    return callback
