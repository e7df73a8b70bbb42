"""The docker source and a real engine: exits, kills, restarts, and what ended while nobody listened."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests import support
from tests.bus import Daemon
from tests.sources.engine import IMAGE, NoEngine, RealEngine, real_engine
from tests.sources.test_docker import Bus, rows, running, source
from waitbus.events import Row
from waitbus.sources import docker_rows
from waitbus.sources.docker_events import TIME_MAX, Message, read_message


@pytest.fixture(scope="module")
def real() -> Iterator[RealEngine]:
    """One engine for all of these tests; whoever stops it starts it again."""
    folder = Path(tempfile.mkdtemp(prefix="wbe-"))
    try:
        engine = real_engine(folder)
    except NoEngine as why:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"no container engine: {why}")
    yield engine
    engine.remove()


def fields(row: Row) -> dict[str, Any]:
    return dict(json.loads(row.fields))


def exits() -> list[Row]:
    return [row for row in rows() if row.event_type == "docker_container"]


async def until_exits(bus: Bus, count: int) -> list[Row]:
    with trio.fail_after(20):
        seen = 0
        while len(exits()) < count:
            seen += 1
            await bus.rows(len(rows()) + 1) if seen > 1 else await bus.rows(1)
    return exits()


def engine_run(real: RealEngine, *args: Any, **kwargs: Any) -> Any:
    return trio.to_thread.run_sync(lambda: real.run(*args, **kwargs))


async def test_an_exit_says_how_what_and_whose(real: RealEngine) -> None:
    bus = Bus()
    async with running(source(real.socket), bus):
        container = await engine_run(real, "worker", "exit 3")
        (row,) = await until_exits(bus, 1)
    told = fields(row)
    assert (row.status, row.conclusion, told["workflow_name"]) == ("completed", "failure", "worker")
    assert 0 <= told.pop("duration_ms") < 20_000
    assert told == {
        "name": "worker",
        "workflow_name": "worker",
        "container_id": container,
        "image": "localhost/bb:latest",
        "action": "die",
        "exit_code": 3,
        "oom_killed": False,
        "labels": ["com.docker.compose.project=demo", "com.docker.compose.service=worker", "env=test"],
        "compose_project": "demo",
        "compose_service": "worker",
    }
    actions = [fields(one)["action"] for one in rows() if one.event_type == "docker_event"]
    assert {"create", "start"} <= set(actions)
    assert "die" not in actions


async def test_a_kill_and_a_removal(real: RealEngine) -> None:
    bus = Bus()
    async with running(source(real.socket), bus):
        container = await engine_run(real, "victim", "sleep 1000", AutoRemove=True)
        await trio.to_thread.run_sync(real.call, "POST", f"/v1.41/containers/{container}/kill")
        (row,) = await until_exits(bus, 1)
    told = fields(row)
    assert (told["exit_code"], told["signal"], row.conclusion) == (137, "SIGKILL", "failure")


async def test_an_engine_that_is_restarted_is_gone_on_with(real: RealEngine) -> None:
    bus, docker = Bus(), source(real.socket)
    async with running(docker, bus) as ended:
        await engine_run(real, "before", "exit 0")
        await until_exits(bus, 1)
        await trio.to_thread.run_sync(real.stop)
        with trio.fail_after(10):
            while not ended:
                await trio.testing.wait_all_tasks_blocked(0.01)
    # It ends while nobody serves: podman's containers do not need their engine.
    name = "meanwhile"
    limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
    command = ("run", f"--name={name}", "--network=none", *limits, IMAGE, "/bin/sh", "-c", "exit 4")
    done = await trio.to_thread.run_sync(
        partial(subprocess.run, real.podman(*command), capture_output=True, timeout=60, check=False)
    )
    assert done.returncode == 4, done.stderr
    await trio.to_thread.run_sync(real.start)
    async with running(docker, bus):
        found = await until_exits(bus, 2)
    assert [fields(row)["name"] for row in found] == ["before", name]
    assert fields(found[1])["exit_code"] == 4


async def test_what_was_told_and_what_is_found_are_one_row(real: RealEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second source comes later: it has the engine's own events again, and the ended container besides."""
    bus = Bus()
    async with running(source(real.socket), bus):
        container = await engine_run(real, "once", "exit 5")
        await until_exits(bus, 1)
    before = [row.delivery_id for row in exits()]
    asked: list[str] = []
    looked = trio.Event()

    async def has_end(one: str, from_ns: int, to_ns: int = TIME_MAX) -> bool:
        known = await trio.to_thread.run_sync(docker_rows.has_end, one, from_ns, to_ns)
        if one == container and to_ns == TIME_MAX:
            asked.append(one if known else "unknown")
            looked.set()
        return known

    monkeypatch.setattr("waitbus.sources.docker_session._has_end", has_end)
    async with running(source(real.socket), Bus()):
        with trio.fail_after(20):
            await looked.wait()
    assert asked == [container]
    assert [row.delivery_id for row in exits() if container in row.delivery_id] == before


async def test_a_wait_finds_what_ends_right_behind_the_kill_of_its_daemon(
    real: RealEngine, home: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """F1. Two of them: one row."""
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text(f'[sources.docker]\nenabled = true\nhost = "unix://{real.socket}"\n')
    container = await trio.to_thread.run_sync(real.create, "bereft", "exit 3")
    bus = await trio.to_thread.run_sync(Daemon, home)
    try:
        up = partial(support.eventually, lambda: [row for row in bus.report()["sources"] if row["state"] == "up"])
        await trio.to_thread.run_sync(up)
        waits: list[Any] = [spawn("wait", "--source", "docker", "--timeout", "20s") for _ in range(2)]
        for wait in waits:
            assert await trio.to_thread.run_sync(support.read_until, wait.stderr, "armed") == "armed\n"
    finally:
        bus.kill()
    await trio.to_thread.run_sync(real.begin, container)
    for wait in waits:
        out, _ = await trio.to_thread.run_sync(partial(wait.communicate, timeout=20))
        assert (wait.returncode, out) == (1, f"docker_container  bereft  failure  exit 3  {IMAGE}\n")
    assert len([row for row in exits() if container in row.delivery_id]) == 1


@pytest.mark.scaled(usual=5, full=50)
def test_a_waiter_of_another_process_is_woken_by_each_exit(
    real: RealEngine, spawn: Callable[..., subprocess.Popen[str]], scaled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prints how long after the engine's own timestamp the waiter was awake, and how much of that is ours; `-rP` shows it.

    podman 4 and 5 look into their file of events every 250 ms, so the first is podman's doing.
    """
    heard: dict[int, int] = {}

    def read(sent: bytes) -> Message | None:
        message = read_message(sent)
        if message is not None:
            heard.setdefault(message.time_ns, time.time_ns())
        return message

    monkeypatch.setattr("waitbus.sources.docker_session.read_message", read)
    waiter = spawn(program=(support.PYTHON, "-c", WAITER, str(scaled)))
    assert waiter.stdout is not None
    support.read_until(waiter.stdout, "armed")
    trio.run(exit_after_exit, real, scaled)  # by itself: fifty of them may take longer than a test of trio's may
    told, _ = waiter.communicate(timeout=20)
    pairs = [tuple(map(int, text.split())) for text in told.splitlines()]
    assert len(pairs) == scaled
    _print("woken after the engine's timestamp", [awake - at for at, awake in pairs])
    _print("woken after the engine said it", [awake - heard[at] for at, awake in pairs])


async def exit_after_exit(real: RealEngine, count: int) -> None:
    bus = Bus()
    async with running(source(real.socket), bus):
        for number in range(count):
            await engine_run(real, f"exit{number}", f"exit {number % 2}")
            await until_exits(bus, number + 1)


def _print(what: str, took: list[int]) -> None:
    took.sort()
    print(f"{what}: p50 {took[len(took) // 2] / 1e6:.1f} ms, p95 {took[int(len(took) * 0.95)] / 1e6:.1f} ms")


WAITER = """
import sys, time, waitbus
with waitbus.subscribe(source="docker", match="event_type=docker_container") as events:
    events.arm()
    print("armed", flush=True)
    for _ in range(int(sys.argv[1])):
        frame = next(events)
        print(frame.received_at, time.time_ns(), flush=True)
"""
