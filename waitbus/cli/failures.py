"""From an exception to what a person reads: one sentence, one hint, one exit code. Decides, and prints nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from waitbus import handles
from waitbus.cli import output
from waitbus.cli.command import Usage, near, parameter_name, see_help
from waitbus.errors import EXIT_LOG, EXIT_NO, EXIT_USAGE, WaitbusError
from waitbus.interrupt import EXIT_INTERRUPTED

OPTION_CUTOFF = 0.7
"""How alike two options are of which one was meant: `--count` is no slip for `--cond`."""


class Failure(NamedTuple):
    """What `output.fail` prints."""

    message: str
    hint: str
    exit_code: int


def failure_of(error: BaseException) -> Failure | int | None:
    """The failure that `error` stands for, a bare exit code where nothing is to be said, or None for a bug of ours."""
    leaves = list(_leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return EXIT_INTERRUPTED if all(isinstance(leaf, KeyboardInterrupt | WaitbusError) for leaf in leaves) else None
    if all(isinstance(leaf, WaitbusError) or handles.ran_out(leaf) for leaf in leaves) or len(leaves) == 1:
        # Several of ours at once have one cause (a daemon gone, a disk full): the first is it.
        return _single(leaves[0])
    return None


def _single(error: BaseException) -> Failure | int | None:
    if handles.ran_out(error):
        why = getattr(error, "strerror", None) or error  # without the name of a module that could not be loaded
        return Failure(f"no file handle is left ({why})", handles.HINT, EXIT_LOG)
    match error:
        case output.ReaderLeft():
            return output.EXIT_PIPE
        case WaitbusError():
            return Failure(error.message, error.hint, error.exit_code)
        case click.exceptions.Exit():
            return error.exit_code
        case click.UsageError():
            return Failure(*_usage(error), EXIT_USAGE)
        case click.ClickException():
            return Failure(_sentence(error.format_message()), see_help(None), EXIT_USAGE)
        case click.Abort():
            return EXIT_INTERRUPTED
        case SystemExit():
            return error.code if isinstance(error.code, int) else EXIT_NO if error.code else 0
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _usage(error: click.UsageError) -> tuple[str, str]:
    hint = see_help(error.ctx)
    match error:
        case Usage():
            return error.message, error.hint or hint
        case click.NoSuchOption():
            return f"no option {error.option_name!r}", _option_hint(error)
        case click.BadOptionUsage():
            return _sentence(error.message), hint
        case click.MissingParameter():
            return _missing(error), hint
        case click.BadParameter():
            return f"{_named(error)} {_sentence(error.message)}", hint
    return _sentence(error.format_message()), hint


def _option_hint(error: click.NoSuchOption) -> str:
    ctx = error.ctx
    if ctx is None:
        return see_help(None)
    # Without the dashes, in which all options are alike.
    options = {name.lstrip("-"): name for param in ctx.command.get_params(ctx) for name in param.opts if name[0] == "-"}
    meant = near(error.option_name.lstrip("-"), options, cutoff=OPTION_CUTOFF)
    if meant:
        return f"did you mean {options[meant]!r}? {see_help(ctx)}"
    if isinstance(ctx.command, click.Group):
        return f"options stand behind the command; `{ctx.command_path} --help` lists the commands"
    return see_help(ctx)


def _missing(error: click.MissingParameter) -> str:
    kind = error.param_type or (error.param.param_type_name if error.param else "parameter")
    choices = ""
    if error.param is not None:
        choices = error.param.type.get_missing_message(param=error.param, ctx=error.ctx) or ""
    more = f": {_sentence(' '.join(choices.split()))}" if choices else ""
    return f"missing {kind} {_named(error)}{more}"


def _named(error: click.BadParameter) -> str:
    if error.param_hint is not None:
        return error.param_hint if isinstance(error.param_hint, str) else ", ".join(error.param_hint)
    return parameter_name(error.param, error.ctx) if error.param is not None else "value"


def _sentence(text: str) -> str:
    """click's sentences begin with a capital and end with a full stop; ours stand behind `error:`."""
    text = text.strip().removesuffix(".")
    return text[:1].lower() + text[1:]
