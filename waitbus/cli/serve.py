"""`waitbus serve`: the daemon in the foreground, as systemd, launchd, a terminal or `&` would have it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from waitbus.cli.command import Command, command
from waitbus.render import neutral

if TYPE_CHECKING:
    from typing import TextIO

HELP = """Serve the bus to many waiters at once, until SIGTERM or Ctrl-C.

Nothing needs it: without a daemon, `emit` and `wait` use the log directly. It wakes each waiter only for what that one waits
for, and keeps the log to its limits. On SIGTERM everybody gets what was committed until then; on SIGHUP the configuration is
read anew.
"""


def serve_command(path: str) -> Command:
    """The command as it is called at `path`: `waitbus serve`, or `waitbus broadcast serve` as in 0.2."""
    examples = [
        (f"{path} & sleep 2; kill $!; wait $!", 0),
        (f"WAITBUS_LOG_LEVEL=debug timeout --preserve-status 2 {path}", 0),
    ]
    return command("serve", examples=examples, help=HELP)(_serve)


def _serve() -> None:
    # trio's receiver stands between start and drain; a signal that is sent twice, as `timeout` does, may come outside of that,
    # and one to a daemon that is just being started while it imports.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    import trio

    from waitbus import config, daemon

    settings = config.load()
    log_to(sys.stderr, settings.log_level)
    trio.run(daemon.serve, settings, config.load)


def _leave(*_: object) -> None:
    os._exit(0)


def log_to(stream: TextIO | None, level: str) -> None:
    """Send what the logger `waitbus` says to `stream`, one short line each, instead of wherever it went."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines(timed="JOURNAL_STREAM" not in os.environ))
    logger = logging.getLogger("waitbus")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)


class Lines(logging.Formatter):
    """`09:14:02 warning: what happened`; the journal has the time already."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self.timed = timed

    def format(self, record: logging.LogRecord) -> str:
        word = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = neutral(f"{word}{record.getMessage()}")
        if record.exc_info and record.levelno < logging.INFO:
            line += "\n" + self.formatException(record.exc_info)
        return f"{self.formatTime(record, self.datefmt)} {line}" if self.timed else line


serve = serve_command("waitbus serve")
