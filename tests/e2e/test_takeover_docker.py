"""Containers inside of `wait`: the engine that the table names, and a wait that takes over from a daemon that is killed (F1)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import waitbus
from tests.bus import Daemon
from tests.logs import rows
from tests.sources.fake_engine import FakeEngine, Stream, says
from tests.sources.test_docker_events import ID, line
from tests.support import read_until
from waitbus.store import Log

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(home: Path) -> Path:
    """The socket of an engine that nothing but the table names."""
    (home / "c").mkdir()
    path = home / "engine.sock"
    (home / "c" / "config.toml").write_text(f'[sources.docker]\nenabled = true\nhost = "unix://{path}"\n')
    return path


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[Daemon]:
    bus = await trio.to_thread.run_sync(Daemon, home)
    try:
        yield bus
    finally:
        bus.kill()


async def until(probe: Callable[[], Any]) -> None:
    while not probe():
        await trio.testing.wait_all_tasks_blocked(0.01)


async def said(child: Any, text: str) -> str:
    return await trio.to_thread.run_sync(read_until, child.stderr, text)


async def end(child: Any) -> tuple[int, str]:
    out, _ = await trio.to_thread.run_sync(partial(child.communicate, timeout=20))
    return child.returncode, out


def ends(*, at_ns: Callable[[], int]) -> Callable[[Stream], Awaitable[None]]:
    """An engine that tells of a container's end."""

    async def act(stream: Stream) -> None:
        await stream.send(line("die", at_ns(), {"exitCode": "3"}))
        await stream.gone()

    return act


async def test_the_engine_is_the_one_of_the_table(path: Path, spawn: Spawn) -> None:
    async with FakeEngine(path, [ends(at_ns=time.time_ns)]).listening():
        child = spawn("wait", "--source", "docker", "--timeout", "20s")
        assert await end(child) == (1, "docker_container  db  failure  exit 3  postgres:16\n")


async def test_the_library_takes_it_too(path: Path) -> None:
    async with FakeEngine(path, [ends(at_ns=time.time_ns)]).listening():
        outcome = await waitbus.adecide(sources=[waitbus.watch_containers()], timeout=20)
    assert outcome.frame is not None
    assert outcome.frame.fields["exit_code"] == 3


async def test_what_ends_right_behind_the_kill_of_the_daemon_is_found(
    path: Path, home: Path, spawn: Spawn, log: Log
) -> None:
    killed_ns = 0
    engine = FakeEngine(path, [says(line("start", time.time_ns())), ends(at_ns=lambda: killed_ns)])
    async with engine.listening(), serving(home) as bus:
        await until(lambda: rows(log))
        child = spawn("wait", "--source", "docker", "--timeout", "20s")
        assert await said(child, "armed") == "armed\n"
        assert len(engine.streams) == 1
        os.kill(bus.pid, signal.SIGKILL)
        killed_ns = time.time_ns()
        assert await said(child, "docker") == (
            "waitbus: the daemon watches docker no longer; watching it here while this command waits\n"
        )
        assert (await end(child))[0] == 1
    assert engine.streams[1].since_ns < killed_ns
    assert [row.delivery_id for row in rows(log)][1:] == [f"docker:{ID}:die:{killed_ns}"]
