"""Ctrl-C while a command is loaded: exit code 130 and not a word, where Python would print a traceback.

Python makes an exception of SIGINT and raises it between any two lines. While modules are loaded nobody is there to answer it,
and some of those lines (callbacks of the import system's own) print it and go on. So until a command begins its work, the
process ends there and then. What comes before our first line cannot be helped: the start of the interpreter with its `site`, the
first lines of a script that pip made, the loading of the package itself. There Python says what it likes.
"""

from __future__ import annotations

import os

# Not `signal`, which wraps this one in enums: importing those takes longer than all that `waitbus --version` does.
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]

EXIT_INTERRUPTED = 130


def end_at_once() -> None:
    """From here on SIGINT ends the process; not where whoever started it has it ignored."""
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, end)


def become_exception() -> None:
    """From here on SIGINT is a KeyboardInterrupt again: a command has begun what may have to be undone."""
    if getsignal(SIGINT) is end:
        signal(SIGINT, default_int_handler)


def end(*_: object) -> None:
    """End the process as interrupted, with the line that `^C` left behind on a terminal."""
    if os.isatty(2):
        os.write(2, b"\n")
    os._exit(EXIT_INTERRUPTED)
