"""What the child of `on` is given, and what `on` refuses. Children are real; `on` runs in this process."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import support
from tests.logs import tell, told
from waitbus.cli.handover import NAMES, VALUE_MAX, environment, event_file
from waitbus.events import EventFrame, Fields

Call = Callable[..., support.Result]
PAST = ("--since", "1h")
SHA = "7f3a1b2c" + "0" * 32
VARIABLES = {f"WAITBUS_{name}" for name in NAMES}


def frame(**given: Any) -> EventFrame:
    columns = {"event_id": "ID", "event_type": "e", "owner": "local", "repo": "r", "received_at": 1, "delivery_id": "d"}
    fields = Fields(given.pop("fields", {}))
    return EventFrame(**{**columns, "summary": "s", "source": "agent", **given}, fields=fields)


# -- the environment ---------------------------------------------------------------------------------------------------


def test_exactly_these_variables_are_set() -> None:
    fields = {"head_sha": SHA, "status": "completed", "conclusion": "success", "env": "staging"}
    child = environment(frame(fields=fields), "success", "/tmp/f", {"HOME": "/h", "WAITBUS_STATE_DIR": "/s"})
    assert child == {
        "HOME": "/h",
        "WAITBUS_STATE_DIR": "/s",
        "WAITBUS_EVENT_FILE": "/tmp/f",
        "WAITBUS_EVENT_ID": "ID",
        "WAITBUS_EVENT_TYPE": "e",
        "WAITBUS_SOURCE": "agent",
        "WAITBUS_OWNER": "local",
        "WAITBUS_REPO": "r",
        "WAITBUS_HEAD_SHA": SHA,
        "WAITBUS_STATUS": "completed",
        "WAITBUS_CONCLUSION": "success",
        "WAITBUS_VERDICT": "success",
        "WAITBUS_SUMMARY": "s",
    }


def test_what_the_event_does_not_have_is_unset_even_if_inherited() -> None:
    inherited = dict.fromkeys(VARIABLES, "outer")
    child = environment(frame(), "none", "/tmp/f", inherited)
    assert VARIABLES - set(child) == {"WAITBUS_HEAD_SHA", "WAITBUS_STATUS", "WAITBUS_CONCLUSION"}
    assert "outer" not in child.values()


HOSTILE = [
    ("a\0b", "a\\x00b"),
    ("a\nb", "a\\nb"),
    ("\x1b[31m", "\\x1b[31m"),
    ("\u202eabc", "\\u202eabc"),
    ("\U000e0041", "\\U000e0041"),
    ("$(reboot) `id` ; #", "$(reboot) `id` ; #"),
]


@pytest.mark.parametrize(("value", "shown"), HOSTILE)
def test_hostile_values_are_neutral(value: str, shown: str) -> None:
    child = environment(frame(summary=value, repo=value), "none", "/tmp/f", {})
    assert (child["WAITBUS_SUMMARY"], child["WAITBUS_REPO"]) == (shown, shown)


@given(st.text(), st.text(max_size=50))
def test_no_value_can_break_an_environment(summary: str, sha: str) -> None:
    child = environment(frame(summary=summary, fields={"head_sha": sha * 2000}), "none", "/tmp/f", {})
    for value in child.values():
        os.fsencode(value)
        assert "\0" not in value
        assert "\n" not in value
        assert len(value) <= VALUE_MAX * 10


def test_the_file_is_ours_alone_and_gone_behind_the_block() -> None:
    event = frame(summary="\x1b\n\u202e", fields={"a": 1})
    with event_file(event) as path:
        facts = os.stat(path)
        assert stat.S_IMODE(facts.st_mode) == 0o600
        assert json.loads(Path(path).read_text()) == event.to_dict()
    assert not os.path.exists(path)


def test_a_file_that_the_child_removed_is_no_failure() -> None:
    with event_file(frame()) as path:
        os.unlink(path)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_child_gets_the_event(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_CONCLUSION", "outer")
    event = told(summary="done", fields={"env": "staging"})
    script = "env | grep ^WAITBUS_ | sort; cat $WAITBUS_EVENT_FILE; stat -c %a $WAITBUS_EVENT_FILE"
    result = call("on", "deploy_finished", *PAST, "--", "sh", "-c", script)
    *variables, file, mode = result.out.splitlines()
    mine = dict(line.split("=", 1) for line in variables if line.split("=")[0] in VARIABLES)
    path = mine.pop("WAITBUS_EVENT_FILE")
    assert mine == {
        "WAITBUS_EVENT_ID": event.event_id,
        "WAITBUS_EVENT_TYPE": "deploy_finished",
        "WAITBUS_SOURCE": "agent",
        "WAITBUS_OWNER": "local",
        "WAITBUS_REPO": "agent",
        "WAITBUS_VERDICT": "none",
        "WAITBUS_SUMMARY": "done",
    }
    assert (result.code, mode) == (0, "600")
    assert json.loads(file)["event_id"] == event.event_id
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    "words",
    [
        ("--source", "foo"),
        ("--help",),
        ("--timeout", "99s", "--loop"),
        ("--", "a", "--"),
        ("", " ", "*", "$HOME", "a\nb"),
    ],
)
def test_what_stands_behind_the_dashes_is_the_commands_own(call: Call, words: tuple[str, ...]) -> None:
    tell()
    result = call("on", "deploy_finished", *PAST, "--", "sh", "-c", 'printf "<%s>" "$@"', "sh", *words)
    assert (result.code, result.out) == (0, "".join(f"<{word}>" for word in words))


CODES = [("exit 0", 0), ("exit 7", 7), ("exit 124", 124), ("kill -9 $$", 137), ("kill -15 $$", 143)]


@pytest.mark.parametrize(("script", "code"), CODES)
def test_the_exit_code_is_the_commands(call: Call, script: str, code: int) -> None:
    tell(conclusion="failure")
    assert call("on", "deploy_finished", *PAST, "--", "sh", "-c", script).code == code


def test_what_is_run_and_how_it_ended_is_said(call: Call) -> None:
    tell(conclusion="failure", fields={"name": "x\x1by"})
    lines = call("on", "deploy_finished", *PAST, "--timeout", "5s", "--", "sh", "-c", "kill -9 $$").err.splitlines()
    assert lines[-2] == "→ deploy_finished x\\x1by failure: sh -c 'kill -9 $$'"
    assert lines[-1].startswith("← SIGKILL after ")


def test_a_command_that_is_not_there(call: Call) -> None:
    tell()
    result = call("on", "deploy_finished", *PAST, "--", "no-such-command")
    assert result.code == 127
    assert result.err.splitlines()[-2:] == [
        "error: no command 'no-such-command'",
        "hint: is it installed, and its folder in PATH?",
    ]


def test_a_command_that_cannot_be_run(call: Call, tmp_path: Path) -> None:
    tell()
    plain = tmp_path / "notes"
    plain.write_text("nothing")
    result = call("on", "deploy_finished", *PAST, "--loop", "--", str(plain))
    assert result.code == 126
    assert result.err.splitlines()[-2:] == [
        f"error: cannot run '{plain}': Permission denied",
        f"hint: `chmod +x {plain}` makes it executable",
    ]


def test_a_script_without_its_first_line_is_the_shells(call: Call, tmp_path: Path) -> None:
    tell()
    script = tmp_path / "script"
    script.write_text("echo it is $1\n")
    script.chmod(0o755)
    assert call("on", "deploy_finished", *PAST, "--", str(script), "run").out == "it is run\n"


def test_an_event_too_large_for_an_environment_is_handed_over(call: Call) -> None:
    tell(head_sha="a" * 200_000)
    result = call(
        "on", "deploy_finished", *PAST, "--", "sh", "-c", "echo ${#WAITBUS_HEAD_SHA}; wc -c < $WAITBUS_EVENT_FILE"
    )
    length, size = map(int, result.out.split())
    assert (length, size > 200_000) == (VALUE_MAX, True)


# -- waits -------------------------------------------------------------------------------------------------------------


def test_time_is_up(call: Call) -> None:
    result = call("on", "deploy_finished", "--since", "now", "--timeout", "50ms", "--", "true")
    assert result.code == 124
    assert result.err.splitlines()[-1].startswith("timed out after ")


def test_fail_on_runs_nothing(call: Call) -> None:
    tell("bad")
    result = call("on", "good", "--fail-on", "event_type=bad", *PAST, "--", "echo", "ran")
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[-1] == "failed: --fail-on 'event_type=bad'"


def test_all_of_runs_it_once_all_are_met(call: Call) -> None:
    tell("a")
    tell("b")
    clauses = ("--all-of", "event_type=a", "--all-of", "event_type=b")
    assert call("on", *clauses, *PAST, "--", "sh", "-c", "echo $WAITBUS_EVENT_TYPE").out == "b\n"


def test_a_commit_that_is_done(call: Call) -> None:
    tell("workflow_run", "github", conclusion="success", head_sha=SHA, run_id=1)
    words = ("sh", "-c", "echo $WAITBUS_VERDICT $WAITBUS_HEAD_SHA")
    assert call("on", "--sha", SHA[:7], "--settle", "10ms", "--", *words).out == f"success {SHA}\n"


def test_in_a_loop_a_commit_is_a_filter(call: Call) -> None:
    for conclusion in ("failure", "success"):
        tell("workflow_run", "github", conclusion=conclusion, head_sha=SHA, run_id=1)
        tell("workflow_run", "github", conclusion=conclusion, head_sha="a" * 40, run_id=2)
    words = ("sh", "-c", "echo $WAITBUS_CONCLUSION")
    result = call("on", "--sha", SHA[:7], "--loop", *PAST, "--timeout", "200ms", "--", *words)
    assert (result.code, result.out) == (124, "failure\nsuccess\n")


def test_a_loop_runs_it_for_each_in_order(call: Call) -> None:
    for number in range(5):
        tell(fields={"name": f"n{number}"})
    words = ("sh", "-c", 'grep -o "n[0-9]" $WAITBUS_EVENT_FILE | head -1; exit 3')
    result = call("on", "deploy_finished", "--loop", *PAST, "--timeout", "300ms", "--", *words)
    assert (result.code, result.out.split()) == (124, ["n0", "n1", "n2", "n3", "n4"])


def test_a_loop_with_debounce_runs_it_once_for_a_burst(call: Call) -> None:
    """With the last event of it; a burst that is going on when time is up is run for, too."""
    for number in range(5):
        tell(fields={"name": f"n{number}"})
    words = ("sh", "-c", 'grep -o "n[0-9]" $WAITBUS_EVENT_FILE | head -1')
    for debounce, timeout in (("50ms", "2s"), ("1h", "100ms")):
        result = call("on", "deploy_finished", "--debounce", debounce, *PAST, "--timeout", timeout, "--", *words)
        assert (result.code, result.out.split()) == (0, ["n4"])
    result = call("on", "deploy_finished", "--loop", "--debounce", "50ms", *PAST, "--timeout", "300ms", "--", *words)
    assert (result.code, result.out.split()) == (124, ["n4"])


WRONG = [
    (("deploy",), "no command to run is given", "write it last: waitbus on [OPTIONS] [TYPE]... -- COMMAND [ARG]..."),
    (("deploy", "--"), "no command to run is given", "write it last: waitbus on [OPTIONS] [TYPE]... -- COMMAND [ARG]..."),
    (("--", "true"), "nothing to wait for", "name an event type, or use --source, --match, --sha or a clause"),
    (("x", "--restart", "--", "true"), "--restart without --loop restarts nothing", "add --loop"),
    (("x", "--stop-timeout", "x", "--", "true"), "--stop-timeout 'x' is not a duration", "write 500ms, 30s, 10m or 1h30m"),
    (("x", "--bogus", "--", "true"), "no option '--bogus'", "see `waitbus on --help`"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "hint"), WRONG, ids=[" ".join(options) for options, _, _ in WRONG])
def test_what_is_asked_wrongly_is_said(call: Call, options: tuple[str, ...], error: str, hint: str) -> None:
    result = call("on", *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [f"error: {error}", f"hint: {hint}"]
