"""The command line's frame, with tiny commands made here: what is typed, what is printed where, and the exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from tests import support
from waitbus.cli import lazy, main, output, table
from waitbus.cli.command import Command, Group, command, group
from waitbus.cli.options import (
    SINCE,
    SIZE,
    TIME,
    argument,
    json_option,
    option,
    quiet_option,
    timeout_option,
)
from waitbus.cli.program import run
from waitbus.client.start import Start
from waitbus.errors import LogFull, ServiceMissing

HANDLERS = (signal.SIGINT, signal.SIGTERM)


@command("probe", examples=[("waitbus probe x", 0), ("waitbus probe y --count 2", 0)])
@argument("what", default="nothing", note="what to look at")
@option("--count", type=int, default=1, group="What", help="How often.")
@option("--format", "format_", type=click.Choice(["text", "json"]), default="text", group="Output", help="Form.")
@option("--size", type=SIZE, group="Limits", help="Size.")
@option("--at", type=TIME, group="Time", help="When.")
@option("--since", type=SINCE, group="Time", help="From when.")
@timeout_option()
@json_option
@quiet_option
def probe(**given: Any) -> int | None:
    """Look at a thing.

    A note that stands last.
    """
    what = given["what"]
    if isinstance(what, str) and what.startswith("raise:"):
        raise RAISED[what.removeprefix("raise:")]
    output.talk("armed")
    output.warn("odd")
    output.data(repr({key: value for key, value in sorted(given.items()) if value not in (None, False)}))
    return 1 if what == "no" else None


RAISED: dict[str, BaseException] = {
    "full": LogFull("the disk is full", hint="make space"),
    "bug": TypeError("one\ntwo \x1b[31m"),
    "groups": BaseExceptionGroup("a", [ExceptionGroup("b", [ServiceMissing("no redis", hint="start it")])]),
    "both": ExceptionGroup("a", [ServiceMissing("no redis", hint="start it"), TypeError("x")]),
    "interrupt": KeyboardInterrupt(),
    "interrupts": BaseExceptionGroup("a", [KeyboardInterrupt(), LogFull("x")]),
    "exit": SystemExit(7),
    "socket": BrokenPipeError(32, "Broken pipe"),
    "hostile": LogFull("a\nerror: b\x1b[2J"),
}


@command("on", tail="command", examples=[("waitbus on -- true", 0)])
@argument("types", nargs=-1, note="event types")
@option("--source", multiple=True, group="What", help="Source.")
@json_option
def on_(types: tuple[str, ...], source: tuple[str, ...], as_json: bool, command: tuple[str, ...]) -> None:
    """React."""
    output.data(repr((types, source, as_json, command)))


@command("launch", tail="command", examples=[("waitbus launch true", 0)])
@option("--name", group="What", help="Name.")
def launch(name: str | None, command: tuple[str, ...]) -> int:
    """Launch."""
    output.data(repr((name, command)))
    return 0


@group("bookmark")
def bookmark() -> None:
    """Keep a place in the log."""


@bookmark.command("list", examples=[("waitbus bookmark list", 0)])
def bookmark_list() -> None:
    """List."""
    output.data("none")


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., support.Result]:
    """`call("probe", "x")` on a program of the commands above."""
    program = Group("waitbus", commands={c.name: c for c in (probe, on_, launch, bookmark) if c.name})

    def invoke(*argv: str) -> support.Result:
        output.begin()
        code = run(argv, program)
        sys.stdout.flush()
        return support.Result(code, *capfd.readouterr())

    return invoke


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (["prope"], "no command 'prope'", "did you mean 'probe'? `waitbus --help` lists them all"),
        (["zzz"], "no command 'zzz'", "`waitbus --help` lists them all"),
        (["bookmark"], "`waitbus bookmark` needs a command: list", "see `waitbus bookmark --help`"),
        (["bookmark", "lits"], "no command 'lits'", "did you mean 'list'? `waitbus bookmark --help` lists them all"),
        (["probe", "--conut", "1"], "no option '--conut'", "did you mean '--count'? see `waitbus probe --help`"),
        (["--quiet", "probe"], "no option '--quiet'", "options stand behind the command; `waitbus --help` lists"),
        (["probe", "--count"], "option '--count' requires an argument", "see `waitbus probe --help`"),
        (["probe", "--count", "x"], "--count 'x' is not a valid integer", "see `waitbus probe --help`"),
        (["probe", "--format", "txt"], "--format 'txt' is not one of 'text', 'json'", "see `waitbus probe --help`"),
        (
            ["probe", "a", "b"],
            "'b' is one word too many",
            "write waitbus probe [OPTIONS] [WHAT]; quote what has blanks in it",
        ),
        (["probe", "--timeout", "soon"], "--timeout 'soon' is not a duration", "write 500ms, 30s, 10m, 1h30m, or none"),
        (["probe", "--size", "big"], "--size 'big' is not a size", "write 500k"),
        (["probe", "--at", "never"], "--at 'never' is not a time", "write now"),
        (["probe", "--since", "x"], "--since 'x' is neither a cursor nor a time", "write now, 10m"),
        (["on", "a"], "no command to run is given", "write it last: waitbus on [OPTIONS] [TYPES]... -- COMMAND"),
        (["launch"], "no command to run is given", "write it last: waitbus launch [OPTIONS] -- COMMAND"),
    ],
)
def test_a_usage_error_is_two_lines_and_exit_2(
    call: Callable[..., support.Result], argv: list[str], error: str, hint: str
) -> None:
    """What was wrong, with the value; then what to do."""
    done = call(*argv)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first == f"error: {error}"
    assert second.startswith(f"hint: {hint}")


@pytest.mark.parametrize(
    ("what", "code", "err"),
    [
        ("full", 74, "error: the disk is full\nhint: make space\n"),
        ("groups", 69, "error: no redis\nhint: start it\n"),
        ("interrupt", 130, ""),
        ("interrupts", 130, ""),
        ("exit", 7, ""),
        ("hostile", 74, "error: a\\nerror: b\\x1b[2J\n"),
    ],
)
def test_a_failure_of_ours_is_its_sentence_and_its_exit_code(
    call: Callable[..., support.Result], what: str, code: int, err: str
) -> None:
    """Wherever it was raised, also alone inside exception groups."""
    assert call("probe", f"raise:{what}") == (code, "", err)


@pytest.mark.parametrize(("what", "name"), [("bug", "TypeError: one two \\x1b[31m"), ("both", "ExceptionGroup: a")])
def test_a_bug_is_two_lines_and_a_report(call: Callable[..., support.Result], home: Path, what: str, name: str) -> None:
    """Never a traceback on the terminal, always one in a file that only the user can read."""
    done = call("probe", f"raise:{what}")
    assert (done.code, done.out) == (70, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"error: internal error: {name}")
    assert first.endswith(" (a bug)")
    (report,) = (home / "s" / "reports").iterdir()
    assert second == f"hint: please report it, with the file {report}"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "Traceback (most recent call last)" in report.read_text()
    assert f"raise:{what}" in report.read_text()


def test_a_report_goes_to_the_temp_folder_where_the_state_folder_cannot_be_used(
    call: Callable[..., support.Result], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong WAITBUS_STATE_DIR must not hide a bug."""
    monkeypatch.setenv("WAITBUS_STATE_DIR", "relative")
    monkeypatch.setattr("tempfile.tempdir", str(home))
    done = call("probe", "raise:bug")
    assert f"with the file {home}/waitbus-bug-" in done.err


def test_reports_do_not_pile_up(call: Callable[..., support.Result], home: Path) -> None:
    """Twenty are kept, the newest among them."""
    for _ in range(25):
        last = call("probe", "raise:bug").err.split()[-1]
    kept = list((home / "s" / "reports").iterdir())
    assert len(kept) == 20
    assert Path(last) in kept


def test_a_broken_pipe_of_ours_is_no_reader_that_left(call: Callable[..., support.Result]) -> None:
    """EPIPE from a socket is a bug to be reported, not a quiet exit."""
    assert call("probe", "raise:socket").code == 70


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["probe", "raise:full", "--json"], 74),
        (["probe", "raise:bug", "--json"], 70),
        (["probe", "--json", "--count", "x"], 2),
        (["probe", "--count", "x", "--json"], 2),
        (["probe", "--conut", "--json"], 2),
        (["probe", "--count", "x", "--format", "json"], 2),
        (["prope", "--json"], 2),
    ],
)
def test_under_json_an_error_is_one_object(call: Callable[..., support.Result], argv: list[str], code: int) -> None:
    """Also where parsing failed before `--json` was reached."""
    done = call(*argv)
    said = json.loads(done.err)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert set(said) == {"error", "hint", "exit_code"}
    assert said["exit_code"] == code


def test_the_json_of_a_child_is_not_ours(call: Callable[..., support.Result]) -> None:
    assert call("on", "--sourc", "x", "--", "tool", "--json").err.startswith("error: no option '--sourc'\n")


# -- values ------------------------------------------------------------------------------------------------------------


def test_values_arrive_as_quantities(call: Callable[..., support.Result]) -> None:
    """Seconds, bytes, nanoseconds; the exit code is what the command returns."""
    done = call("probe", "x", "--timeout", "1h30m", "--size", "1KiB", "--at", "2025-01-31", "--since", "1738281600")
    assert eval(done.out, {"Start": Start}) == {
        "at": 1738281600 * 10**9,
        "count": 1,
        "format_": "text",
        "since": Start(at_ns=1738281600 * 10**9),
        "size": 1024,
        "timeout": 5400.0,
        "what": "x",
    }  # fmt: skip
    assert done.code == 0
    assert call("probe", "no").code == 1


def test_the_time_out_comes_from_the_environment(
    call: Callable[..., support.Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option wins, `none` included; a wrong variable is named as such."""
    monkeypatch.setenv("WAITBUS_TIMEOUT", "2m")
    assert "'timeout': 120.0" in call("probe").out
    assert "timeout" not in call("probe", "--timeout", "none").out
    monkeypatch.setenv("WAITBUS_TIMEOUT", "soon")
    assert call("probe").err.startswith("error: WAITBUS_TIMEOUT 'soon' is not a duration\n")


@pytest.mark.parametrize(
    ("argv", "seen"),
    [
        (["on", "--source", "a", "t1", "--", "echo", "--source", "foo", "--help"],
         (("t1",), ("a",), False, ("echo", "--source", "foo", "--help"))),
        (["on", "t1", "--source", "a", "t2", "--", "sh", "--", "--json", ""],
         (("t1", "t2"), ("a",), False, ("sh", "--", "--json", ""))),
        (["on", "--", "--help"], ((), (), False, ("--help",))),
        (["launch", "--name", "x", "--", "echo", "--name", "foo", "--help"], ("x", ("echo", "--name", "foo", "--help"))),
        (["launch", "make", "-j4", "--", "--name", "y"], (None, ("make", "-j4", "--", "--name", "y"))),
        (["launch", "--", "make", "--", "y"], (None, ("make", "--", "y"))),
    ],
)  # fmt: skip
def test_a_childs_arguments_are_left_alone(call: Callable[..., support.Result], argv: list[str], seen: object) -> None:
    """0.2 read them again as its own: wrong predicate, or its help and exit 0."""
    done = call(*argv)
    assert (done.code, done.err) == (0, "")
    assert eval(done.out) == seen


# -- help --------------------------------------------------------------------------------------------------------------


def test_help_is_a_sentence_examples_and_options_by_purpose(call: Callable[..., support.Result]) -> None:
    done = call("probe", "--help")
    assert (done.code, done.err) == (0, "")
    assert (
        done.out
        == """\
Look at a thing.

  waitbus probe x
  waitbus probe y --count 2

Usage: waitbus probe [OPTIONS] [WHAT]

Arguments:
  WHAT  what to look at

What:
  --count INTEGER  How often.

Limits:
  --size SIZE  Size.

Time:
  --at TIME           When.
  --since SINCE       From when.
  --timeout DURATION  Give up after that long, as in 10m [default: never].
                      [env var: WAITBUS_TIMEOUT]

Output:
  --format [text|json]  Form.
  --json                Print JSON, one object a line; errors too.
  -q, --quiet           Say nothing on stderr but errors.

Other:
  -h, --help  Show this page.

A note that stands last.
""".replace("[text|json]", "[text|json]" if "[text|json]" in done.out else "{text|json}")
    )


def test_a_groups_help_lists_its_commands(call: Callable[..., support.Result]) -> None:
    done = call("bookmark", "-h")
    assert done.code == 0
    assert done.out.startswith(
        "Keep a place in the log.\n\nUsage: waitbus bookmark COMMAND [OPTIONS]\n\nCommands:\n  list"
    )


PLANNED = {
    "": "wait on run emit status top ui",
    "Look": "read-events replay events stats cursor bookmark logs query",
    "Agents": "msg session channel publish notify claim mcp hook",
    "Sources": "source forward etag-poll pr-monitor watchdog-check allowlist",
    "Set up": "init serve broadcast listener install-systemd install-launchd uninstall install-credentials credentials"
    " config doctor db bridge completion verify-plugin",
    "Try": "demo swarm-demo stress",
}


def test_the_root_help_fits_on_a_terminal_when_everything_is_there() -> None:
    """At most 40 lines; the first commands keep their sentences, nobody is left out."""
    full = {heading: dict.fromkeys(names.split(), ("", "does things")) for heading, names in PLANNED.items()}
    page = table.help_text(full)
    assert page.count("\n") < 40
    assert max(map(len, page.splitlines())) <= 100
    for names in PLANNED.values():
        for name in names.split():
            assert f" {name}" in page
    assert "  wait    does things\n" in page


def test_the_root_help_shows_what_exists_in_the_order_of_the_table() -> None:
    page = table.help_text()
    assert page.count("\n") < 40
    assert [name for name, _ in table.entries() if f"  {name} " in page] == [name for name, _ in table.entries()]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_waitbus_alone_is_its_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv, standalone=False) == 0
    assert capsys.readouterr() == (table.help_text() + "\n", "")


def test_version_and_help_import_no_click() -> None:
    """They are asked for by scripts and prompts: 0.2 took 180 ms for each."""
    probe = (
        "import sys; from waitbus.cli import main; main([{!r}], standalone=False);"
        "print(sorted({{'click', 'typing', 'trio', 'attrs', 'sqlite3', 'json', 're'}} & set(sys.modules)))"
    )
    for argument_ in ("--version", "--help"):
        done = support.run([support.PYTHON, "-S", "-c", probe.format(argument_)], cwd=Path(table.__file__).parents[2])
        assert (done.code, done.out.splitlines()[-1]) == (0, "[]"), done.err


def test_every_command_in_the_table_is_there_with_its_name() -> None:
    for name, (where, text) in table.entries():
        assert not text.endswith("."), name
        found = lazy.root().get_command(click.Context(lazy.root()), name)
        assert found is not None
        assert found.name == name, where


# -- streams -----------------------------------------------------------------------------------------------------------


def test_talk_goes_to_stderr_and_quiet_silences_it(call: Callable[..., support.Result]) -> None:
    assert call("probe").err == "armed\nwarning: odd\n"
    assert call("probe", "-q").err == ""
    assert call("probe", "-q", "--count", "x").err.startswith("error: ")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "terminal", "coloured"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_only_verdicts_are_coloured_and_only_where_wanted(
    env: dict[str, str], terminal: bool, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    stream = Terminal() if terminal else io.StringIO()
    assert output.verdict("failure", stream) == ("\x1b[31mfailure\x1b[0m" if coloured else "failure")
    assert output.verdict("success", stream) == ("\x1b[32msuccess\x1b[0m" if coloured else "success")


def test_json_is_the_same_data_where_stdout_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    output.record({"name": "naïve ✓ \x1b\udc80"})
    assert json.loads(raw.getvalue().decode("latin-1")) == {"name": "naïve ✓ \x1b\udc80"}


def test_text_cannot_fail_on_an_encoding() -> None:
    done = support.run(
        [support.PYTHON, "-c", "from waitbus.cli import output; output.begin(); output.data('✓ ü')"],
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert (done.code, done.out) == (0, "\\u2713 \\xfc\n")


def _child(body: str, **kwargs: Any) -> subprocess.Popen[bytes]:
    """A process whose command line `waitbus probe` runs `body`."""
    script = (
        "import sys, types, click\n"
        "from waitbus.cli import main, output, table\n"
        "from waitbus.cli.command import command\n"
        f"@command('probe', examples=[])\ndef probe():\n    {body}\n"
        "sys.modules['probe_module'] = module = types.ModuleType('probe_module'); module.probe = probe\n"
        "table.COMMANDS['']['probe'] = ('probe_module:probe', 'probe')\n"
        "main(['probe'])\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [support.PYTHON, "-c", script], env=env, stderr=subprocess.PIPE, start_new_session=True, **kwargs
    )


@pytest.mark.parametrize(
    "body", ["[output.data('x' * 1000) for _ in range(1000)]", "[output.data('x', flush=False) for _ in range(10)]"]
)
def test_a_reader_that_left_is_quiet_and_141(body: str) -> None:
    """As for any Unix tool in `tool | head -1`, at a write or at the last flush."""
    reader, writer = os.pipe()
    os.close(reader)
    child = _child(body, stdout=writer)
    os.close(writer)
    assert child.communicate(timeout=30)[1] == b""
    assert child.returncode == 141


def test_a_time_out_stays_one_though_the_reader_left() -> None:
    """141 stands for an answer that did not arrive, not for what went wrong before."""
    reader, writer = os.pipe()
    os.close(reader)
    child = _child("output.data('x', flush=False); return 124", stdout=writer)
    os.close(writer)
    assert (child.communicate(timeout=30)[1], child.returncode) == (b"", 124)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("flush", [True, False])
def test_a_full_disk_under_stdout_is_said(flush: bool) -> None:
    with open("/dev/full", "w") as full:
        child = _child(f"output.data('x', flush={flush})", stdout=full)
        said = child.communicate(timeout=30)[1].decode()
    assert said.startswith("error: cannot write to standard output: No space left on device\nhint: ")
    assert child.returncode == 74


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_what_is_answered_without_click_is_no_exception(asked: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    left = subprocess.run([*support.WAITBUS, asked], stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert (left.returncode, left.stderr) == (141, b"")
    with open("/dev/full", "w") as full:
        done = subprocess.run([*support.WAITBUS, asked], stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.stderr.startswith(b"error: cannot write to standard output: No space left on device\nhint: ")
    assert done.returncode == 74


def test_leaving_runs_no_exit_handlers_and_loses_no_output() -> None:
    """Closing the log on the way out would cost four fsyncs."""
    body = "import atexit; atexit.register(output.warn, 'closed'); output.data('kept', flush=False); return 3"
    child = _child(body, stdout=subprocess.PIPE)
    assert (*child.communicate(timeout=30), child.returncode) == (b"kept\n", b"", 3)


def test_closed_streams_do_not_change_the_answer() -> None:
    """`waitbus ... >&- 2>&-`."""
    done = subprocess.run(
        ["sh", "-c", '"$0" -m waitbus wiat >&- 2>&-', support.PYTHON], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 2
    done = subprocess.run(
        ["sh", "-c", '"$0" -m waitbus --version >&-', support.PYTHON], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals_end_it_without_a_word(number: int, code: int) -> None:
    """SIGINT is 130; SIGTERM keeps its default, which a shell shows as 143."""
    reader, writer = os.pipe()
    child = _child("output.talk('armed'); import signal; signal.pause()", stdin=reader, stdout=writer)
    assert child.stderr is not None
    support.read_until(child.stderr, "armed")
    child.send_signal(number)
    assert child.wait(timeout=30) == code
    assert child.stderr.read() == b""
    child.stderr.close()
    os.close(reader)
    os.close(writer)


def test_warnings_of_the_library_are_talk() -> None:
    """`logging.getLogger("waitbus").warning(...)` reads `warning: ...`, once."""
    body = "import logging; output.hear_logging(); output.hear_logging(); logging.getLogger('waitbus.store').warning('a\\n%s', 1)"
    child = _child(body, stdout=subprocess.PIPE)
    assert child.communicate(timeout=30) == (b"", b"warning: a\\n1\n")


# -- completion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, cli: Callable[..., support.Result]) -> None:
    done = cli("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_WAITBUS_COMPLETE={shell}_complete" in done.out


@pytest.mark.parametrize(
    ("words", "word", "found"),
    [
        ("waitbus compl", 1, "plain,completion"),
        ("waitbus completion z", 2, "plain,zsh"),
        ("waitbus ", 1, "plain,completion"),
    ],
)
def test_completion_knows_commands_and_values(
    words: str, word: int, found: str, cli: Callable[..., support.Result]
) -> None:
    env = {"_WAITBUS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(word)}
    done = cli(env=env)
    assert (done.code, done.err) == (0, "")
    assert found in done.out.splitlines()


@pytest.mark.parametrize("value", ["", "garbage", "bash_source", "tcsh_complete"])
def test_a_variable_that_no_shell_of_ours_sets_is_no_question(value: str, cli: Callable[..., support.Result]) -> None:
    done = cli("emit", "deploy", env={"_WAITBUS_COMPLETE": value})
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("  deploy\n")


@pytest.mark.parametrize(
    "env", [{}, {"COMP_WORDS": "waitbus", "COMP_CWORD": "x"}, {"COMP_WORDS": "'", "COMP_CWORD": "1"}]
)
def test_a_shell_that_asks_badly_is_told_nothing(env: dict[str, str], cli: Callable[..., support.Result]) -> None:
    done = cli(env={"_WAITBUS_COMPLETE": "bash_complete", **env})
    assert done.err == ""
    assert done.code in (0, 1)


def test_completing_a_command_name_imports_no_command() -> None:
    """A tab must not cost what trio costs."""
    items = lazy.LazyGroup("waitbus", {"": {"wait": ("no.such.module:x", "block")}}).shell_complete(
        click.Context(Command("x")), "w"
    )
    assert [(item.value, item.help) for item in items] == [("wait", "block")]
