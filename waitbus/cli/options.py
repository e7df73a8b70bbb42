"""Options that several commands share, and the types of their values.

`option` is click's with `group=`, the heading it stands under in the help. The types read what `waitbus.quantities` reads, so
that a duration is the same thing in every command, and name the option in their error: `--timeout 'soon' is not a duration`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from waitbus.cli import output
from waitbus.cli.command import GroupedOption, NotedArgument, Usage, parameter_name
from waitbus.errors import InvalidPid, InvalidValue

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
"""Seconds as a float; None for `none`. Only for what may be for ever: None must not be taken for an option that was left out."""
FINITE_DURATION = Quantity("duration", "parse_finite_duration")
"""Seconds as a float; `none` is refused."""
SIZE = Quantity("size", "parse_size")
"""Bytes."""
TIME = Quantity("time", "parse_time")
"""Nanoseconds since 1970."""


class _Pid(_ParamType):
    name = "pid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        from waitbus.sources.pidfd import check_pid

        try:
            if not re.fullmatch("-?[0-9]{1,20}", value):
                raise InvalidPid(
                    f"{value!r} is not a process id", hint="a process id is a positive number, as in --pid 4242"
                )
            check_pid(int(value))
        except InvalidPid as error:
            what = parameter_name(param, ctx) if param is not None else ""
            raise Usage(f"{what} {error.message}".strip(), hint=error.hint, ctx=ctx) from None
        return int(value)


PID = _Pid()
"""A number that a process can have."""
_COUNTS = re.compile(r"0*[1-9][0-9]{0,17}")
"""What SQLite and `len` can take."""


class _Count(_ParamType):
    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if not _COUNTS.fullmatch(value):
            what = parameter_name(param, ctx) if param is not None else ""
            raise Usage(f"{what} {value!r} is not a number from 1 on".strip(), hint="write 1, 2, 3, ...", ctx=ctx)
        return int(value)


COUNT = _Count()
"""A whole number from 1 on."""


class _Since(_ParamType):
    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        from waitbus.client.start import parse_since

        try:
            return parse_since(value, what=parameter_name(param, ctx) if param is not None else "")
        except InvalidValue as error:
            raise Usage(error.message, hint=error.hint, ctx=ctx) from None


SINCE = _Since()
"""`now`, an event id (which is a cursor), a duration back from now, or a time: a `waitbus.client.start.Start`."""


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


def lines_option(function: F) -> F:
    """`--lines agent`: passed as `lines`; a failure, too, is the last line of stdout from then on."""
    return option(
        "--lines",
        type=click.Choice(["agent"]),
        is_eager=True,  # as with --json
        callback=_take(output.speak_to_agent),
        group="Output",
        help="agent: short lines with event ids; the last one says how it ended.",
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
    attrs = {"help": "Give up after that long, as in 10m [default: never].", **attrs}
    return option("--timeout", type=DURATION, envvar="WAITBUS_TIMEOUT", show_envvar=True, group="Time", **attrs)


def _take(setting: Callable[[bool], None]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value:
            setting(True)
        return value

    return callback
