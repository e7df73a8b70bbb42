"""What tests share: bounded waits, and a child process whose output can be awaited."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, NamedTuple, TypeVar

T = TypeVar("T")

PYTHON = sys.executable
WAITBUS = (PYTHON, "-m", "waitbus")
TICK = 0.01


def eventually(probe: Callable[[], T], timeout: float = 10, what: str = "") -> T:
    """The first truthy answer of `probe`, asked every 10 ms; AssertionError after `timeout` seconds.

    The only place in the tests where time is polled: wait on a socket, an exit or a line of output where there is one.
    """
    deadline = time.monotonic() + timeout
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {timeout} s: {what or probe}")
        time.sleep(TICK)
    return answer


def read_until(stream: IO[Any], text: str, timeout: float = 10) -> str:
    """What `stream` (a pipe) said up to and including the line that contains `text`.

    Reads the descriptor itself, one byte at a time once it is readable, so nothing after that line is swallowed.
    AssertionError, with what was read, at end of file or after `timeout` seconds.
    """
    said = b""
    wanted = text.encode()
    deadline = time.monotonic() + timeout
    while not (said.endswith(b"\n") and wanted in said.splitlines()[-1]):
        ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        byte = os.read(stream.fileno(), 1) if ready else b""
        if not byte:
            why = "the stream ended" if ready else f"{timeout} s passed"
            raise AssertionError(f"{why} before {text!r} was said; it said: {said.decode(errors='replace')!r}")
        said += byte
    return said.decode(errors="replace")


class Result(NamedTuple):
    """What a finished command left."""

    code: int
    out: str
    err: str


def run(
    argv: Sequence[str],
    *,
    timeout: float = 30,
    input: str | None = None,
    env: dict[str, str] | None = None,
    **kwargs: Any,
) -> Result:
    """Run `argv` to its end; `env` is added to the environment; standard input is empty unless `input` is given."""
    done = subprocess.run(
        list(argv),
        input=input if input is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
        **kwargs,
    )
    return Result(done.returncode, done.stdout, done.stderr)
