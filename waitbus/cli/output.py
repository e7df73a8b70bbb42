"""What goes where: stdout is only what was asked for, stderr everything said besides. A pipe never sees talk.

`data` and `record` write stdout; `talk`, `warn` and `fail` write stderr. All text for people goes through
`render.neutral`, so that no event, file name or argument can move the cursor or hide its letters.

Exit codes of the pipe itself: a reader of stdout that went away (`| head -1`) is 141 as for any Unix tool killed by
SIGPIPE; a stdout that cannot be written (full disk) is 74. Both stand for an answer, 0 or 1, that did not arrive.
"""

from __future__ import annotations

import os
import sys

from waitbus.errors import EXIT_NO, OutputUnwritable
from waitbus.interrupt import EXIT_INTERRUPTED

TYPE_CHECKING = False  # typing is 8 ms; mypy knows the name by itself
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn, TextIO

EXIT_PIPE = 141
SENTENCE_MAX = 1000
"""Characters of an error or a hint."""
AGENT_LINE_MAX = 400
"""Characters of a line of `--lines agent`: each becomes a message to a model."""
COMPLETE_VARIABLE = "_WAITBUS_COMPLETE"
COMPLETIONS = ("bash_complete", "zsh_complete", "fish_complete")
"""What it holds where a shell asks."""
_COLOURS = {"success": "32", "failure": "31", "dim": "2"}


class ReaderLeft(Exception):
    """Nobody reads stdout any more. No `WaitbusError`, so that nobody who handles those goes on writing."""


class _Voice:
    """What the command line of this process asked for; `begin` makes it anew."""

    quiet = False
    json = False
    agent = False
    ended = False
    """Whether the last line for an agent was written."""
    spare: int | None = None
    """A file handle that is kept back: where none is left, what words the failure is loaded by it."""

    def __init__(self) -> None:
        self.doubted: set[str] = set()


_voice = _Voice()


def begin() -> None:
    """Forget the last command's `--json`, `--lines` and `-q`, and make both streams unable to fail on a character."""
    _voice.quiet = _voice.json = _voice.agent = _voice.ended = False
    _voice.doubted.clear()
    _keep_spare()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _keep_spare() -> None:
    if _voice.spare is None:
        try:
            _voice.spare = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            pass


def use_spare() -> None:
    """Give the spare file handle away: something failed, and is to be said."""
    spare, _voice.spare = _voice.spare, None
    if spare is not None:
        os.close(spare)


def be_quiet(on: bool = True) -> None:
    """Say nothing but errors (`-q`)."""
    _voice.quiet = on


def is_quiet() -> bool:
    return _voice.quiet


def speak_json(on: bool = True) -> None:
    """Errors, too, are JSON from here on (`--json`)."""
    _voice.json = on


def speak_to_agent(on: bool = True) -> None:
    """Failures, too, end stdout with a line that says so from here on (`--lines agent`)."""
    _voice.agent = on


def completing() -> bool:
    """Whether a shell is asking for completions rather than calling us."""
    return os.environ.get(COMPLETE_VARIABLE) in COMPLETIONS


# -- stdout ------------------------------------------------------------------------------------------------------------


def data(text: str, *, flush: bool = True) -> None:
    """One line (or a page) of what was asked for. The caller neutralises; `flush=False` for long lists.

    Raises:
      ReaderLeft: nobody reads it any more; let it pass, the process ends with 141.
      OutputUnwritable: it could not be written.
    """
    out = sys.stdout
    if out is None:
        return  # closed by the caller (`>&-`): the exit code is all they want
    try:
        out.write(text + "\n")
        if flush:
            out.flush()
    except OSError as error:
        raise _lost(error) from error


def record(value: Mapping[str, Any], *, flush: bool = True) -> None:
    """One JSON object, one line. UTF-8, or ASCII where stdout has another encoding: it is the same JSON."""
    from waitbus.render import json_line

    data(json_line(value, ascii_only=not _is_utf8(sys.stdout)), flush=flush)


def array(values: Sequence[Mapping[str, Any]]) -> None:
    """A JSON array with one object a line: as a whole it is JSON, and `grep` finds a whole object."""
    from waitbus.render import json_line

    ascii_only = not _is_utf8(sys.stdout)
    lines = (json_line(value, ascii_only=ascii_only) for value in values)
    body = ",\n".join(lines)
    data(f"[\n{body}\n]" if body else "[]")


def ending(text: str) -> None:
    """The last line for an agent, on stdout and once: how it ended. Shortened in the middle, since the exit code stands last.

    Raises:
      ReaderLeft, OutputUnwritable: as `data`.
    """
    from waitbus.render import neutral

    if not _voice.ended:
        _voice.ended = True
        line = neutral(text)
        data(line if len(line) <= AGENT_LINE_MAX else f"{line[: AGENT_LINE_MAX - 101]}…{line[-100:]}")


def verdict(word: str, stream: TextIO | None = None) -> str:
    """The word of a verdict, green, red or dim where the stream (stdout by default) shows colours."""
    if not colours(stream or sys.stdout):
        return word
    from waitbus.render import tone

    return f"\x1b[{_COLOURS[tone(word)]}m{word}\x1b[0m"


def colours(stream: TextIO | None) -> bool:
    """Whether to colour there: NO_COLOR forbids it, FORCE_COLOR asks for it, else a terminal that is not dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # closed


# -- stderr ------------------------------------------------------------------------------------------------------------


def talk(text: str, *, dim: bool = False) -> None:
    """One line about what goes on; silent under `-q`."""
    if not _voice.quiet:
        _say(text, dim=dim)


def warn(text: str) -> None:
    """`warning: ...`, one line; silent under `-q`."""
    if not _voice.quiet:
        _say(f"warning: {text}")


def doubt(text: str) -> None:
    """`warning: ...` about what was asked for, once in a command: it may be known beforehand, and met again with each event."""
    if text not in _voice.doubted:
        _voice.doubted.add(text)
        warn(text)


def fail(message: str, hint: str, exit_code: int) -> int:
    """`error:` and `hint:`, or one JSON object under `--json`; gives the exit code back. Never silent."""
    message, hint = _bounded(message), _bounded(hint)
    _end(f"error: {message}; exit {exit_code}")
    if _voice.json:
        from waitbus.render import json_line

        _write(json_line({"error": message, "hint": hint, "exit_code": exit_code}, ascii_only=not _is_utf8(sys.stderr)))
        return exit_code
    _say(f"error: {message}")
    if hint:
        _say(f"hint: {hint}")
    return exit_code


def _bounded(sentence: str) -> str:
    """A sentence with a value of a megabyte in it, cut in the middle: what is wrong with the value stands behind it."""
    if len(sentence) <= SENTENCE_MAX:
        return sentence
    half = SENTENCE_MAX // 2
    return f"{sentence[:half]} ... {sentence[-half:]}"


def interrupted() -> int:
    """Ctrl-C ended it, with nothing else to say; gives the exit code."""
    end_of_line()
    _end(f"interrupted, exit {EXIT_INTERRUPTED}")
    return EXIT_INTERRUPTED


def end_of_line() -> None:
    """After `^C` on a terminal, so that the prompt does not stand behind it."""
    if is_terminal(sys.stderr):
        _write("")


def _end(text: str) -> None:
    # That nobody reads stdout, or that it is full, may be the very failure that is told on stderr.
    if _voice.agent:
        try:
            ending(text)
        except (ReaderLeft, OutputUnwritable):
            pass


def hear_logging() -> None:
    """Warnings of the logger `waitbus` are said as `warning: ...`; call it where `logging` is imported already."""
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(record.getMessage())

    logger = logging.getLogger("waitbus")
    if not any(handler.name == "waitbus.cli" for handler in logger.handlers):
        handler = Handler(logging.WARNING)
        handler.name = "waitbus.cli"
        logger.addHandler(handler)


def _say(text: str, *, dim: bool = False) -> None:
    from waitbus.render import neutral

    text = neutral(text)
    _write(f"\x1b[2m{text}\x1b[0m" if dim and colours(sys.stderr) else text)


def _write(line: str) -> None:
    # Whoever closed stderr does not want to hear; the exit code still answers.
    try:
        if sys.stderr is not None:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _is_utf8(stream: TextIO | None) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "") == "utf8"


# -- the end -----------------------------------------------------------------------------------------------------------


def settle(code: int) -> int:
    """Flush stdout, and give the exit code that is true after that."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        if code > EXIT_NO:
            return code
        why = _lost(error)
        return fail(why.message, why.hint, why.exit_code) if isinstance(why, OutputUnwritable) else EXIT_PIPE
    return code


def _lost(error: OSError) -> ReaderLeft | OutputUnwritable:
    if isinstance(error, BrokenPipeError):
        return ReaderLeft()
    return OutputUnwritable(
        f"cannot write to standard output: {error.strerror}", hint="free space there, or write elsewhere"
    )


def leave(code: int) -> NoReturn:
    """Flush and end the process at once, without closing anything.

    Closing the log as its last user would checkpoint it: four fsyncs that no one-shot command owes anybody. What is
    committed is safe without them, and the kernel closes files, locks and sockets.
    """
    code = settle(code)
    os._exit(code)
