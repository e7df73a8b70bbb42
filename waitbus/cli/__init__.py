"""The command line: a static table of commands (`table`), loaded one module at a time, only when called (`lazy`).

To add a command, write a module and one line in `table.COMMANDS`::

    # waitbus/cli/cursor.py
    from waitbus.cli import output
    from waitbus.cli.command import command
    from waitbus.cli.options import json_option, option

    @command("cursor", examples=[("waitbus cursor", 0), ("waitbus cursor --json", 0)])
    @option("--at", type=TIME, group="Which", help="The cursor of that time.")
    @json_option
    def cursor(at: int | None, as_json: bool) -> int | None:
        \"\"\"Print the cursor of now, to wait from later.\"\"\"
        output.data(...)          # stdout: what was asked for
        output.talk("armed")      # stderr: everything else, silent under -q
        return 0                  # the exit code; None is 0

An example is (line, exit code) or (line, exit code, setup), the setup a key of `SETUPS` in tests/cli/test_examples.py.
A group is `command.group("bookmark")` with `@bookmark.command("list", examples=[...])`. The arguments of a child come by
`command(..., tail="command")`. An event is printed by `output.data(render.line(frame, paint=output.verdict))`, JSON by
`output.record(frame.to_dict())`.

Failures are raised: any `waitbus.errors.WaitbusError` becomes `error:` and `hint:` with its exit code.
"""

from __future__ import annotations

import sys

from waitbus.cli import output
from waitbus.errors import OutputUnwritable

TYPE_CHECKING = False  # typing is 8 ms, a quarter of `waitbus --version`; mypy knows the name by itself
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, *, standalone: bool = True) -> int:
    """Run one command line, by default the process's own, and leave the process with its exit code.

    With `standalone=False` the exit code is returned instead, for tests inside one process. What can be answered from
    static data (`--version`, `--help`) is answered before click is imported: click is two thirds of a start.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    output.begin()
    try:
        code = _run(args)
    except KeyboardInterrupt:
        code = output.interrupted()
    except (OSError, ImportError) as error:  # no file handle is left to load even `program` by
        output.use_spare()
        from waitbus.cli.program import failed

        code = failed(error, args)
    if standalone:
        output.leave(code)
    return output.settle(code)


def _run(args: list[str]) -> int:
    answer = _static_answer(args)
    if answer is not None:
        return _print(answer)
    from waitbus.cli.program import run

    return run(args)


def _print(page: str) -> int:
    try:
        output.data(page)
    except output.ReaderLeft:
        return output.EXIT_PIPE
    except OutputUnwritable as error:
        return output.fail(error.message, error.hint, error.exit_code)
    return 0


def _static_answer(args: list[str]) -> str | None:
    if args == ["--version"] or args == ["-V"]:
        from waitbus import __version__

        return f"waitbus {__version__}"
    if not args or args == ["--help"] or args == ["-h"]:
        if output.completing():
            return None
        from waitbus.cli.table import help_text

        return help_text()
    return None
