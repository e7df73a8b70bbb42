"""`waitbus wait`, called in this process: what it prints where, and its exit code."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import schemas, support
from tests.logs import tell
from tests.schemas import checked
from waitbus.cli import begun, spelling
from waitbus.cli.asking import Asked
from waitbus.cli.telling import Teller
from waitbus.client.start import Start
from waitbus.events import EventInsert, parse_event_id
from waitbus.predicate import Predicate
from waitbus.producer import emit_batch
from waitbus.sources import known_sources, source
from waitbus.sources.contract import SourceSettings
from waitbus.sources.watched import Watched

Call = Callable[..., support.Result]
PAST, NOW = ("--since", "1h"), ("--since", "now")
SOON = (*NOW, "--timeout", "50ms")
SHA = "7f3a1b2c" + "0" * 32


def last(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


# -- one event ---------------------------------------------------------------------------------------------------------

WORDS = [
    # (conclusion, options, exit code)
    (None, (), 0),
    ("success", (), 0),
    ("skipped", (), 0),
    ("failure", (), 1),
    ("cancelled", (), 1),
    ("startup_failure", (), 1),
    ("failure", ("--no-exit-status",), 0),
    ("failure", ("--exit-status",), 1),
    ("failure", ("--match", "conclusion=failure"), 0),
    ("failure", ("--match", 'fields.conclusion="failure"'), 0),
    ("failure", ("--cond", "failed"), 0),
    ("failure", ("--cond", "finished"), 1),
    ("failure", ("--match", "status=completed"), 1),
]


@pytest.mark.parametrize(("conclusion", "options", "code"), WORDS)
def test_the_answer_is_the_exit_code(call: Call, conclusion: str | None, options: tuple[str, ...], code: int) -> None:
    tell(status="completed", conclusion=conclusion)
    result = call("wait", "deploy_finished", *options, *PAST, "--timeout", "5s")
    assert (result.code, result.out) == (code, f"deploy_finished  {conclusion or 'completed'}\n")


WHICH = [
    (("deploy_finished",), True),
    (("other", "deploy_finished"), True),
    (("other",), False),
    (("--source", "agent"), True),
    (("--source", "pytest", "--source", "agent"), True),
    (("--source", "pytest"), False),
    (("--source", "pytest", "--match", "fields.source=agent"), False),
    (("--match", "env=staging"), True),
    (("--match", "env=staging", "--match", "env=production"), True),
    (("--match", "env=staging", "--match", "colour=blue"), False),
    (("--match", "tries>2"), True),
    (("--match", "tries>3"), False),
    (("--match", "payload.deep.er=1"), True),
    (("--match", "env~=^st.*ing$"), True),
    (("--to", "bob"), True),
    (("--to", "eve"), False),
    (("--repo", "Octo/HELLO"), True),
    (("--repo", "octo/*"), True),
    (("--repo", "octo/other"), False),
    (("--workflow", "CI"), True),
    (("--workflow", "CD"), False),
    (("--job", "test"), True),
    (("--sha", SHA[:7], "--match", "env=staging"), True),
    (("--sha", SHA[:7].upper(), "deploy_finished"), True),
    (("--sha", "abcdef0", "deploy_finished"), False),
]


@pytest.mark.parametrize(("options", "found"), WHICH, ids=[" ".join(options) for options, _ in WHICH])
def test_which_event_it_is(call: Call, options: tuple[str, ...], found: bool) -> None:
    tell(
        owner="octo",
        repo="hello",
        fields={"env": "staging", "tries": 3},
        payload_json='{"deep": {"er": 1}}',
        msg_to="bob",
        workflow_name="CI",
        job_name="test",
        head_sha=SHA,
    )
    result = call("wait", *options, *PAST, "--timeout", "50ms")
    assert result.code == (0 if found else 124), result


def test_progress_does_not_end_a_wait(call: Call) -> None:
    tell("workflow_run", "github", status="queued")
    assert call("wait", "--source", "github", *PAST, "--timeout", "50ms").code == 124
    assert call("wait", "--source", "github", "--match", "status=queued", *PAST, "--timeout", "5s").code == 0


def test_only_the_event_is_on_stdout(call: Call) -> None:
    tell()
    result = call("wait", "deploy_finished", *PAST, "--timeout", "5s")
    assert result.out == "deploy_finished\n"
    assert result.err.splitlines()[-1] == "armed"


def test_quiet_says_nothing_but_the_event(call: Call) -> None:
    tell()
    assert call("wait", "deploy_finished", *PAST, "-q") == (0, "deploy_finished\n", "")
    assert call("wait", "deploy_finished", *SOON, "-q") == (124, "", "")


def test_hostile_text_is_neutral(call: Call) -> None:
    tell(conclusion="success", summary="\x1b[31mred\u202e", fields={"name": "a\nb\x1b[2J"})
    result = call("wait", "deploy_finished", *PAST)
    assert result.out == "deploy_finished  a b\\x1b[2J  success  \\x1b[31mred\\u202e\n"


# -- forms -------------------------------------------------------------------------------------------------------------


def test_json_is_the_frame_and_how_it_ended(call: Call) -> None:
    event_id = tell(conclusion="failure", fields={"env": "staging"})
    result = call("wait", "deploy_finished", *PAST, "--json")
    frame = checked("wait", result.out)
    assert frame.pop("waited_s") >= 0
    assert frame["fields"]["env"] == "staging"
    picked = {
        key: frame[key] for key in ("event_id", "seq", "verdict", "clause", "outcome", "exit_code", "cursor", "kind")
    }
    assert picked == {
        "event_id": event_id,
        "seq": 1,
        "verdict": "failure",
        "clause": 'event_type="deploy_finished"',
        "outcome": "matched",
        "exit_code": 1,
        "cursor": event_id,
        "kind": "event",
    }


def test_json_without_an_event_is_one_object(call: Call) -> None:
    first = tell("other")
    result = call("wait", "deploy_finished", *SOON, "--json")
    ending = checked("wait", result.out)
    assert ending.pop("waited_s") >= 0.05
    assert ending == {"outcome": "timed_out", "exit_code": 124, "cursor": first}


def test_json_has_a_line_for_each_clause(call: Call) -> None:
    tell("a")
    tell("b", conclusion="failure")
    result = call("wait", "--all-of", "event_type=b", "--all-of", "agent:event_type=a", *PAST, "--format", "json")
    lines = schemas.lines("wait", result.out)
    assert [(line["clause"], line["verdict"], line.get("outcome")) for line in lines] == [
        ("agent:event_type=a", "none", None),
        ("event_type=b", "failure", "matched"),
    ]
    assert (result.code, lines[-1]["exit_code"]) == (1, 1)


def test_json_of_one_event_that_meets_all(call: Call) -> None:
    tell("a", fields={"env": "x"})
    result = call("wait", "--all-of", "event_type=a", "--all-of", "env=x", *PAST, "--json")
    assert [json.loads(line)["clause"] for line in result.out.splitlines()] == ["event_type=a", "env=x"]


def test_errors_are_json_too(call: Call) -> None:
    result = call("wait", "--match", "nonsense", "--json")
    assert (result.code, result.out) == (2, "")
    assert set(json.loads(result.err)) == {"error", "hint", "exit_code"}


def test_cloudevent(call: Call) -> None:
    event_id = tell(payload_json='{"a": 1}')
    found = json.loads(call("wait", "deploy_finished", *PAST, "--format", "cloudevent").out)
    assert (found["specversion"], found["id"], found["type"]) == ("1.0", event_id, "deploy_finished")
    assert call("wait", "deploy_finished", *SOON, "--format", "cloudevent").out == ""


def test_lines_for_agents(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short, each with its event id, and one last line that says how it ended; nothing of that on stderr alone."""
    event_id = tell(conclusion="failure", summary="x" * 400, fields={"name": "n" * 300})
    lines = call("wait", "deploy_finished", *PAST, "--lines", "agent").out.splitlines()
    assert lines[0].startswith(f"{event_id}  deploy_finished")
    assert all(len(line) <= 400 for line in lines)
    assert lines[1].startswith(f"{event_id}  matched after")
    assert lines[1].endswith("exit 1")
    assert len(lines) == 2
    late = call("wait", "other", *SOON, "--lines", "agent").out.splitlines()
    assert len(late) == 1
    assert late[0].startswith("timed out after")
    assert late[0].endswith(", exit 124")
    long = call("wait", "--match", f"name={'n' * 1000}", *SOON, "--lines", "agent").out.splitlines()
    assert [len(line) for line in long] == [400]
    assert long[0].endswith(f"; to go on: --since {event_id}, exit 124")
    wrong = call("wait", "--match", "nonsense", "--lines", "agent")
    assert wrong.out == "error: --match 'nonsense' is not a term; exit 2\n"
    assert wrong.err.startswith("error: --match 'nonsense' is not a term\nhint: ")
    monkeypatch.setenv("WAITBUS_STATE_DIR", "x" * 1000)
    long = call("wait", "x", *SOON, "--lines", "agent").out.splitlines()
    assert [len(line) for line in long] == [400]
    assert long[0].endswith(" is not an absolute path; exit 2")


@pytest.mark.parametrize(
    "options",
    [
        ("x", "--timeout", "soon"),
        ("x", "--timeotu", "1s"),
        ("x", "--timeout"),
        ("x", "--count", "x", "--match", "nonsense"),
        ("x", "--json"),
        ("x", "--format", "json"),
    ],
)
@pytest.mark.parametrize("asks", [("--lines", "agent"), ("--lines=agent",)])
@pytest.mark.parametrize("first", [True, False])
def test_a_fault_in_the_options_is_the_last_line_for_an_agent(
    call: Call, options: tuple[str, ...], asks: tuple[str, ...], first: bool
) -> None:
    """Also one that was found before `--lines` was reached."""
    done = call("wait", *asks, *options) if first else call("wait", *options, *asks)
    assert done.code == 2
    assert re.fullmatch("error: .*; exit 2\n", done.out)
    assert done.out.removeprefix("error: ").removesuffix("; exit 2\n") in done.err


def test_what_no_command_takes_is_the_last_line_for_an_agent_too(call: Call) -> None:
    """Whoever reads lines reads them of every command."""
    assert call("waitt", "x", "--lines", "agent").out == "error: no command 'waitt'; exit 2\n"
    assert call("on", "x", "--lines", "agent", "--", "true").out == "error: no option '--lines'; exit 2\n"
    assert call("on", "--sourc", "x", "--", "tool", "--lines", "agent").out == ""


def test_ctrl_c_before_it_waits_is_the_last_line_for_an_agent(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("waitbus.cli.wait.asked", interrupt)
    assert call("wait", "x", "--lines", "agent") == (130, "interrupted, exit 130\n", "")


def test_what_was_not_looked_at_did_not_pass_by(call: Call) -> None:
    """In a long log, time may be up before its end."""
    emit_batch(EventInsert(source="agent", event_type="x") for _ in range(20_000))
    line = call("wait", "other", "--since", "1h", "--timeout", "50ms").err.splitlines()[-1]
    passed = re.fullmatch(r"timed out after .* \(([\d,]+) events passed by\); to go on: --since (\w+)", line)
    assert passed is not None
    assert int(passed[1].replace(",", "")) == parse_event_id(passed[2]).seq < 20_000


# -- several -----------------------------------------------------------------------------------------------------------


def test_first_of_names_the_clause(call: Call) -> None:
    tell("b", conclusion="failure")
    result = call("wait", "--first-of", "event_type=a", "--first-of", "agent:event_type=b", *PAST)
    assert (result.code, result.out) == (1, "b  failure\n")
    assert result.err.splitlines()[-1] == "matched: --first-of 'agent:event_type=b'"


def test_fail_on_is_said(call: Call) -> None:
    tell("a", conclusion="failure")
    tell("b")
    result = call("wait", "b", "--fail-on", "conclusion=failure", *PAST)
    assert (result.code, result.out) == (1, "a  failure\n")
    assert result.err.splitlines()[-1] == "failed: --fail-on 'conclusion=failure'"


def test_none_of(call: Call) -> None:
    tell("b")
    result = call("wait", "--none-of", "event_type=b", *PAST, "--timeout", "5s")
    assert (result.code, result.err.splitlines()[-1]) == (1, "failed: --none-of 'event_type=b'")
    result = call("wait", "--none-of", "event_type=b", "--none-of", "event_type=c", *SOON)
    assert result.code == 0
    assert result.out == ""
    assert result.err.splitlines()[-1].startswith("quiet for ")
    assert result.err.splitlines()[-1].endswith(": nothing of 'event_type=b' or 'event_type=c'")


def test_count(call: Call) -> None:
    for _ in range(3):
        tell()
    result = call("wait", "deploy_finished", "--count", "3", *PAST)
    assert (result.code, result.out) == (0, "deploy_finished\n")
    assert result.err.splitlines()[-1].startswith("all 3 events came in ")
    late = call("wait", "deploy_finished", "--count", "4", *PAST, "--timeout", "500ms")
    assert late.code == 124
    assert ": 3 of 4 events came; to go on: --since " in late.err.splitlines()[-1]


def test_a_large_count_tells_every_event_and_ends_where_it_began(call: Call) -> None:
    """More than are kept: each is told once, and the cursor to go on from is before the first of them."""
    first = tell(conclusion="failure")
    emit_batch(EventInsert(source="agent", event_type="deploy_finished", fields={"n": n}) for n in range(1200))
    late = call("wait", "deploy_finished", "--count", "1202", *PAST, "--json", "--timeout", "1s")
    *lines, end = map(json.loads, late.out.splitlines())
    assert [line["fields"].get("n") for line in lines] == [None, *range(1200)]
    assert (end["outcome"], parse_event_id(end["cursor"]).seq) == ("timed_out", parse_event_id(first).seq - 1)
    assert f"1,201 of 1,202 events came; to go on: --since {end['cursor']}" in late.err

    result = call("wait", "deploy_finished", "--count", "1201", *PAST)
    assert result.code == 1
    assert sum(line.startswith("  ") for line in result.err.splitlines()) == 1200
    assert result.err.splitlines()[-1].endswith("; failed: 'event_type=\"deploy_finished\"'")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (("deploy_finished",), "'event_type=\"deploy_finished\"'"),
        (("--match", "event_type=deploy_finished"), "'event_type=\"deploy_finished\"'"),
        (("--all-of", "event_type=deploy_finished"), "--all-of 'event_type=deploy_finished'"),
        (("--first-of", "event_type=deploy_finished"), "--first-of 'event_type=deploy_finished'"),
    ],
)
def test_a_count_with_a_failure_names_what_was_written(call: Call, asked: tuple[str, ...], named: str) -> None:
    """And no option that nobody wrote."""
    tell(conclusion="failure")
    tell()
    result = call("wait", *asked, "--count", "2", *PAST)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("all 2 events came in ")
    assert result.err.splitlines()[-1].endswith(f"; failed: {named}")


def test_what_is_missing_beside_a_process_is_named_as_it_was_written(call: Call) -> None:
    line = call("wait", "x", "--pid", "1", *SOON).err.splitlines()[-1]
    assert ": 0 of 2 clauses met; missing 'event_type=\"x\"', --pid 1" in line
    alone = call("wait", "--all-of", "x=1", *SOON).err.splitlines()[-1]
    assert ": 0 of 1 clause met; missing --all-of 'x=1'" in alone


def test_a_wait_that_met_something_goes_on_from_before_it(call: Call) -> None:
    before, _, _ = tell("x"), tell("a"), tell("x")
    result = call("wait", "--all-of", "event_type=a", "--all-of", "event_type=b", *PAST, "--timeout", "50ms", "--json")
    assert last(result.out)["cursor"] == before
    tell("b")
    result = call("wait", "--all-of", "event_type=a", "--all-of", "event_type=b", "--since", before)
    assert result.code == 0


def test_fail_fast_says_so(call: Call) -> None:
    tell("a", conclusion="failure")
    result = call("wait", "--all-of", "event_type=a", "--all-of", "event_type=b", "--fail-fast", *PAST)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("failed: --all-of 'event_type=a', 1 of 2 clauses met after ")


def test_all_of_with_a_failure_says_which(call: Call) -> None:
    tell("a", conclusion="failure")
    tell("b")
    result = call("wait", "--all-of", "event_type=a", "--all-of", "event_type=b", *PAST)
    assert result.code == 1
    assert result.err.splitlines()[-1].endswith("; failed: --all-of 'event_type=a'")
    assert "  1/2  agent     a  failure" in result.err.splitlines()


# -- sha ---------------------------------------------------------------------------------------------------------------


def run_of(sha: str = SHA, conclusion: str | None = "success", **fields: Any) -> str:
    return tell("workflow_run", "github", owner="octo", repo="hello", conclusion=conclusion, head_sha=sha, **fields)


def test_a_commit_that_is_done_is_answered_from_the_log(call: Call) -> None:
    run_of(run_id=1, workflow_name="CI")
    result = call("wait", "--sha", SHA[:7], "--settle", "50ms", "--timeout", "5s")
    assert (result.code, result.out) == (0, "workflow_run  octo/hello  CI  success  7f3a1b2\n")


def test_behind_a_commit_that_was_done_before_the_wait_goes_on_from_its_own_start(call: Call) -> None:
    run_of(run_id=1)
    later = tell("x")
    result = call("wait", "--sha", SHA[:7], "--settle", "10ms", "--since", "now", "--json")
    assert checked("wait", result.out)["cursor"] == later


def test_a_commit_that_failed(call: Call) -> None:
    run_of(run_id=1)
    run_of(run_id=2, conclusion="failure")
    assert call("wait", "--sha", SHA[:7], "--timeout", "5s").code == 1
    assert call("wait", "--sha", SHA[:7], "--no-exit-status").code == 0


def test_a_commit_that_nobody_heard_of(call: Call) -> None:
    result = call("wait", "--sha", SHA[:7], "--timeout", "50ms")
    assert result.code == 124
    assert result.err.splitlines()[-1].split(": ", 1)[1].startswith("nothing of --sha 7f3a1b2")
    said = "waitbus: nothing here listens to GitHub; this ends only if something emits such an event"
    assert said in result.err.splitlines()


def test_two_commits_of_one_prefix(call: Call) -> None:
    run_of(run_id=1)
    run_of(SHA[:7] + "d" + "0" * 32, run_id=2)
    result = call("wait", "--sha", SHA[:7], "--timeout", "5s")
    assert result.code == 2
    assert result.err.splitlines()[-2].startswith("error: --sha '7f3a1b2' is the beginning of two commits: ")


def test_two_commits_are_both_waited_for(call: Call) -> None:
    run_of(run_id=1)
    run_of("a" * 40, run_id=2, conclusion="failure")
    result = call("wait", "--sha", SHA, "--sha", "a" * 40, "--settle", "10ms", "--timeout", "5s")
    assert result.code == 1
    assert result.err.splitlines()[-1].endswith(f"; failed: --sha {'a' * 40}")


# -- asked wrongly -----------------------------------------------------------------------------------------------------

TERM_HINT = "write KEY=VALUE, as in conclusion=failure; the operators are = != < <= > >= ^= *= ~= and KEY? (exists)"
SINCE_HINT = "write now, 10m, a time as in 2025-01-31T12:00:00Z, or an event id as `waitbus cursor` prints"
COMMIT_HINT = "give 7 to 40 hex digits, or a name as in `git rev-parse HEAD`"
NO_EVALUATOR = "there is none yet; a package adds one as an entry point of waitbus.evaluators.v1"
NO_CONDITION = "there are failed, finished, succeeded; a package adds one as an entry point of waitbus.conditions.v1"

WRONG = [
    # (options, error, hint)
    ((), "nothing to wait for", "name an event type, or use --source, --match, --sha or a clause"),
    (
        ("conclusion=failure",),
        "event type 'conclusion=failure' is not a name",
        "a term stands behind --match: --match 'conclusion=failure'",
    ),
    (("Deploy",), "event type 'Deploy' is not a name", "names are in lower case: deploy"),
    (("--source", "FS"), "--source 'FS' is not a name", "names are in lower case: fs"),
    (("--source", "a b"), "--source 'a b' is not a name", "a name is a-z, then a-z, 0-9 and _"),
    (("--match", "x"), "--match 'x' is not a term", TERM_HINT),
    (("x", "--timeout", "soon"), "--timeout 'soon' is not a duration", "write 500ms, 30s, 10m, 1h30m, or none"),
    (("x", "--since", "yore"), "--since 'yore' is neither a cursor nor a time", SINCE_HINT),
    (("x", "--repo", "octo"), "--repo 'octo' is not a repository", "write owner/name or owner/*"),
    (("--cond", "nope"), "no condition 'nope' is installed", NO_CONDITION),
    (("--eval", "cel:true"), "no evaluator 'cel' is installed", NO_EVALUATOR),
    (("--match-cel", "true"), "no evaluator 'cel' is installed", NO_EVALUATOR),
    (("--match-jmespath", "a"), "no evaluator 'jmespath' is installed", NO_EVALUATOR),
    (("--eval", "cel"), "--eval 'cel' is not NAME:EXPR", "write the evaluator, a colon, the expression"),
    (
        ("--all-of", "a=1", "--first-of", "b=1"),
        "--all-of and --first-of exclude each other",
        "use one of them; --fail-on and --none-of go with either",
    ),
    (
        ("--all-of", "a=1", "x"),
        'event_type="x" stands beside --all-of',
        "put it into a clause: SOURCE:KEY=VALUE,KEY=VALUE",
    ),
    (("--all-of", "a"), "--all-of 'a' is not a term", TERM_HINT),
    (("--none-of", "a=1"), "--none-of alone, without --timeout, could only end badly", "add --timeout 10m"),
    (
        ("--fail-on", "a=1", "--timeout", "none"),
        "--fail-on alone, without --timeout, could only end badly",
        "add --timeout 10m",
    ),
    (("x", "--count", "0"), "--count '0' is not a number from 1 on", "write 1, 2, 3, ..."),
    (("x", "--in-order"), "--in-order puts no clauses in order", "give --all-of at least twice, and no --sha or --pid"),
    (("x", "--fail-fast"), "--fail-fast ends nothing early", "it goes with --all-of"),
    (("--pid", "0"), "--pid 0 is not a process id", "a process id is a positive number, as in --pid 4242"),
    (("--pid", "-5"), "--pid -5 is not a process id", "a process id is a positive number, as in --pid 4242"),
    (("--pid", "x"), "--pid 'x' is not a process id", "a process id is a positive number, as in --pid 4242"),
    (("--sha", "abc"), "--sha 'abc' is no commit that git knows in {cwd}", COMMIT_HINT),
    (("--sha", "g" * 40), f"--sha '{'g' * 40}' is no commit that git knows in {{cwd}}", COMMIT_HINT),
    (
        ("--sha", "a" * 40, "--sha", "b" * 40, "x"),
        f"--sha '{'a' * 40}' and --sha '{'b' * 40}' stand beside other terms",
        "an event is about one commit: give one --sha, or clauses",
    ),
    (("x", "--lines", "agent", "--json"), "--lines agent and JSON are two forms", "leave one of them out"),
    (
        ("x", "--json", "--format", "cloudevent"),
        "--json and --format cloudevent are two forms",
        "leave one of them out",
    ),
    (
        ("x", "--format", "xml"),
        "--format 'xml' is not one of 'text', 'json', 'cloudevent'",
        "see `waitbus wait --help`",
    ),
    (
        ("x", "--since", "01M7XJ614PK8CHXM5935SQP1H1"),
        "the cursor 01M7XJ614PK8CHXM5935SQP1H1 belongs to another log",
        "`waitbus cursor` prints one of this log",
    ),
]


@pytest.mark.parametrize(
    ("options", "error", "hint"), WRONG, ids=[" ".join(options) or "nothing" for options, _, _ in WRONG]
)
def test_what_is_asked_wrongly_is_said_with_its_value(
    call: Call, options: tuple[str, ...], error: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("wait", *options)
    said = error.replace("{cwd}", str(tmp_path))
    assert result.code == 2
    if "--json" in options:
        assert json.loads(result.err) == {"error": said, "hint": hint, "exit_code": 2}
    else:
        assert result.err.splitlines()[-2:] == [f"error: {said}", f"hint: {hint}"]


# -- talk --------------------------------------------------------------------------------------------------------------


def test_no_daemon_is_said_once_a_day(call: Call) -> None:
    said = "waitbus: no daemon running; reading the log directly (start one with `waitbus serve`)"
    assert said in call("wait", "x", *SOON).err.splitlines()
    assert said not in call("wait", "x", *SOON).err.splitlines()


def test_no_limit_is_said_where_stderr_is_no_terminal(call: Call) -> None:
    tell()
    said = "waitbus: no --timeout, so this may wait for ever; WAITBUS_TIMEOUT sets one for all"
    assert said in call("wait", "deploy_finished", *PAST).err.splitlines()
    assert said not in call("wait", "deploy_finished", *PAST, "--timeout", "5s").err.splitlines()


def test_the_variable_sets_a_limit(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_TIMEOUT", "50ms")
    assert call("wait", "x", *NOW).code == 124
    monkeypatch.setenv("WAITBUS_TIMEOUT", "soon")
    assert call("wait", "x", *NOW).err.splitlines()[0] == "error: WAITBUS_TIMEOUT 'soon' is not a duration"


def test_none_on_the_command_line_wins_over_the_variable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--timeout none` is a value, not an option that was left out: the variable is not even read."""
    monkeypatch.setenv("WAITBUS_TIMEOUT", "soon")
    tell()
    assert call("wait", "deploy_finished", *PAST, "--timeout", "none").code == 0


def test_a_source_that_was_seen_is_not_doubted(call: Call) -> None:
    doubt = "warning: no source 'pytset' is known here; did you mean 'pytest'? Waiting anyway."
    assert doubt in call("wait", "--source", "pytset", *SOON).err.splitlines()
    tell(source="pytset")
    assert doubt not in call("wait", "--source", "pytset", *SOON).err.splitlines()


def test_a_key_that_was_seen_is_not_doubted(call: Call) -> None:
    options = ("--source", "pytest", "--match", "fields.colour=red", *SOON)
    assert "warning: no pytest event ever had a key 'fields.colour'" in call("wait", *options).err.splitlines()
    tell("pytest_session", "pytest", fields={"colour": "blue"})
    assert "warning" not in call("wait", *options).err


def test_keys_of_ones_own_events_are_no_doubt(call: Call) -> None:
    assert "warning" not in call("wait", "deploy_finished", "--match", "env=staging", *SOON).err


def test_a_quote_in_a_value_is_doubted(call: Call) -> None:
    assert "warning: " in call("wait", "--match", "env='staging'", *SOON).err


def test_the_names_in_spelling_are_the_built_in_sources() -> None:
    assert set(spelling.BUILT_IN) == set(known_sources())


# -- when it begins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("busy", "children", "age"),
    [
        (0.030, False, 0.040),  # less than the tick says it has run: it slept for a disk
        (0.044, False, 0.044),  # inside of the tick
        (0.060, False, 0.050),  # several threads
        (0.030, True, 0.030),  # a shell before: its start is not ours
    ],
)
def test_the_start_is_the_kernels_made_precise(
    busy: float, children: bool, age: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun, "_span_s", lambda: (0.050, 0.040))
    monkeypatch.setattr(begun, "_busy_s", lambda: busy)
    monkeypatch.setattr(begun, "_had_children", lambda: children)
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    assert begun.begun_ns() == 10**18 - int(age * 1e9)


def test_without_proc_it_begins_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begun, "_span_s", lambda: None)
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    assert begun.begun_ns() == 10**18


# -- sources that are down ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "docker"), ["docker"]),
        (("--source", "docker", "--source", "fs"), ["docker", "fs"]),
        (("--all-of", "docker:name=db", "--fail-on", "fs:name=x"), ["docker", "fs"]),
        (("docker_container",), ["docker"]),
        (("--all-of", "event_type=fs_change"), ["fs"]),
        (("deploy_finished",), []),
        (("--source", "agent"), []),
        (("--match", "env=staging"), []),
    ],
    ids=str,
)
def test_a_source_that_is_down_is_told_when_the_wait_begins(
    call: Call, words: tuple[str, ...], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the log, daemon or not; once, and not what was so in between. (Of a source that somebody else runs: one of its own tells
    the wait itself.)"""
    monkeypatch.setattr("waitbus.cli.watching.embedded", lambda _: ())
    tell("source_down", "waitbus", fields={"name": "docker", "reason": "the engine is gone"})
    tell("source_down", "waitbus", fields={"name": "fs", "reason": "a first reason"})
    tell("source_up", "waitbus", fields={"name": "fs"})
    tell("source_down", "waitbus", fields={"name": "fs", "reason": "the root is gone"})
    tell("source_down", "waitbus", fields={"name": "pytest", "reason": "never mind"})
    result = call("wait", *words, *PAST, "--timeout", "50ms")
    warnings = [line for line in result.err.splitlines() if "waiting on" in line]
    reasons = {"docker": "the engine is gone", "fs": "the root is gone"}
    assert warnings == [f"warning: {name} is down: {reasons[name]}; waiting on" for name in said]
    assert result.code == 124


def test_of_a_source_that_the_wait_runs_itself_nothing_is_told_from_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(Asked(predicate=Predicate.parse(source="fs"), start=Start()), "text")
    docker = Watched(source("docker"), SourceSettings, asked_ns=time.time_ns())
    teller.watched = [Watched(source("fs"), SourceSettings), docker]
    for name in ("fs", "docker"):
        teller.health(name, "the daemon was stopped")
    assert capsys.readouterr().err == "warning: docker is down: the daemon was stopped; waiting on\n"
    docker.runs = True
    teller.health("docker", None)
    assert capsys.readouterr().err == ""
