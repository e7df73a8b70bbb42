"""`--sha`: the runs of a commit as a state, and what git is asked for."""

from __future__ import annotations

import itertools
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from waitbus.client import git
from waitbus.client.plan import Answer
from waitbus.client.sha import CommitState
from waitbus.document import Document
from waitbus.errors import InvalidCommit, InvalidPredicate
from waitbus.events import EventFrame, EventInsert, parse_event_id
from waitbus.producer import emit
from waitbus.store import Log

SHA = "7f3a1b2c" + "0" * 32
RUN, JOB = "workflow_run", "workflow_job"


_numbers = itertools.count(1)


def tell(event_type: str = RUN, conclusion: str | None = None, sha: str = SHA, **fields: Any) -> EventFrame:
    """Write an event of GitHub's and give it as it is read."""
    columns = {key: fields.pop(key) for key in ("owner", "repo", "received_at", "source") if key in fields}
    given = EventInsert(
        **{"source": "github", "owner": "octo", "repo": "hello", **columns},
        event_type=event_type,
        status="completed" if conclusion else "in_progress",
        conclusion=conclusion,
        fields={"head_sha": sha, "workflow_name": "CI", **fields},
    )
    return emit(given).event


class Commit:
    """A state, fed as a wait does it, at a time that the test sets (`now`). What is fed was committed at that moment."""

    def __init__(self, sha: str = SHA[:7], **asked: Any) -> None:
        self.begun = time.time()
        self.now = 0.0
        self.age = 0.0
        self.state = CommitState(sha, wall=lambda: self.begun + self.age, **asked)

    def feed(self, frame: EventFrame) -> Any:
        document = Document.of_frame(frame)
        if not any(predicate.matches(document) for predicate in self.state.alternatives):
            return None
        self.begun = parse_event_id(frame.event_id).at_ms / 1000
        return said(self.state.feed(frame, document, self.now))

    def begin(self, log: Log) -> Any:
        """Look at a log that was written `now` seconds ago."""
        self.age = self.now
        self.state.begin(log, self.now)
        return said(self.state.tick(self.now))

    def at(self, now: float) -> Any:
        self.now = now
        return said(self.state.tick(now))


def said(answer: Answer | None) -> Any:
    return answer and (answer.verdict, answer.frame and answer.frame.fields.get("workflow_name"))


# -- live --------------------------------------------------------------------------------------------------------------


def test_nothing_seen_is_no_answer_however_long() -> None:
    commit = Commit()
    assert commit.at(10_000) is None
    assert commit.state.wake_at is None


def test_all_runs_ended_and_quiet_for_three_seconds_is_success() -> None:
    commit = Commit()
    assert commit.feed(tell(run_id=1)) is None
    assert commit.feed(tell(run_id=2, workflow_name="Docs")) is None
    commit.now = 5.0
    assert commit.feed(tell(run_id=2, workflow_name="Docs", conclusion="success")) is None
    assert commit.at(100.0) is None
    assert commit.state.wake_at is None
    assert commit.feed(tell(run_id=1, conclusion="success")) is None
    assert commit.state.wake_at == 103.0
    assert commit.at(102.9) is None
    assert commit.at(103.0) == ("success", "CI")


def test_a_run_that_appears_while_it_settles_is_waited_for() -> None:
    commit = Commit()
    commit.feed(tell(run_id=1, conclusion="success"))
    commit.now = 2.0
    assert commit.feed(tell(run_id=2, workflow_name="Deploy")) is None
    assert commit.at(60.0) is None
    commit.feed(tell(run_id=2, workflow_name="Deploy", conclusion="skipped"))
    assert commit.at(64.0) == ("success", "Deploy")


def test_the_first_failure_ends_it_at_once() -> None:
    commit = Commit()
    commit.feed(tell(run_id=1))
    assert commit.feed(tell(run_id=2, workflow_name="Docs", conclusion="timed_out")) == ("failure", "Docs")


@pytest.mark.parametrize("conclusion", ["failure", "cancelled", "startup_failure", "action_required", "stale"])
def test_every_failing_conclusion_is_a_failure(conclusion: str) -> None:
    assert Commit().feed(tell(run_id=1, conclusion=conclusion)) == ("failure", "CI")


def test_a_conclusion_without_a_verdict_ends_a_run_and_says_nothing() -> None:
    commit = Commit(settle=0.0)
    assert commit.feed(tell(run_id=1, conclusion="novel")) == ("none", "CI")


def test_only_the_newest_attempt_counts() -> None:
    commit = Commit(settle=1.0)
    commit.feed(tell(run_id=1, run_attempt=2))
    assert commit.feed(tell(run_id=1, run_attempt=1, conclusion="failure")) is None
    assert commit.at(50.0) is None
    commit.feed(tell(run_id=1, run_attempt=2, conclusion="success"))
    assert commit.at(52.0) == ("success", "CI")


def test_a_new_attempt_opens_the_run_again() -> None:
    commit = Commit()
    commit.feed(tell(run_id=1, run_attempt=1, conclusion="success"))
    commit.feed(tell(run_id=1, run_attempt=2))
    assert commit.at(60.0) is None
    assert commit.feed(tell(run_id=1, run_attempt=2, conclusion="failure")) == ("failure", "CI")


def test_webhooks_that_come_late_do_not_open_what_has_ended() -> None:
    commit = Commit()
    commit.feed(tell(run_id=1, conclusion="success"))
    commit.now = 2.9
    assert commit.feed(tell(run_id=1)) is None
    assert commit.feed(tell(JOB, parent_run_id=1, job_id=5)) is None
    assert commit.at(3.5) == ("success", "CI")


def test_a_job_says_that_its_run_is_open_and_decides_nothing() -> None:
    commit = Commit()
    commit.feed(tell(JOB, parent_run_id=1, job_id=5, conclusion="failure", job_name="flaky"))
    assert commit.at(60.0) is None
    commit.feed(tell(run_id=1, conclusion="success"))
    assert commit.at(64.0) == ("success", "CI")


def test_a_job_of_a_new_attempt_opens_its_run_again() -> None:
    commit = Commit()
    commit.feed(tell(run_id=1, conclusion="success"))
    commit.feed(tell(JOB, parent_run_id=1, run_attempt=2, job_id=6))
    assert commit.at(60.0) is None


def test_checks_and_statuses_of_other_apps_count_for_nothing() -> None:
    commit = Commit(settle=0.0)
    for event_type in ("check_run", "check_suite", "status", "deployment_status", "push"):
        assert commit.feed(tell(event_type, conclusion="failure")) is None
    assert commit.at(60.0) is None


# -- narrowed ----------------------------------------------------------------------------------------------------------


def test_workflow_narrows_it_to_the_runs_of_that_name() -> None:
    commit = Commit(workflow="Docs", settle=0.0)
    assert commit.feed(tell(run_id=1, conclusion="failure")) is None
    assert commit.feed(tell(run_id=2, workflow_name="Docs", conclusion="success")) == ("success", "Docs")


def test_a_job_stands_in_the_place_of_the_runs() -> None:
    commit = Commit(job="test (3.11)", settle=0.0)
    assert commit.feed(tell(run_id=1, conclusion="failure")) is None
    assert commit.feed(tell(JOB, parent_run_id=1, job_id=4, job_name="lint", conclusion="failure")) is None
    assert commit.feed(tell(JOB, parent_run_id=1, job_id=5, job_name="test (3.11)")) is None
    assert commit.feed(tell(JOB, parent_run_id=1, job_id=5, job_name="test (3.11)", conclusion="success")) == (
        "success",
        "CI",
    )


@pytest.mark.parametrize(
    ("repo", "seen"), [("octo/hello", True), ("OCTO/Hello", True), ("octo/*", True), ("octo/other", False)]
)
def test_the_repository_is_compared_without_regard_to_case(repo: str, seen: bool) -> None:
    assert bool(Commit(repo=repo, settle=0.0).feed(tell(run_id=1, conclusion="success"))) is seen


def test_the_commit_may_be_typed_in_capitals_and_as_a_prefix() -> None:
    frame = tell(run_id=1, conclusion="success")
    for sha in (SHA, SHA.upper(), SHA[:7].upper(), SHA[:12]):
        assert Commit(sha, settle=0.0).feed(frame) == ("success", "CI")
    assert Commit("7f3a1b3", settle=0.0).feed(frame) is None


def test_events_of_other_sources_with_that_commit_are_not_its_runs() -> None:
    assert Commit(settle=0.0).feed(tell(run_id=1, conclusion="success", source="mirror")) is None


def test_a_prefix_of_two_commits_is_an_error() -> None:
    commit = Commit()
    commit.feed(tell(run_id=1))
    with pytest.raises(InvalidCommit) as caught:
        commit.feed(tell(run_id=2, sha="7f3a1b2d" + "0" * 32))
    assert caught.value.message == "--sha '7f3a1b2' is the beginning of two commits: 7f3a1b2c0000 and 7f3a1b2d0000"
    assert caught.value.exit_code == 2


def test_runs_without_an_id_are_told_apart_by_their_names() -> None:
    commit = Commit(settle=0.0)
    commit.feed(tell(workflow_name="A"))
    assert commit.feed(tell(workflow_name="B", conclusion="success")) is None
    assert commit.feed(tell(workflow_name="A", conclusion="success")) == ("success", "A")


# -- what is in the log ------------------------------------------------------------------------------------------------


def test_a_commit_that_is_done_is_answered_at_once(log: Log) -> None:
    tell(run_id=1)
    tell(run_id=1, conclusion="success")
    commit = Commit()
    commit.now = 60.0  # a minute after they were committed
    assert commit.begin(log) == ("success", "CI")


def test_what_was_committed_just_now_still_settles(log: Log) -> None:
    tell(run_id=1, conclusion="success")
    commit = Commit()
    assert commit.begin(log) is None
    assert commit.state.wake_at == pytest.approx(3.0, abs=0.5)


def test_the_whole_history_is_looked_at_before_anything_is_decided(log: Log) -> None:
    """The first attempt failed, a second one made it good."""
    tell(run_id=1, run_attempt=1, conclusion="failure")
    tell(run_id=1, run_attempt=2, conclusion="success")
    commit = Commit()
    commit.now = 60.0
    assert commit.begin(log) == ("success", "CI")


def test_a_run_that_was_open_in_the_log_is_waited_for(log: Log) -> None:
    tell(run_id=1)
    commit = Commit()
    commit.now = 3600.0
    assert commit.begin(log) is None
    assert commit.feed(tell(run_id=1, conclusion="failure")) == ("failure", "CI")


def test_an_event_seen_in_the_log_and_again_live_is_one(log: Log) -> None:
    frame = tell(run_id=1, conclusion="success")
    commit = Commit()
    commit.begin(log)
    commit.now = commit.age = 2.0
    assert commit.feed(frame) is None
    assert commit.at(3.1) == ("success", "CI")


def test_the_log_is_narrowed_as_live_events_are(log: Log) -> None:
    tell(run_id=1, conclusion="failure")
    tell(run_id=2, workflow_name="Docs", conclusion="success")
    tell(run_id=3, conclusion="failure", owner="other")
    commit = Commit(workflow="Docs", repo="octo/hello")
    commit.now = 60.0
    assert commit.begin(log) == ("success", "Docs")


def test_a_prefix_of_two_commits_in_the_log_is_an_error(log: Log) -> None:
    tell(run_id=1, conclusion="success")
    tell(run_id=2, conclusion="success", sha="7f3a1b2d" + "0" * 32)
    with pytest.raises(InvalidCommit, match="beginning of two commits"):
        Commit().begin(log)


def test_a_clock_that_was_set_back_does_not_answer_early(log: Log) -> None:
    tell(run_id=1, conclusion="success")
    commit = Commit()
    commit.begun -= 3600.0
    assert commit.begin(log) is None
    assert commit.state.wake_at == pytest.approx(3.0, abs=0.5)


# -- git ---------------------------------------------------------------------------------------------------------------

REMOTES = [
    # (URL, (host, owner/repo) or None)
    ("https://github.com/octo/hello", ("github.com", "octo/hello")),
    ("https://github.com/octo/hello.git", ("github.com", "octo/hello")),
    ("https://github.com/octo/hello/", ("github.com", "octo/hello")),
    ("https://ghp_secret@github.com/octo/hello.git", ("github.com", "octo/hello")),
    ("https://user:ghp_secret@github.com/octo/hello.git", ("github.com", "octo/hello")),
    ("https://GitHub.com/Octo/Hello.git", ("github.com", "Octo/Hello")),
    ("https://github.example.com:8443/octo/hello.git", ("github.example.com", "octo/hello")),
    ("ssh://git@github.com/octo/hello.git", ("github.com", "octo/hello")),
    ("ssh://git@ssh.github.com:443/octo/hello.git", ("ssh.github.com", "octo/hello")),
    ("git+ssh://git@github.com/octo/hello", ("github.com", "octo/hello")),
    ("git://github.com/octo/hello.git", ("github.com", "octo/hello")),
    ("git@github.com:octo/hello.git", ("github.com", "octo/hello")),
    ("git@github.com:/octo/hello.git", ("github.com", "octo/hello")),
    ("github.com:octo/hello", ("github.com", "octo/hello")),
    ("work:octo/hello.git", ("work", "octo/hello")),
    ("git@github.com-work:octo/hello.js.git", ("github.com-work", "octo/hello.js")),
    ("https://github.com/octo/hello.js", ("github.com", "octo/hello.js")),
    ("/srv/git/hello.git", None),
    ("../hello", None),
    ("file:///srv/git/octo/hello.git", None),
    ("https://github.com/hello", None),
    ("https://gitlab.com/a/b/c.git", None),
    ("git@github.com:hello.git", None),
    ("", None),
    ("https://", None),
    ("c:/users/hello", None),
]


@pytest.mark.parametrize(("url", "expected"), REMOTES, ids=[url or "empty" for url, _ in REMOTES])
def test_a_remote_is_told_by_its_url(url: str, expected: tuple[str, str] | None) -> None:
    assert git.remote_of(url) == expected


@pytest.mark.parametrize(
    ("host", "variable", "expected"),
    [
        ("github.com", None, True),
        ("github.example.com", None, True),
        ("work", None, True),
        ("gitlab.com", None, False),
        ("code.example.com", None, False),
        ("code.example.com", "code.example.com", True),
        ("code.example.com", "Code.Example.com", True),
    ],
)
def test_which_hosts_are_githubs(
    host: str, variable: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GH_HOST", raising=False)
    if variable is not None:
        monkeypatch.setenv("GH_HOST", variable)
    assert git.is_github(host) is expected


@pytest.fixture
def checkout(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit and a remote, as the current directory."""
    folder = home / "hello"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("GH_HOST", raising=False)
    run("init", "-q", ".")
    run("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first")
    run("remote", "add", "origin", "https://user:ghp_secret@github.com/octo/hello.git")
    return folder


def run(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_a_name_stands_for_the_commit_that_git_knows(checkout: Path) -> None:
    run("tag", "v1.0")
    head = run("rev-parse", "HEAD")
    assert [git.rev_parse(name) for name in ("HEAD", "v1.0", head[:8])] == [head] * 3


@pytest.mark.parametrize("name", ["nonsense", "--all", "-n1", "HEAD HEAD", "HEAD~5", "", "\n", "a\0b"])
def test_what_git_does_not_know_is_an_error_that_names_it(checkout: Path, name: str) -> None:
    with pytest.raises(InvalidCommit) as caught:
        git.rev_parse(name)
    assert repr(name) in caught.value.message
    assert "7 to 40 hex digits" in caught.value.hint


def test_without_git_the_error_says_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InvalidCommit, match="there is no git to ask"):
        git.rev_parse("HEAD")
    assert git.origin() is None


def test_the_repository_is_the_origins(checkout: Path) -> None:
    assert git.origin() == "octo/hello"
    run("remote", "set-url", "origin", "git@gitlab.com:octo/hello.git")
    assert git.origin() is None
    run("remote", "remove", "origin")
    assert git.origin() is None


def test_outside_of_a_repository_there_is_no_origin(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert git.origin() is None
    with pytest.raises(InvalidCommit, match="no commit that git knows"):
        git.rev_parse("HEAD")


def test_a_repository_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidPredicate, match="not a repository"):
        CommitState(SHA, repo="octo")
