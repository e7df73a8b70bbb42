"""`waitbus read-events list|watch`: the newest events, of this repository or of everything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import schemas, support
from tests.e2e.terminal import Terminal
from tests.logs import tell
from waitbus.client import bookmarks

Call = Callable[..., support.Result]


def run(number: int, repo: str = "octo/hello", **keywords: Any) -> str:
    owner, _, name = repo.partition("/")
    return tell("workflow_run", source="github", owner=owner, repo=name, run_id=number, **keywords)


def job(number: int, run: int, **keywords: Any) -> str:
    given = {"source": "github", "owner": "octo", "repo": "hello", "job_id": number, "parent_run_id": run}
    return tell("workflow_job", **{**given, **keywords})


@pytest.fixture
def checkout(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of octo/hello, and in it."""
    folder = home / "hello"
    support.run(["git", "init", "-q", str(folder)])
    support.run(["git", "-C", str(folder), "remote", "add", "origin", "git@github.com:octo/hello.git"])
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def nowhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(home))
    monkeypatch.chdir(home)


def seqs(done: support.Result) -> list[int]:
    return [event["seq"] for event in schemas.conform("read-events-list", json.loads(done.out))]


# -- list --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nowhere")
def test_it_lists_the_newest_first_with_id_time_and_source(call: Call) -> None:
    a = tell("deploy", conclusion="success", received_at=1738324800 * 10**9)
    b = run(7, conclusion="failure", workflow_name="CI", received_at=1738324861 * 10**9)
    done = call("read-events", "list")
    assert done.out.splitlines() == [
        f"{b}  2025-01-31T12:01:01Z  github  workflow_run  octo/hello  CI  failure",
        f"{a}  2025-01-31T12:00:00Z  agent  deploy  success",
    ]
    assert (done.code, done.err) == (0, "")


@pytest.mark.usefixtures("nowhere")
def test_json_is_an_array_of_flat_events(call: Call) -> None:
    """0.2's keys, and those it left out."""
    run(7, conclusion="failure", payload_json='{"x": 1}')
    (event,) = schemas.conform("read-events-list", json.loads(call("read-events", "list", "--json").out))
    assert (event["run_id"], event["conclusion"], event["payload_json"]) == (7, "failure", '{"x": 1}')
    assert event["event_id"]
    assert event["source"] == "github"
    (event,) = json.loads(call("read-events", "list", "--format", "cloudevent").out)
    schemas.conform("cloudevent", event)


@pytest.mark.usefixtures("nowhere")
def test_how_many(call: Call) -> None:
    for _ in range(12):
        tell("a")
    assert seqs(call("read-events", "list", "--json")) == list(range(12, 2, -1))
    assert seqs(call("read-events", "list", "--json", "--latest")) == [12]
    assert seqs(call("read-events", "list", "--json", "--last-n", "3")) == [12, 11, 10]
    assert seqs(call("read-events", "list", "--json", "--last-n", "100")) == list(range(12, 0, -1))


@pytest.mark.usefixtures("nowhere")
def test_which(call: Call) -> None:
    run(1)
    run(2, "octo/world")
    run(3, "other/hello", conclusion="failure")
    first = job(4, 1)
    tell("note")

    def listed(*argv: str) -> list[int]:
        return seqs(call("read-events", "list", "--json", *argv))[::-1]

    assert listed("--owner", "Octo", "--repo", "hello") == [1, 4]
    assert listed("--repo", "octo/hello") == [1, 4]
    assert listed("--repo", "octo/hello", "--owner", "octo") == [1, 4]
    assert listed("--owner", "octo") == [1, 2, 4]
    assert listed("--repo", "hello") == [1, 3, 4]
    assert listed("--event-type", "workflow_run") == [1, 2, 3]
    assert listed("--event-type", "workflow_job,note") == [4, 5]
    assert listed("--source", "agent") == [5]
    assert listed("--match", "conclusion=failure") == [3]
    assert listed("--since", first) == [5]
    assert listed("--all-events") == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("checkout")
def test_in_a_clone_it_is_about_that_repository_and_says_so(call: Call) -> None:
    run(1)
    run(2, "octo/world")
    tell("note")
    done = call("read-events", "list", "--json")
    assert seqs(done) == [1]
    assert done.err == "only octo/hello, the git origin here; --all-events shows everything\n"
    for argv in (["--all-events"], ["--source", "github", "--source", "agent"]):
        done = call("read-events", "list", "--json", *argv)
        assert (seqs(done), done.err) == ([3, 2, 1], "")
    assert seqs(call("read-events", "list", "--json", "--repo", "octo/world")) == [2]


@pytest.mark.usefixtures("nowhere")
def test_jobs_stand_below_their_run(call: Call) -> None:
    """The newest event of each; not among the events besides."""
    a = run(7, conclusion="failure", workflow_name="CI")
    job(1, 7, status="queued", job_name="lint")
    job(2, 7, conclusion="failure", job_name="test")
    b = job(1, 7, conclusion="success", job_name="lint")
    job(3, 8, job_name="other")
    done = call("read-events", "list", "--include-jobs")
    rows = [re.sub(r"  \S+Z  github  ", "  ", line) for line in done.out.splitlines()]
    assert rows[0] == f"{a}  workflow_run  octo/hello  CI  failure"
    assert rows[1] == f"    {b}  workflow_job  octo/hello  lint  success"
    assert rows[2].endswith("test  failure")
    assert len(rows) == 3
    (event,) = schemas.conform(
        "read-events-list", json.loads(call("read-events", "list", "--include-jobs", "--json").out)
    )
    assert [(one["job_id"], one["conclusion"]) for one in event["jobs"]] == [(1, "success"), (2, "failure")]


@pytest.mark.usefixtures("nowhere")
def test_an_empty_answer_says_why(call: Call) -> None:
    done = call("read-events", "list", "--json")
    assert (done.code, done.out, done.err) == (0, "[]\n", "no events (caught_up, the log is empty)\n")
    assert call("read-events", "list").out == ""
    tell("a")
    assert call("read-events", "list", "--source", "ci").err == "no events (filtered, 1 other event passed by)\n"
    assert call("read-events", "list", "--since", "now").err == "no events (caught_up, nothing is behind --since)\n"


@pytest.mark.usefixtures("nowhere")
def test_hostile_text_is_neutral_for_people_and_faithful_in_json(call: Call) -> None:
    evil = "a\x1b[2J\u202eb\nc"
    tell("a", summary=evil, owner=evil, repo=evil)
    assert call("read-events", "list").out.rstrip("\n").isprintable()
    assert json.loads(call("read-events", "list", "--json").out)[0]["owner"] == evil


def test_on_a_terminal_times_are_relative_and_verdicts_coloured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell("a", conclusion="failure")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(home)
    with Terminal([*support.WAITBUS, "read-events", "list"], env={"TERM": "xterm"}) as screen:
        assert screen.wait() == 0
    assert re.search(r"  [\d.]+ m?s ago  agent  a  \x1b\[31mfailure\x1b\[0m\r\n", screen.said), screen.said


# -- watch -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [("read-events", "watch"), ("read-events", "list", "--watch")])
def test_watching_prints_what_comes(spawn: Callable[..., Any], argv: tuple[str, ...], home: Path) -> None:
    tell("before")
    watch = spawn(*argv, "--source", "agent", cwd=home, env={"PYTHONPATH": str(Path(__file__).parents[2])})
    support.read_until(watch.stderr, "armed")
    a = tell("a", conclusion="success")
    assert watch.stdout.readline() == f"{a}  a  success\n"
    watch.send_signal(2)
    assert watch.wait(timeout=10) == 130


@pytest.mark.usefixtures("checkout")
def test_watching_chooses_as_listing_does(call: Call) -> None:
    run(1)
    run(2, "octo/world")
    done = call("read-events", "watch", "--since", "1h", "--timeout", "20ms", "--json")
    assert [frame["seq"] for frame in schemas.lines("read-events-watch", done.out)] == [1]
    assert "only octo/hello" in done.err
    done = call("read-events", "watch", "--since", "1h", "--count", "2", "--all-events", "--bookmark", "w")
    assert (done.code, done.out.count("\n")) == (0, 2)
    assert bookmarks.read("w") == done.out.splitlines()[1].split()[0]


# -- refused -----------------------------------------------------------------------------------------------------------

NAME_HINT = "as in --owner octo --repo hello, or --repo octo/hello"
TYPE_HINT = "a name is a-z, then a-z, 0-9 and _, as in workflow_run"
WATCH_HINT = "add --watch, or read forwards: `waitbus replay --bookmark NAME`"
LIST_HINT = "see `waitbus read-events list --help`"
BAD: list[tuple[list[str], str, str]] = [
    (["list", "--last-n", "0"], "--last-n '0' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["list", "--last-n", "-3"], "--last-n '-3' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["list", "--last-n", "many"], "--last-n 'many' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["list", "--latest", "--last-n", "3"], "--latest and --last-n are both given", "leave one of them out"),
    (["list", "--latest", "--watch"], "--latest and --watch are both given", "leave one of them out"),
    (["list", "--owner", "a/b"], "--owner 'a/b' is not a name", NAME_HINT),
    (["list", "--owner", ""], "--owner '' is not a name", NAME_HINT),
    (["list", "--repo", ""], "--repo '' is not a name", NAME_HINT),
    (["list", "--repo", "o/"], "--repo '' is not a name", NAME_HINT),
    (["list", "--repo", "a/b/c"], "--repo 'b/c' is not a name", NAME_HINT),
    (["list", "--repo", "a/*"], "--repo '*' is not a name", NAME_HINT),
    (["list", "--repo", "a/b", "--owner", "c"], "--owner 'c' and --repo 'a/b' name two owners", "leave --owner out"),
    (["list", "--event-type", "Run"], "--event-type 'Run' is not an event type", TYPE_HINT),
    (["list", "--bookmark", "b"], "--bookmark is about watching", WATCH_HINT),
    (["list", "--json", "--format", "text"], "--json and --format text are two forms", "leave one of them out"),
    (["watch", "--last-n", "3"], "no option '--last-n'", "see `waitbus read-events watch --help`"),
    (["wach"], "no command 'wach'", "did you mean 'watch'? `waitbus read-events --help` lists them all"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "error", "hint"), BAD, ids=[repr(argv)[:60] for argv, _, _ in BAD])
def test_bad_input_is_two_lines(call: Call, argv: list[str], error: str, hint: str) -> None:
    done = call("read-events", *argv)
    assert (done.code, done.out) == (2, "")
    if "--json" in argv:
        assert json.loads(done.err) == {"error": error, "hint": hint, "exit_code": 2}
    else:
        assert done.err == f"error: {error}\nhint: {hint}\n"
