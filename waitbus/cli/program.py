"""One command line from words to exit code: every failure becomes two lines, a bug one line and a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import click

from waitbus.cli import output
from waitbus.cli.lazy import root
from waitbus.errors import EXIT_BUG, EXIT_NO
from waitbus.interrupt import EXIT_INTERRUPTED


def run(args: Sequence[str], program: click.Group | None = None) -> int:
    """Run `args` and give the exit code; prints what is to be printed and raises nothing."""
    program = root() if program is None else program
    if output.completing():
        return _complete(program)
    try:
        return _exit_code(_invoke(program, list(args)))
    except BaseException as error:  # the last boundary: nothing may reach Python's own traceback
        return failed(error, args)


def failed(error: BaseException, args: Sequence[str]) -> int:
    """Say what `error` means for whoever typed `args`; gives the exit code."""
    output.use_spare()
    from waitbus.cli.failures import failure_of

    if isinstance(error, click.UsageError):
        _take_in(args)
    found = failure_of(error)
    if found is None:
        return _bug(error, args)
    if isinstance(found, int):
        return output.interrupted() if found == EXIT_INTERRUPTED else found
    return output.fail(found.message, found.hint, found.exit_code)


def _invoke(program: click.Group, args: list[str]) -> Any:
    # Not click's main(): it prints on Ctrl-C, and takes any EPIPE, a daemon's too, for a reader that left.
    with program.make_context("waitbus", args) as ctx:
        return program.invoke(ctx)


def _exit_code(result: Any) -> int:
    return result if isinstance(result, int) else 0


def _bug(error: BaseException, args: Sequence[str]) -> int:
    from waitbus.cli import report

    path = report.write(error, args)
    hint = f"please report it, with the file {path}" if path else "please report it; no report could be written"
    return output.fail(f"internal error: {report.summary(error)} (a bug)", hint, EXIT_BUG)


def _take_in(args: Sequence[str]) -> None:
    """The form of errors that was typed, where parsing failed before it was reached. A child's own is behind `--`."""
    own = args[: list(args).index("--")] if "--" in args else args
    pairs = list(pairwise(own))
    if "--json" in own or "--format=json" in own or ("--format", "json") in pairs:
        output.speak_json()
    if "--lines=agent" in own or ("--lines", "agent") in pairs:
        output.speak_to_agent()


def _complete(program: click.Group) -> int:
    from click.shell_completion import shell_complete

    instruction = os.environ[output.COMPLETE_VARIABLE]
    try:
        return shell_complete(program, {}, "waitbus", output.COMPLETE_VARIABLE, instruction)
    except Exception:  # no words of a command line with it, say: a shell has no use for a sentence of ours
        return EXIT_NO
