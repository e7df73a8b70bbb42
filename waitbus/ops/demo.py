"""`waitbus demo`: seven acts with real processes, each a test of what it shows. Every time was taken between two of them."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.errors import DemoFailed
from waitbus.quantities import say_duration

if TYPE_CHECKING:
    from waitbus.ops.stage import Child, Stage

MESSAGES = 100
PLAYERS = "waitbus.ops.demo_players"
TEST = """import unittest

class Price(unittest.TestCase):
    def test_discount(self):
        self.assertEqual(42 * 0.9, 38)

    def test_price(self):
        self.assertEqual(42, 42)
"""
"""For pytest where it is installed, else for unittest, which always is."""
DEPLOY = ("emit", "deploy_finished", "--conclusion", "success", "--field", "env=staging")


@attrs.frozen
class Act:
    """What was shown: lines for people (those that begin with `$` were typed), and the same as data."""

    name: str
    title: str
    lines: tuple[str, ...]
    facts: dict[str, Any]


def acts(stage: Stage) -> Iterator[Act]:
    """The acts, each played when it is asked for.

    Raises:
      DemoFailed: something did not happen that should have.
    """
    yield wait_and_emit(stage)
    yield a_command_that_fails(stage)
    yield a_file_that_changes(stage)
    yield a_test_that_fails(stage)
    by_log = messages(stage, "log")
    daemon = stage.start("serve")
    stage.hear(daemon, "serving")
    yield _timed(by_log, messages(stage, "socket"))
    yield the_daemon_is_killed(stage, daemon)
    yield coming_late(stage)


def wait_and_emit(stage: Stage) -> Act:
    waiter = stage.start("wait", "deploy_finished", "--timeout", "1m")
    stage.hear(waiter, "armed")
    stage.call(*DEPLOY)
    event = stage.end(waiter).strip()
    lines = (
        "$ waitbus wait deploy_finished &",
        "$ waitbus emit deploy_finished --conclusion success --field env=staging",
        event,
        "wait printed that and ended with exit code 0: yes",
    )
    return Act(
        "wait",
        "One process waits, another one tells. Nothing was set up, no daemon runs.",
        lines,
        {"event": event, "exit_code": 0},
    )


def a_command_that_fails(stage: Stage) -> Act:
    waiter = stage.start("wait", "--source", "process", "--match", "name=build", "--timeout", "1m")
    stage.hear(waiter, "armed")
    stage.call("run", "--name", "build", "--", "sh", "-c", "exit 2", expect=2)
    event = stage.end(waiter, expect=1).strip()
    lines = (
        "$ waitbus wait --source process --match name=build &",
        "$ waitbus run --name build -- sh -c 'exit 2'",
        event,
        "run ended with 2, the command's own exit code; wait with 1: no",
    )
    return Act("run", "A command fails, and whoever waits for it knows.", lines, {"event": event, "run": 2, "wait": 1})


def a_file_that_changes(stage: Stage) -> Act:
    source = stage.folder / "src"
    source.mkdir()
    waiter = stage.start("wait", "--source", "fs", "--root", "src", "--glob", "*.py", "--timeout", "1m")
    stage.hear(waiter, "armed")
    (source / "models.py").write_text("PRICE = 42\n")
    event = stage.end(waiter).strip()
    lines = (
        "$ waitbus wait --source fs --root src --glob '*.py' &",
        "$ echo 'PRICE = 42' > src/models.py",
        event,
        "nothing else watches that folder: wait did so itself, for as long as it waited",
    )
    return Act("files", "A file changes.", lines, {"event": event, "wait": 0})


def a_test_that_fails(stage: Stage) -> Act:
    (stage.folder / "shop").mkdir()
    (stage.folder / "shop/pytest.ini").write_text("[pytest]\n")
    (stage.folder / "shop/test_price.py").write_text(TEST)
    runner, source = ("pytest", "pytest") if _tells_of_pytest() else ("unittest", "process")
    type_ = "pytest_session" if source == "pytest" else "process_exited"
    waiter = stage.start("wait", type_, "--source", source, "--timeout", "1m")
    stage.hear(waiter, "armed")
    stage.call("run", "--name", "tests", "--", sys.executable, "-m", runner, "shop/test_price.py", expect=1)
    event = stage.end(waiter, expect=1).strip().replace(sys.executable, "python")
    lines = (
        f"$ waitbus wait {type_} --source {source} &",
        f"$ waitbus run --name tests -- python -m {runner} shop/test_price.py",
        event,
        "run ended with 1, as the tests did, and so did wait: no",
    )
    return Act("tests", "A test fails.", lines, {"event": event, "runner": runner, "run": 1, "wait": 1})


def _tells_of_pytest() -> bool:
    """Whether there is a pytest here, and none that is too old to be told of."""
    try:
        return int(version("pytest").partition(".")[0]) >= 7
    except (PackageNotFoundError, ValueError):
        return False


# -- messages ----------------------------------------------------------------------------------------------------------


def messages(stage: Stage, transport: str) -> dict[str, Any]:
    """Send messages from one process to another that reads by `transport`; how long they took, in ms."""
    receiver = stage.start("receive", str(MESSAGES), module=PLAYERS)
    stage.hear(receiver, f"armed {transport}", stderr=False)
    stage.end(stage.start("send", str(MESSAGES), "0", module=PLAYERS))
    took = [ns / 1e6 for ns in _received(stage, receiver, MESSAGES)["took_ns"]]
    return {"messages": MESSAGES, "median_ms": round(statistics.median(took), 3), "worst_ms": round(max(took), 3)}


def _received(stage: Stage, receiver: Child, count: int) -> dict[str, Any]:
    got: dict[str, Any] = json.loads(stage.end(receiver))
    if got["numbers"] != list(range(count)):
        raise DemoFailed(
            f"of {count} messages {got['numbers']} arrived", hint="please report it: nothing may be lost or doubled"
        )
    return got


def _timed(by_log: dict[str, Any], by_daemon: dict[str, Any]) -> Act:
    lines = (
        f"each reading the log   {_times(by_log)}",
        f"through the daemon     {_times(by_daemon)}",
    )
    title = f"{MESSAGES} messages from one process into the hands of another, timed by both, and again through `waitbus serve`."
    return Act("messages", title, lines, {"log": by_log, "daemon": by_daemon})


def _times(took: dict[str, Any]) -> str:
    return f"{say_duration(took['median_ms'] / 1000)} median, {say_duration(took['worst_ms'] / 1000)} at worst"


def the_daemon_is_killed(stage: Stage, daemon: Child) -> Act:
    half = MESSAGES // 2
    receiver = stage.start("receive", str(MESSAGES), module=PLAYERS)
    stage.hear(receiver, "armed socket", stderr=False)
    stage.end(stage.start("send", str(half), "0", module=PLAYERS))
    daemon.process.kill()
    stage.end(stage.start("send", str(MESSAGES - half), str(half), module=PLAYERS))
    _received(stage, receiver, MESSAGES)
    lines = (
        "$ kill -9 (the daemon)",
        f"{MESSAGES} of {MESSAGES} messages arrived, in order, none twice: the receiver went on by the log",
    )
    return Act("killed", "The daemon is killed in the middle of it.", lines, {"sent": MESSAGES, "received": MESSAGES})


def coming_late(stage: Stage) -> Act:
    cursor = stage.call("cursor").strip()
    stage.call(*DEPLOY)
    event = stage.call("wait", "deploy_finished", "--since", cursor, "--timeout", "1m").strip()
    lines = (
        '$ C=$(waitbus cursor); ./deploy.sh; waitbus wait deploy_finished --since "$C"',
        event,
        "it was over before wait began, and wait answered all the same",
    )
    return Act("since", "Who comes late asks since when.", lines, {"event": event, "cursor": cursor})
