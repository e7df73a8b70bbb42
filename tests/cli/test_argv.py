"""Whatever is typed: no traceback, an exit code of the table, and nothing but data on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from waitbus.cli import lazy, main
from waitbus.events import EventInsert
from waitbus.producer import emit
from waitbus.render import neutral

CODES = {0, 1, 2, 69, 74, 75, 124, 126, 127}
"""docs/CONTRACTS.md, without a bug and without signals, of which nobody sends one here."""
LIMIT = 10.0
"""s of one command line, after which it counts as one that hangs."""
EXAMPLES = int(os.environ.get("WAITBUS_ARGV_EXAMPLES", "150"))

LEFT_OUT = {
    "waitbus demo": "starts a dozen processes and takes seconds; it has one flag",
    "waitbus run": "starts the words as a program; what it does with its own options is in test_bad_input",
    "waitbus serve": "runs until a signal comes; it has no options",
    "waitbus broadcast serve": "the same",
    "waitbus source run": "runs until a signal comes; what it does with its option is in test_source",
}
BOUNDED = {
    "waitbus wait": ("--timeout", "1ms"),
    "waitbus on": ("--timeout", "1ms"),
    "waitbus broadcast tap": ("--timeout", "1ms"),
    "waitbus replay": ("--timeout", "1ms"),
    "waitbus read-events watch": ("--timeout", "1ms"),
}
"""What would run for ever gets a time-out: of an option that is given twice the last counts, so it stands at the end."""
TALKS_BACK = "waitbus read-events list"
"""With --watch it goes on until it is interrupted, and has no time-out."""

COMMANDS = {name: command for name, command in lazy.iter_commands() if name not in LEFT_OUT}


def options(command: click.Command) -> list[str]:
    names = [name for param in command.params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"]
    return sorted({*names, "-h", "--help"} - {"--watch"})


# -- what is typed -----------------------------------------------------------------------------------------------------

HOSTILE = (
    "", " ", "-", "--", "---", "=", "-1", "0", "1", "2", "1ms", "10m", "none", "now", "1e9", "nan", "9" * 400,
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\nerror: b", "\r", "\u202egnp.exe", "\u2066x", "\u200b", "\U000e0041\U000e0042",
    "x" * 10_000, "é", "日本", "\udcff", "a\udc80b", "~", "*", "../nope/passwd", "/", "/dev/null", "{}", "[]", "'", '"', "\\",
    "$(reboot)", "%s%n", "@", "@-", "@/dev/null", "01M7XJ614PK8CHXM5935SQP1H1", "2025-01-31T12:00:00Z",
    "SELECT 1", "SELECT * FROM events", "-- x", "DELETE FROM events", "octo/hello", "octo/*", "deploy", "agent",
    "a=1", "fields.a?", "conclusion=failure", "a~=(", "a~=b", "payload.x.y=1", "pytest:a=1", "pytest:a=1,b=\"c,d\"", "{}\n{}",
)  # fmt: skip
"""Without NUL, which no argument can hold. Lone surrogates are what `os.fsdecode` makes of bytes that are no UTF-8."""

free = st.text(st.characters(exclude_characters="\0"), max_size=12)
raw = st.binary(max_size=8).filter(lambda data: b"\0" not in data).map(os.fsdecode)
numbers = st.one_of(st.integers(), st.floats()).map(str)
terms = st.builds(
    "{}{}{}".format,
    st.sampled_from(("source", "fields.a", "payload.b", "conclusion", "a.b", "@repo", "seq", "")),
    st.sampled_from(("=", "!=", "<", "<=", ">", ">=", "^=", "*=", "~=", "?", "")),
    st.one_of(st.sampled_from(HOSTILE), free),
)
words = st.one_of(st.sampled_from(HOSTILE), terms, numbers, free, raw).map(
    lambda word: (
        word if word in HOSTILE or not ("/" in word or "~" in word) else word.replace("/", ":").replace("~", ":")
    )
)
"""Among these, nothing that names a file outside of the test's folder but what is known to be safe."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A real command, real options (with `=` or without), and words of any kind, in any order."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    command = COMMANDS[name]
    option = st.sampled_from(options(command))
    pieces = st.one_of(
        st.tuples(option, words),
        st.tuples(option),
        st.tuples(words),
        st.builds(lambda a, b: (f"{a}={b}",), option, words),
    )
    argv = [*name.split()[1:], *(word for piece in draw(st.lists(pieces, max_size=5)) for word in piece)]
    if name in BOUNDED:
        at = argv.index("--") if "--" in argv else len(argv)
        argv[at:at] = BOUNDED[name]
    if name == "waitbus on":
        argv = [word for word in argv if word != "--"] + ["--", "true"]
    return argv


loose = st.lists(st.one_of(st.sampled_from(sorted({w for name in COMMANDS for w in name.split()})), words), max_size=6)
"""No grammar at all. What may run for ever, or was left out, gets another first word below."""


# -- what happens ------------------------------------------------------------------------------------------------------


class Hangs(BaseException):
    """The time of one command line was over."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    def over(_number: int, _frame: object) -> None:
        raise Hangs(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def apart(home: Path) -> Iterator[None]:
    """A current directory of its own, with nothing on stdin, for one command line."""
    before, kept = os.getcwd(), os.dup(0)
    folder = Path(tempfile.mkdtemp(dir=home))
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        os.chdir(folder)
        os.dup2(null, 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_CEILING_DIRECTORIES", str(home))
            patch.setattr(sys, "stdin", open(0, closefd=False))  # noqa: SIM115 - closed with the test
            yield
            sys.stdin.close()
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(null)
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def check(argv: list[str], home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    typed = " ".join(map(shlex.quote, argv))
    with apart(home), bounded(LIMIT):
        code = main(argv, standalone=False)
    out, err = capfd.readouterr()
    assert "Traceback" not in err, typed
    assert "internal error" not in err, f"{typed}\n{err}"
    assert code in CODES, (typed, code, err)
    for line in err.splitlines():
        assert line == neutral(line), typed
        assert len(line) < 4000, typed
    for said in ("error: ", "hint: ", "warning: ", "waitbus: "):
        assert not out.startswith(said), typed
    if code == 2 and not any(word.startswith("--j") or "json" in word for word in argv):
        assert err.count("error: ") >= 1, typed


SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SETTINGS
@given(argv=command_lines())
@example(argv=["wait", "--source", "\udcff", "--timeout", "1ms"])
@example(argv=["emit", "deploy", "--summary", "\udcff\x1b[31m", "--field", "a=\udcff"])
@example(argv=["bookmark", "set", "\udcff"])
@example(argv=["events", "query", "SELECT '\udcff'"])
@example(argv=["emit", "--batch", "\udcff"])
@example(argv=["wait", "--sha", "\udcff", "--timeout", "1ms"])
def test_a_command_never_breaks(argv: list[str], home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Any options, with any values, of any command."""
    seeded(home)
    check(argv, home, capfd)


@SETTINGS
@given(argv=loose)
def test_words_without_grammar_never_break(argv: list[str], home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first words are names of commands by chance only."""
    named = " ".join(["waitbus", *[word for word in argv if word != "--"][:2]])
    if any(f"{named} ".startswith(f"{name} ") for name in (*LEFT_OUT, *BOUNDED)) or "--watch" in argv:
        argv = ["", *argv]
    check(argv, home, capfd)


def seeded(home: Path) -> None:
    """An event, so that commands that read have something to print."""
    if not (home / "s" / "events.db").exists():
        emit(
            EventInsert(
                source="agent", event_type="deploy", conclusion="failure", summary="\x1b[31m\u202e", owner="octo"
            )
        )


def test_the_grammar_reaches_every_command() -> None:
    """A new command is either tried or left out with a reason."""
    names = {name for name, _ in lazy.iter_commands()}
    assert names >= set(LEFT_OUT) | set(BOUNDED) | {TALKS_BACK}
    assert all(options(command) for command in COMMANDS.values())


def test_json_stays_json_whatever_is_asked(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """stdout of a hostile event is one object, and the error of a hostile option is one, too."""
    check(["emit", "deploy", "--summary", "".join(map(chr, range(1, 256))) + "\udcff", "--json"], home, capfd)
    capfd.readouterr()
    main(["emit", "deploy", "--summary", string.printable, "--json"], standalone=False)
    (line,) = capfd.readouterr().out.splitlines()
    said: dict[str, Any] = json.loads(line)
    assert said["event"]["summary"] == string.printable
    main(["emit", "\x1b[31m\n\udcff", "--json"], standalone=False)
    (line,) = capfd.readouterr().err.splitlines()
    assert set(json.loads(line)) == {"error", "hint", "exit_code"}
