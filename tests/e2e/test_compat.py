"""Programs written for 0.2, from their own environment, against our daemon: its SDK and its command line, unchanged.

What they are promised is in docs/CONTRACTS.md. They get more than they had: 0.2 lost what lay behind the 500th row of a burst.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import waitbus
from tests import support
from tests.bus import Daemon, daemon

BURST = 1233

SUBSCRIBER = """
import sys, waitbus
assert waitbus.__version__ == "0.2.0", waitbus
for frame in waitbus.subscribe(**eval(sys.argv[1])):
    sha = frame.fields["head_sha"]
    print(frame.event_id, frame.event_type, frame.owner, frame.repo, frame.summary, sha, sep="|", flush=True)
"""

WAITER = """
import sys, waitbus
assert waitbus.__version__ == "0.2.0", waitbus
frame = waitbus.wait_for(**eval(sys.argv[1]))
print(frame and (frame.summary, frame.fields["conclusion"], frame.kind))
"""


@pytest.fixture
def bus(home: Path) -> Iterator[Daemon]:
    with daemon(home, WAITBUS_HEARTBEAT_SEC="0.2") as made:
        yield made


@pytest.fixture
def old(old_venv: Path, spawn: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.Popen[str]]:
    """`old("wait", ...)` starts the command of 0.2, `old(PROGRAM, kwargs)` a program that uses its SDK."""

    def start(first: str, *rest: Any) -> subprocess.Popen[str]:
        if "\n" in first:
            return spawn("-c", first, *map(repr, rest), program=(str(old_venv / "bin" / "python"),), cwd="/")
        return spawn(first, *rest, program=(str(old_venv / "bin" / "waitbus"),), cwd="/")

    return start


def event(n: int, **kwargs: Any) -> waitbus.EventInsert:
    kwargs.setdefault("source", "agent")
    kwargs.setdefault("event_type", "agent_message")
    return waitbus.EventInsert(summary=f"number {n}", **kwargs)


def run(n: int, conclusion: str | None, **kwargs: Any) -> waitbus.EventInsert:
    """What GitHub's webhook makes of a workflow run."""
    return event(
        n, source="github", event_type="workflow_run", owner="acme", repo="site", conclusion=conclusion,
        status="completed" if conclusion else "in_progress", run_id=n + 1, head_sha="c0ffee" + "0" * 34, **kwargs,
    )  # fmt: skip


def out(child: subprocess.Popen[str]) -> IO[str]:
    assert child.stdout is not None
    return child.stdout


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    said, failed = child.communicate(timeout=30)
    return child.returncode, said, failed


def armed(bus: Daemon, count: int = 1) -> None:
    """0.2 does not say when it listens; the daemon does."""
    support.eventually(lambda: bus.report()["subscriber_count"] == count, 20)


def lines(child: subprocess.Popen[str], count: int) -> list[list[str]]:
    support.eventually(lambda: child.poll() is None, 1)
    return [out(child).readline().rstrip("\n").split("|") for _ in range(count)]


# -- its SDK -----------------------------------------------------------------------------------------------------------


def test_subscribe_gets_a_burst_whole_and_in_order(bus: Daemon, old: Callable[..., Any]) -> None:
    child = old(SUBSCRIBER, {"source": "agent"})
    armed(bus)
    waitbus.emit_batch(event(n) for n in range(BURST))
    got = lines(child, BURST)
    assert [one[4] for one in got] == [f"number {n}" for n in range(BURST)]
    assert [one[0] for one in got] == sorted(one[0] for one in got)
    assert got[0][1:4] == ["agent_message", "local", "agent"]
    assert got[0][5] == "None"


def test_subscribe_since_gets_more_than_the_500_it_used_to(bus: Daemon, old: Callable[..., Any]) -> None:
    begin = waitbus.emit(event(-1)).event.event_id
    waitbus.emit_batch(event(n) for n in range(BURST))
    child = old(SUBSCRIBER, {"source": "agent", "since": begin})
    assert [one[4] for one in lines(child, BURST)] == [f"number {n}" for n in range(BURST)]
    waitbus.emit(event(BURST))
    assert lines(child, 1)[0][4] == f"number {BURST}"


def test_subscribe_with_predicates(bus: Daemon, old: Callable[..., Any]) -> None:
    begin = waitbus.emit(event(-1)).event.event_id
    for n, to in enumerate(["alice", "bob", "alice"]):
        waitbus.emit(event(n, msg_to=to, msg_from="carol", msg_body="hello"))
    waitbus.emit(run(3, "failure"))
    by_name = old(SUBSCRIBER, {"to": "alice", "since": begin})
    assert [one[4] for one in lines(by_name, 2)] == ["number 0", "number 2"]
    by_term = old(SUBSCRIBER, {"match": ['fields.conclusion="failure"', "fields.run_id=4"], "since": begin})
    assert lines(by_term, 1)[0][4:] == ["number 3", "c0ffee" + "0" * 34]


def test_heartbeats_do_not_disturb_it(bus: Daemon, old: Callable[..., Any]) -> None:
    child = old(SUBSCRIBER, {"source": "agent"})
    armed(bus)
    with bus.armed() as wire:
        for _ in range(4):
            frame = wire.frame()
            assert frame is not None
            assert frame["kind"] == "daemon_heartbeat"
    waitbus.emit(event(7))
    assert lines(child, 1)[0][4] == "number 7"


@pytest.mark.parametrize(
    "keywords",
    [
        {"match": "fields.run_id=2"},
        {"source": "github", "match": 'fields.conclusion="success"'},
        {"first_of": ['agent:fields.msg_to="nobody"', "github:fields.run_id=2"]},
        {"all_of": ["agent:fields.msg_to=\"alice\"", "github:fields.run_id=2"]},
    ],
    ids=str,
)  # fmt: skip
def test_wait_for(bus: Daemon, old: Callable[..., Any], keywords: dict[str, Any]) -> None:
    child = old(WAITER, {**keywords, "timeout": 20})
    armed(bus)
    waitbus.emit(event(0, msg_to="alice"))
    waitbus.emit(run(0, "failure"))
    waitbus.emit(run(1, "success"))
    assert ended(child) == (0, "('number 1', 'success', 'event')\n", "")


def test_wait_for_behind_an_event_that_it_knows_and_in_vain(bus: Daemon, old: Callable[..., Any]) -> None:
    begin = waitbus.emit(event(-1)).event.event_id
    waitbus.emit_batch(event(n) for n in range(BURST))
    waitbus.emit(run(0, "success"))
    child = old(WAITER, {"source": "github", "since": begin, "timeout": 20})
    assert ended(child)[1] == "('number 0', 'success', 'event')\n"
    assert ended(old(WAITER, {"source": "github", "timeout": 0.5}))[1] == "None\n"


def test_an_event_that_is_too_large_for_a_frame_does_not_disturb_it(bus: Daemon, old: Callable[..., Any]) -> None:
    begin = waitbus.emit(event(-1)).event.event_id
    waitbus.emit(event(0, msg_body="x" * 70_000))
    waitbus.emit(event(1))
    child = old(SUBSCRIBER, {"source": "agent", "since": begin})
    assert lines(child, 1)[0][4] == "number 1"


def test_it_hears_of_event_types_that_nobody_declared(bus: Daemon, old: Callable[..., Any]) -> None:
    begin = waitbus.emit(event(-1)).event.event_id
    waitbus.emit(event(5, source="deployer", event_type="went_live", fields={"colour": "blue"}))
    assert ended(old(WAITER, {"match": 'fields.colour="blue"', "since": begin, "timeout": 20}))[1].startswith(
        "('number 5'"
    )


# -- its command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("conclusion", "code"), [("success", 0), ("failure", 1), ("cancelled", 1)])
def test_wait_by_sha(bus: Daemon, old: Callable[..., Any], conclusion: str, code: int) -> None:
    child = old("wait", "--sha", "c0ffee0", "--repo", "acme/site", "--timeout", "20s")
    armed(bus)
    waitbus.emit(run(0, None))
    waitbus.emit(run(1, conclusion))
    got, said, failed = ended(child)
    assert (got, said) == (code, "")
    assert "acme/site" in failed


def test_wait_with_predicates_since_and_in_vain(bus: Daemon, old: Callable[..., Any]) -> None:
    begin = waitbus.emit(event(-1)).event.event_id
    waitbus.emit_batch(event(n, msg_to="bob" if n == 1200 else "alice") for n in range(BURST))
    found = old("wait", "--source", "agent", "--match", 'fields.msg_to="bob"', "--since", begin, "--timeout", "20s")
    assert ended(found)[0] == 0
    assert ended(old("wait", "--source", "docker", "--timeout", "1s"))[0] == 124


def test_wait_composed(bus: Daemon, old: Callable[..., Any]) -> None:
    child = old("wait", "--all-of", 'agent:msg="x"', "--timeout", "1s")
    assert ended(child)[0] == 124
    child = old(
        "wait", "--all-of", 'agent:fields.msg_to="bob"', "--all-of", "github:fields.run_id=1", "--timeout", "20s"
    )
    armed(bus)
    waitbus.emit(event(0, msg_to="bob"))
    waitbus.emit(run(0, "success"))
    assert ended(child)[0] == 0


def test_on_runs_its_command_with_the_event(bus: Daemon, old: Callable[..., Any]) -> None:
    child = old("on", "--source", "agent", "--timeout", "20s", "--", "--", "sh", "-c", 'echo "$WAITBUS_REPO"; exit 7')
    armed(bus)
    waitbus.emit(event(0, repo="agents"))
    assert ended(child)[:2] == (7, "agents\n")


def test_replay_and_tap_with_filters(bus: Daemon, old: Callable[..., Any]) -> None:
    begin = waitbus.emit(event(-1)).event.event_id
    waitbus.emit_batch(event(n, repo="site" if n % 400 == 0 else "agents", owner="acme") for n in range(BURST))
    filters = ("--filters", "acme/site", "--event-types", "agent_message")
    code, said, _ = ended(old("replay", begin, *filters, "--timeout", "1"))
    frames = [json.loads(line) for line in said.splitlines()]
    assert (code, [one["summary"] for one in frames]) == (0, [f"number {n}" for n in (0, 400, 800, 1200)])
    assert frames[0].keys() == {
        "event_id",
        "event_type",
        "owner",
        "repo",
        "received_at",
        "delivery_id",
        "summary",
        "fields",
        "kind",
    }
    code, said, _ = ended(
        old("broadcast", "tap", "--filters", "acme/*", "--since", begin, "--count", str(BURST), "--text")
    )
    assert (code, len(said.splitlines())) == (0, BURST)


def test_a_daemon_that_ends_is_told_to_it_as_before(bus: Daemon, old: Callable[..., Any]) -> None:
    child = old("wait", "--source", "agent", "--timeout", "20s")
    armed(bus)
    bus.stop()
    code, _, failed = ended(child)
    assert code == 2
    assert "connection closed" in failed
    assert not os.path.exists(bus.path)
