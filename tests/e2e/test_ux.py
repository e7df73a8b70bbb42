"""The transcripts of the user experience, one by one: what is on stdout, what on stderr, and the exit code.

Times, ids, pids and commits are masked; everything else is compared to the letter.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bus import Daemon
from tests.support import WAITBUS, read_until, run
from waitbus.events import EventInsert
from waitbus.producer import emit

Spawn = Callable[..., "subprocess.Popen[str]"]

NO_DAEMON = "waitbus: no daemon running; reading the log directly (start one with `waitbus serve`)"
MASKS = [
    (re.compile(r"\b0[0-9A-HJKMNP-TV-Z]{25}\b"), "ID"),
    (re.compile(r"\b[0-9]+(\.[0-9]+)? (ms|s|min)\b( [0-9]+ s\b)?"), "TIME"),
    (re.compile(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [0-9]{2}:[0-9]{2}\b"), "DAY"),
    (re.compile(r"\b[0-9.]+ KiB\b"), "SIZE"),
    (re.compile(r"\bwaitbus [0-9][0-9a-z.]*"), "waitbus VERSION"),
]


def masked(text: str) -> list[str]:
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text.splitlines()


class Shown:
    """A command at work: `until` reads stderr line by line, `end` gives exit code, stdout and the whole of stderr."""

    def __init__(self, spawn: Spawn, *argv: str, **kwargs: Any) -> None:
        self.child = spawn(*argv, **kwargs)
        self.said = ""

    def until(self, text: str) -> None:
        assert self.child.stderr is not None
        self.said += read_until(self.child.stderr, text, timeout=20)

    def end(self) -> tuple[int, list[str], list[str]]:
        out, err = self.child.communicate(timeout=20)
        return self.child.returncode, masked(out), masked(self.said + err)


@pytest.fixture
def show(spawn: Spawn) -> Callable[..., Shown]:
    return lambda *argv, **kwargs: Shown(spawn, *argv, **kwargs)


def tell(source: str, event_type: str, **given: Any) -> None:
    emit(EventInsert(source=source, event_type=event_type, **given))


def run_of(number: int, conclusion: str | None, sha: str, **given: Any) -> None:
    tell(
        "github",
        "workflow_run",
        owner="octo",
        repo="hello",
        status="completed" if conclusion else "in_progress",
        conclusion=conclusion,
        head_sha=sha,
        head_branch="main",
        workflow_name="CI",
        run_id=number,
        fields={"run_number": number, "html_url": f"https://github.com/octo/hello/actions/runs/{number}"},
        **given,
    )


@pytest.fixture
def checkout(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A working copy of octo/hello as the current directory; the commit that HEAD is."""
    folder = home / "hello"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    script = """
        git init -q . && git remote add origin git@github.com:octo/hello.git
        git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first && git rev-parse HEAD
    """
    done = run(["bash", "-ec", script], cwd=folder)
    assert done.code == 0, done
    return done.out.strip()


def test_the_first_minute(show: Callable[..., Shown], spawn: Spawn) -> None:
    wait = show("wait", "--source", "process", "--match", "name=build", "--timeout", "10m")
    wait.until("armed")
    build = spawn("run", "--name", "build", "--", "sh", "-c", "echo made; exit 2")
    assert build.communicate(timeout=20) == ("made\n", "")
    assert build.returncode == 2
    assert wait.end() == (
        1,
        ["process_exited  build  failure  exit 2 after TIME  sh -c 'echo made; exit 2'"],
        [NO_DAEMON, "armed"],
    )


def test_a_commit_that_nothing_here_hears_of(show: Callable[..., Shown], checkout: str) -> None:
    wait = show("wait", "--sha", "HEAD", "--timeout", "30m")
    wait.until("armed")
    wait.child.send_signal(signal.SIGINT)
    assert wait.end() == (
        130,
        [],
        [
            "waitbus: nothing here listens to octo/hello; this ends only if something emits such an event",
            NO_DAEMON,
            "armed",
            "interrupted after TIME; to go on: --since ID",
        ],
    )


def test_a_commit_that_fails(show: Callable[..., Shown], checkout: str) -> None:
    run_of(76, "success", "0" * 40)
    wait = show("wait", "--sha", "HEAD", "--timeout", "30m")
    wait.until("armed")
    run_of(77, None, checkout)
    run_of(77, "failure", checkout)
    assert wait.end() == (
        1,
        [
            f"workflow_run  octo/hello  CI #77  failure  main@{checkout[:7]}  https://github.com/octo/hello/actions/runs/77"
        ],
        [NO_DAEMON, "armed"],
    )


def test_several_things(show: Callable[..., Shown], checkout: str, spawn: Spawn) -> None:
    run_of(76, "success", "0" * 40)
    sleeper = spawn("1000", program=("sleep",))
    wait = show(
        *("wait", "--all-of", "pytest:event_type=pytest_session", "--sha", "HEAD", "--pid", str(sleeper.pid)),
        *("--settle", "200ms", "--timeout", "20m"),
    )
    wait.until("armed")
    fields = {"name": "api", "passed": 215, "duration_ms": 41_800}
    tell("pytest", "pytest_session", status="completed", conclusion="success", fields=fields)
    wait.until("1/3")
    sleeper.terminate()
    sleeper.wait()
    wait.until("2/3")
    run_of(78, "success", checkout)
    code, out, err = wait.end()
    assert out == [
        f"workflow_run  octo/hello  CI #78  success  main@{checkout[:7]}  https://github.com/octo/hello/actions/runs/78"
    ]
    assert err[:2] == [
        NO_DAEMON,
        f"waitbus: no daemon watches process {sleeper.pid}; watching it here while this command waits",
    ]
    assert err[2:4] == ["armed", "  1/3  pytest    api  success  215 passed in TIME"]
    assert [line for line in err if "  2/3  process   sleep  " in line]
    assert err[-1].startswith("all 3 clauses met after TIME")
    assert code in (0, 1)  # the kernel may tell that the sleeper was ended by a signal


def test_what_a_script_causes_behind_a_cursor_cannot_be_missed(home: Path) -> None:
    waitbus = " ".join(WAITBUS)
    script = f"""
        C=$({waitbus} cursor)
        {waitbus} emit deploy_finished --conclusion success > /dev/null
        {waitbus} wait deploy_finished --since "$C" --timeout 5m
    """
    done = run(["bash", "-ec", script], cwd=Path(__file__).parents[2])
    assert (done.code, done.out, masked(done.err)) == (0, "deploy_finished  success\n", [NO_DAEMON, "armed"])


def test_all_of_with_fail_on(show: Callable[..., Shown]) -> None:
    wait = show(
        *("wait", "--all-of", "pytest:event_type=pytest_session", "--all-of", "docker:name=db,action=start"),
        *("--fail-on", "pytest:conclusion=failure", "--timeout", "10m"),
    )
    wait.until("armed")
    tell("docker", "docker_event", fields={"name": "db", "action": "start"})
    wait.until("1/2")
    tell(
        "pytest",
        "pytest_session",
        status="completed",
        conclusion="failure",
        fields={
            "name": "api",
            "failed": 3,
            "passed": 212,
            "duration_ms": 41_800,
            "nodeid": "tests/test_auth.py::test_expiry",
        },
    )
    code, out, err = wait.end()
    assert (code, out) == (
        1,
        ["pytest_session  api  failure  3 failed, 212 passed in TIME  tests/test_auth.py::test_expiry"],
    )
    # The wait watches containers by itself, and says so; whether an engine runs here is not what this is about.
    assert [line for line in err if not re.match("waitbus: .* docker|warning: docker is down", line)] == [
        NO_DAEMON,
        "armed",
        "  1/2  docker    db  start",
        "failed: --fail-on 'pytest:conclusion=failure'",
    ]


def test_a_source_that_was_misspelt(show: Callable[..., Shown]) -> None:
    wait = show("wait", "--source", "pytset", "--timeout", "10m")
    wait.until("armed")
    wait.child.terminate()
    assert wait.end() == (
        143,
        [],
        [
            "warning: no source 'pytset' is known here; did you mean 'pytest'? Waiting anyway.",
            NO_DAEMON,
            "armed",
            "terminated after TIME; to go on: --since ID",
        ],
    )


def test_a_duration_that_is_none(cli: Callable[..., Any]) -> None:
    done = cli("wait", "--source", "pytest", "--match", "fields.conclusion=success", "--timeout", "soon")
    assert done == (2, "", "error: --timeout 'soon' is not a duration\nhint: write 500ms, 30s, 10m, 1h30m, or none\n")


def test_a_key_that_was_misspelt(show: Callable[..., Shown]) -> None:
    wait = show("wait", "--match", "fields.concluson=failure", "--source", "pytest", "--timeout", "2s")
    wait.until("armed")
    for _ in range(18):
        tell("pytest", "pytest_session", conclusion="success")
    assert wait.end() == (
        124,
        [],
        [
            NO_DAEMON,
            "armed",
            "warning: no pytest event ever had a key 'fields.concluson'; did you mean 'fields.conclusion'?",
            'timed out after TIME: no event matched fields.concluson="failure" on pytest (18 pytest events passed by);'
            " to go on: --since ID",
        ],
    )


def test_reacting(show: Callable[..., Shown], home: Path) -> None:
    script = home / "triage.sh"
    script.write_text("#!/bin/sh\necho triage of $WAITBUS_EVENT_TYPE\n")
    script.chmod(0o755)
    on = show(
        *("on", "--source", "github", "--match", "fields.conclusion=failure", "--loop", "--", "./triage.sh"),
        cwd=home,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    on.until("armed")
    run_of(214, "failure", "7f3a1b2" + "0" * 33)
    on.until("←")
    on.child.send_signal(signal.SIGINT)
    assert on.end() == (
        130,
        ["triage of workflow_run"],
        [
            "waitbus: nothing here listens to GitHub; this ends only if something emits such an event",
            NO_DAEMON,
            "armed",
            "→ workflow_run octo/hello CI #214 failure: ./triage.sh",
            "← exit 0 after TIME",
            "interrupted after TIME; to go on: --since ID",
        ],
    )


def test_telling_others(cli: Callable[..., Any]) -> None:
    done = cli(
        "emit", "deploy_finished", "--conclusion", "success", "--field", "env=staging", "--field", "version=1.4.2"
    )
    assert (done.code, masked(done.out), done.err) == (
        0,
        ["ID  deploy_finished  success  env=staging version=1.4.2"],
        "",
    )


def test_looking_after_it(cli: Callable[..., Any], bus: Daemon, show: Callable[..., Shown]) -> None:
    """Daemon, log, bus, then who waits for what, how far and for how long; no source is switched on."""
    run_of(213, "success", "0" * 40, summary="x")
    wait = show("wait", "--sha", "7f3a1b2" + "0" * 33, "--repo", "octo/hello", "--timeout", "30m")
    wait.until("armed")
    on = show("on", "--source", "github", "--match", "conclusion=failure", "--loop", "--", "./triage.sh")
    on.until("armed")
    done = cli("status")
    lines = [line.replace("oldest now", "oldest TIME ago") for line in masked(done.out)]
    assert (done.code, done.err) == (0, "")
    assert lines == [
        f"daemon    running TIME, pid {bus.pid}, by hand, waitbus VERSION",
        "log       ~/s/events.db, 1 event, SIZE, oldest TIME ago, 0.2 events/min, 30 d or 1 GiB kept",
        "bus       2 subscribers, none lagging",
        f'waiting   pid {wait.child.pid}  waitbus wait  head_sha="7f3a1b2…", event_type="workflow_run",'
        ' event_type="workflow_job" on github in octo/hello  seq 1  for TIME',
        f'          pid {on.child.pid}  waitbus on  conclusion="failure" on github  seq 1  for TIME',
    ]


def test_looking_after_it_without_a_daemon(cli: Callable[..., Any]) -> None:
    run_of(213, "success", "0" * 40)
    lines = [line.replace("oldest now", "oldest TIME ago") for line in masked(cli("status").out)]
    assert lines == [
        "daemon    not running (start one with `waitbus serve`)",
        "log       ~/s/events.db, 1 event, SIZE, oldest TIME ago, 0.2 events/min, 30 d or 1 GiB kept",
        "bus       nobody waits",
    ]


def test_a_second_daemon(cli: Callable[..., Any], bus: Daemon) -> None:
    done = cli("serve")
    assert (done.code, done.out, masked(done.err)) == (
        2,
        "",
        [
            f"error: a waitbus daemon is already running (pid {bus.pid}, since DAY, by hand)",
            f"hint: `waitbus status` shows it; `kill {bus.pid}` ends it",
        ],
    )
