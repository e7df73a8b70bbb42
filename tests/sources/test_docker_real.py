"""The docker source and a real engine: exits, kills, restarts, and what ended while nobody listened."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
import trio

from tests import support
from tests.bus import Daemon
from tests.conftest import FULL_SCALE
from tests.sources.engine import IMAGE, NoEngine, RealEngine, real_engine
from tests.sources.test_docker import Bus, rows, running, source
from waitbus.events import Row


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


async def test_what_was_told_and_what_is_found_are_one_row(real: RealEngine) -> None:
    """A second source comes later: it has the engine's own events again, and the ended container besides."""
    bus = Bus()
    async with running(source(real.socket), bus):
        container = await engine_run(real, "once", "exit 5")
        await until_exits(bus, 1)
    before = [row.delivery_id for row in exits()]
    again = Bus()
    async with running(source(real.socket), again):
        with trio.fail_after(20):
            while sum(container in key and ":die:" in key for key in again.offered) < 2:
                await again.until_offered(len(again.offered) + 1)
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


OURS_MS = 25
"""What lies between the engine's word on the socket and the waiter's waking, at the 95th percentile."""


@pytest.mark.scaled(usual=5, full=50)
def test_a_waiter_of_another_process_is_woken_by_each_exit(
    real: RealEngine, spawn: Callable[..., subprocess.Popen[str]], scaled: int, home: Path
) -> None:
    """Prints how long after the engine's own timestamp the waiter was awake, and how that divides; `-rP` shows it.

    podman 4 and 5 look into their file of events every 250 ms, so the larger part is podman's doing. A relay between engine and
    source, a process of its own that only copies bytes, has the moment at which the engine says it: what follows is ours.
    """
    socket = home / "relay.sock"
    relay = spawn(program=(support.PYTHON, "-c", RELAY, str(real.socket), str(socket)))
    support.read_until(piped(relay), "ready")
    runner = spawn("source", "run", "docker", "--set", f"host={socket}", "--json")
    support.read_until(piped(runner), '"up"')
    waiter = spawn(program=(support.PYTHON, "-c", WAITER))
    support.read_until(piped(waiter), "ready")
    awake, said = {}, {}
    for number in range(scaled):
        real.run(f"exit{number}", f"exit {number % 2}")
        at_ns, now_ns = map(int, support.read_until(piped(waiter), " ", timeout=20).split())
        awake[at_ns] = now_ns
    for _ in range(scaled):
        at_ns, now_ns = map(int, support.read_until(piped(relay), " ").split())
        said[at_ns] = now_ns
    assert awake.keys() == said.keys()
    _print("woken after the engine's timestamp", [awake[at] - at for at in awake])
    _print("the engine said it after that", [said[at] - at for at in awake])
    ours = _print("woken after the engine said it", [awake[at] - said[at] for at in awake])
    if FULL_SCALE:
        assert ours <= OURS_MS


def piped(child: subprocess.Popen[str]) -> IO[str]:
    assert child.stdout is not None
    return child.stdout


def _print(what: str, took: list[int]) -> float:
    """Says the quantiles in ms, and gives the 95th."""
    took.sort()
    p50, p95 = (took[min(len(took) - 1, int(len(took) * part))] / 1e6 for part in (0.5, 0.95))
    print(f"{what}: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    return p95


WAITER = """
import time, waitbus
with waitbus.subscribe(source="docker", match="event_type=docker_container") as events:
    events.arm()
    print("ready", flush=True)
    for frame in events:
        print(frame.received_at, time.time_ns(), flush=True)
"""

RELAY = """
import re, socket, sys, threading, time

DIED = re.compile(rb'"Action":"died?".*"timeNano":([0-9]+)')

def copy(source, sink, told):
    with source, sink:
        while data := source.recv(1 << 16):
            now_ns = time.time_ns()
            sink.sendall(data)
            for line in data.splitlines() if told else ():
                for at_ns in DIED.findall(line):
                    print(int(at_ns), now_ns, flush=True)

def serve(near):
    far = socket.socket(socket.AF_UNIX)
    far.connect(sys.argv[1])
    threading.Thread(target=copy, args=(near, far, False), daemon=True).start()
    copy(far, near, True)

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2])
listener.listen()
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
