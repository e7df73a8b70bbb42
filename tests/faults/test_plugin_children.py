"""F19: somebody else's code crashes, hangs, floods, leaks, forks or talks nonsense, and it stays its own: real children."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.support import eventually
from waitbus.events import Row
from waitbus.paths import log_path
from waitbus.sources import SourceSpec, supervision
from waitbus.sources.child_lines import Rate
from waitbus.sources.command import command_table
from waitbus.sources.in_child import InChild
from waitbus.sources.plugins import source_for
from waitbus.sources.supervision import Supervised
from waitbus.store import Log

PLUGIN = """
import ctypes, os, re, resource, signal, subprocess, sys, time
import trio
from waitbus import EventInsert


def said(**fields):
    return EventInsert(source="naughty", event_type="said", fields=fields)


class Source:
    def __init__(self, settings):
        self.settings = settings

    async def run(self, bus, *, task_status):
        task_status.started()
        await bus.emit(said(pid=os.getpid(), group=os.getpgrp()))
        await self.act(bus)


class Raises(Source):
    async def act(self, bus):
        raise RuntimeError("boom")


class Dies(Source):
    async def act(self, bus):
        os.kill(os.getpid(), signal.SIGSEGV)


class Exits(Source):
    async def act(self, bus):
        print("by its own will", file=sys.stderr, flush=True)
        os._exit(3)


class Ends(Source):
    async def act(self, bus):
        pass


class Hangs(Source):
    async def act(self, bus):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()


class Spins(Source):
    async def act(self, bus):
        pid = os.fork()
        if pid:
            await bus.emit(said(forked=pid))
        while True:
            pass


class HoldsTheLock(Source):
    async def act(self, bus):
        re.match(r"(a+)+$", "a" * 60 + "b")


class Leaks(Source):
    async def act(self, bus):
        self.kept = bytearray(600 << 20)


class Opens(Source):
    async def act(self, bus):
        kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]


class Forks(Source):
    async def act(self, bus):
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        await bus.emit(said(forked=pid))
        os._exit(1)


class Garbles(Source):
    async def act(self, bus):
        for descriptor in range(3, 30):
            try:
                os.write(descriptor, b"this is no line of ours\\n")
            except OSError:
                pass
        await trio.sleep_forever()


class Prints(Source):
    async def act(self, bus):
        print("hello", flush=True)
        assert sys.stdin.read() == ""
        new = [await bus.emit(said(number=number), EventInsert(source="naughty", event_type="said", delivery_id="same"))
               for number in range(2)]
        other = EventInsert(source="naughty", event_type="said", delivery_id="other")
        new.append(await bus.emit(other, unless={"other": ("same", "samf")}))
        await bus.emit(said(new=new, settings=sorted(self.settings)))
        await trio.sleep_forever()


class Talks(Source):
    async def act(self, bus):
        bus.down("nobody there", retry_s=2)
        await bus.emit(said(limits=[resource.getrlimit(which)[1] for which in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)]))
        await trio.sleep_forever()


class Never(Source):
    async def run(self, bus, *, task_status):
        await trio.sleep_forever()


class Large(Source):
    async def act(self, bus):
        await bus.emit(EventInsert(source="naughty", event_type="said", fields={"x": "x" * 70_000}))


class Poses(Source):
    async def act(self, bus):
        await bus.emit(EventInsert(source="github", event_type="push"))
"""


@pytest.fixture(autouse=True)
def naughty(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "plugins").mkdir()
    (home / "plugins" / "naughty.py").write_text(PLUGIN)
    monkeypatch.setenv(
        "PYTHONPATH", f"{home / 'plugins'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    )


def plugin(name: str, **changes: Any) -> InChild:
    """The plugin's source of that class; `changes` are of its `Program`."""
    spec = SourceSpec(name="naughty", event_types=["said"], implementation=f"naughty:{name}")
    source = source_for(spec, {"enabled": True, "every": 5})
    assert isinstance(source, InChild)
    return InChild("naughty", lambda: attrs.evolve(source.program(), **changes))


def command(*words: str, changes: dict[str, Any] | None = None, **table: Any) -> InChild:
    """A command source."""
    made = {"command": [*words], **table}
    source = source_for(command_table("naughty", made).spec(), made)
    assert isinstance(source, InChild)
    return InChild("naughty", lambda: attrs.evolve(source.program(), **(changes or {})))


def shell(script: str, **kwargs: Any) -> InChild:
    return command("sh", "-c", script, **kwargs)


@asynccontextmanager
async def running(source: InChild) -> AsyncIterator[Supervised]:
    supervised = Supervised("naughty", source)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervised.run)
        yield supervised
        nursery.cancel_scope.cancel()


async def until(probe: Callable[[], Any], seconds: float = 10) -> Any:
    """The first truthy answer. A worker thread is what is waited in: the loop goes on."""
    return await trio.to_thread.run_sync(partial(eventually, probe, seconds))


def everything() -> list[Row]:
    with Log(log_path()) as log:
        found: list[Row] = []
        while page := log.page(found[-1].seq if found else 0).rows:
            found += page
        return found


def rows() -> list[dict[str, Any]]:
    """The fields of the events of the source."""
    return [json.loads(row.fields) for row in everything() if row.source == "naughty"]


def downs() -> list[str]:
    return [row.summary for row in everything() if row.event_type == "source_down"]


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def first_reason(source: InChild, seconds: float = 10) -> str:
    async with running(source) as supervised:
        await until(lambda: supervised.health.state == "down" and downs(), seconds)
        return supervised.health.reason


# -- it crashes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "it ended with exit code 1: RuntimeError: boom"),
        ("Dies", "it was ended by SIGSEGV"),
        ("Exits", "it ended with exit code 3: by its own will"),
        ("Ends", "it ended by itself"),
        ("Leaks", "it ended with exit code 1: MemoryError"),
        ("Opens", "it ended with exit code 1: OSError: [Errno 24] Too many open files: '/dev/null'"),
        ("Large", "it ended with exit code 1: an event has 70,"),
        ("Poses", "it is source 'naughty' and said an event of 'github'"),
        ("Missing", "it ended with exit code 1: AttributeError: module 'naughty' has no attribute 'Missing'"),
        ("Garbles", "it said 'this is no line of ours', which is no JSON object"),
    ],
)
async def test_its_end_is_its_own_and_is_said(name: str, reason: str) -> None:
    assert reason in await first_reason(plugin(name))
    (down,) = downs()
    assert reason[:40] in down
    if name != "Missing":
        (first, *_) = rows()
        assert first["pid"] == first["group"]
        assert not is_alive(first["pid"])


async def test_five_crashes_in_10_minutes_are_enough(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RETRY", 0.01)
    async with running(shell(f"echo x >> {home}/runs; echo why >&2; exit 7")) as supervised:
        await until(lambda: "stays down" in supervised.health.reason)
        assert supervised.health.reason == (
            "it failed 5 times within 10 min and stays down; the last time it ended with exit code 7: why"
        )
        assert supervised.health.retry_at is None
        await until(lambda: any("stays down" in down for down in downs()))
        assert (home / "runs").read_text() == "x\n" * 5
        await trio.testing.wait_all_tasks_blocked(0.5)  # three times as long as its next pause would be
    assert (home / "runs").read_text() == "x\n" * 5


async def test_a_command_that_is_not_there_is_named() -> None:
    assert "no-such-command-here" in await first_reason(command("no-such-command-here"))


# -- it hangs ----------------------------------------------------------------------------------------------------------


async def test_who_blocks_and_ignores_sigterm_is_gone_within_2_s_of_its_silence() -> None:
    began = trio.current_time()
    reason = await first_reason(plugin("Hangs", silence=1.5))
    assert reason == "it hangs: no line for 1.5 s"
    assert trio.current_time() - began < 10
    assert not is_alive(rows()[0]["pid"])


async def test_who_never_begins_is_ended() -> None:
    assert await first_reason(plugin("Never", start=1.5)) == "it did not begin within 1.5 s"


async def test_silence_of_a_command_counts_only_where_it_was_asked_for() -> None:
    assert await first_reason(shell("echo a; sleep 100", silence="1s")) == "it hangs: no line for 1 s"
    async with running(shell("echo b; sleep 100")) as supervised:
        await until(lambda: {"line": "b"} in rows())
        assert supervised.health.state == "up"


async def test_a_cancelled_source_takes_all_of_its_group_along_within_2_s(home: Path) -> None:
    script = f'trap "" TERM; sh -c \'trap "" TERM; echo $$ > {home}/inner; while :; do sleep 1; done\' & echo $$; wait'
    async with running(shell(script)):
        await until(lambda: rows() and (home / "inner").exists() and (home / "inner").read_text().strip())
        pids = [int(rows()[0]["line"]), int((home / "inner").read_text())]
        assert all(map(is_alive, pids))
        began = trio.current_time()
    assert trio.current_time() - began < 2.2
    await until(lambda: not any(map(is_alive, pids)), 2)


# -- it forks, and holds its output ------------------------------------------------------------------------------------


async def test_who_forks_and_leaves_its_output_open_ends_with_its_forks() -> None:
    assert (await first_reason(plugin("Forks"))).startswith("it ended with exit code 1")
    forked = next(row["forked"] for row in rows() if "forked" in row)
    await until(lambda: not is_alive(forked), 2)


async def test_a_command_whose_child_holds_its_output_has_ended_all_the_same() -> None:
    began = trio.current_time()
    assert await first_reason(shell("sleep 100 & echo $!; exit 4")) == "it ended with exit code 4"
    assert trio.current_time() - began < 6
    await until(lambda: not is_alive(int(rows()[0]["line"])), 2)


async def test_who_closes_its_output_and_goes_on_is_ended() -> None:
    assert await first_reason(shell("echo $$; exec >&-; sleep 100")) == "it closed its output and went on"
    assert not is_alive(int(rows()[0]["line"]))


# -- it floods ---------------------------------------------------------------------------------------------------------


async def test_a_flood_is_held_to_the_rate_and_then_ended() -> None:
    began = trio.current_time()
    reason = await first_reason(command("yes", changes={"rate": lambda: Rate(flood=3.0)}), 25)
    assert reason == "it said more than 3,000 lines without a pause"
    assert trio.current_time() - began > 1.5
    assert len(rows()) == 3000


async def test_a_line_that_never_ends_is_refused() -> None:
    script = f'{sys.executable} -c \'while True: print("x" * 10000, end="")\''
    assert await first_reason(shell(script)) == "it said a line of more than 65,536 bytes"
    assert rows() == []


async def test_a_flood_of_errors_holds_nobody_up() -> None:
    async with running(shell("yes >&2 & while :; do echo tick; sleep 0.05; done")):
        await until(lambda: len(rows()) > 20)


# -- it is well ----------------------------------------------------------------------------------------------------------


async def test_what_it_prints_is_no_event_and_it_learns_what_was_new() -> None:
    async with running(plugin("Prints")):
        await until(lambda: any("new" in row for row in rows()))
    last = rows()[-1]
    assert last == {"new": [2, 1, 0], "settings": ["every"]}


async def test_it_says_how_it_is_and_has_limits_that_it_cannot_raise() -> None:
    async with running(plugin("Talks")) as supervised:
        await until(lambda: "nobody there" in supervised.health.reason or len(rows()) > 1)
        await until(lambda: len(rows()) > 1)
        assert rows()[-1] == {"limits": [512 << 20, 256]}
        assert [down for down in downs() if "nobody there" in down]
        assert supervised.health.state == "up"


async def test_a_command_has_the_limits_too() -> None:
    async with running(shell("ulimit -v; ulimit -n; ulimit -c")):
        await until(lambda: len(rows()) >= 3)
    assert [row["line"] for row in rows()][:3] == [str(512 << 10), "256", "0"]


async def test_it_gets_none_of_our_secrets_but_those_that_its_table_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "WAITBUS_TOKEN", "MY_TOKEN"):
        monkeypatch.setenv(name, "secret")
    async with running(command("env", env=["MY_TOKEN"])):
        await until(rows)
        await until(lambda: any(row["line"].startswith("WAITBUS_STATE_DIR=") for row in rows()))
        await until(lambda: any(row["line"] == "MY_TOKEN=secret" for row in rows()))
    assert [row["line"] for row in rows() if row["line"].endswith("=secret")] == ["MY_TOKEN=secret"]


async def test_json_lines_are_events_of_their_own() -> None:
    line = json.dumps({"event_type": "boot", "conclusion": "success", "delivery_id": "boot-1", "fields": {"n": 1}})
    async with running(shell(f"for i in 1 2 3; do echo '{line}'; done; echo done; sleep 100")):
        await until(lambda: {"line": "done"} in rows())
    with Log(log_path()) as log:
        found = [
            (row.event_type, row.conclusion, row.delivery_id) for row in log.page(0).rows if row.event_type == "boot"
        ]
    assert found == [("boot", "success", "boot-1")]


# -- its owner is killed -------------------------------------------------------------------------------------------------

OWNER = """
import trio
from waitbus.sources import SourceSpec
from waitbus.sources.command import command_table
from waitbus.sources.plugins import source_for
from waitbus.sources.supervision import Supervised
name, table = {name!r}, {table!r}
made = SourceSpec(name="naughty", event_types=["said"], implementation=name) if name else command_table("naughty", table).spec()
trio.run(Supervised("naughty", source_for(made, table)).run)
"""


def owner(spawn: Callable[..., Any], name: str = "", **table: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A process that runs such a source, and what that said at first."""
    started = spawn(program=(sys.executable, "-c", OWNER.format(name=name, table=table)))
    return started, eventually(lambda: rows() if log_path().exists() else [])


def ends_with(started: Any, pids: list[int]) -> None:
    assert all(map(is_alive, pids))
    os.kill(started.pid, signal.SIGKILL)
    try:
        eventually(lambda: not any(map(is_alive, pids)), what="the orphans")
    finally:
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["Talks", "Hangs", "HoldsTheLock"])
def test_a_plugin_ends_when_its_owner_is_killed(spawn: Callable[..., Any], name: str) -> None:
    """Whatever it does: also where no line of its code, and none of its host's, is ever reached again."""
    started, said = owner(spawn, f"naughty:{name}")
    ends_with(started, [said[0]["pid"]])


def test_what_a_plugin_started_ends_with_it_when_its_owner_is_killed(spawn: Callable[..., Any]) -> None:
    started, _ = owner(spawn, "naughty:Spins")
    pids = eventually(lambda: [int(row.get("forked") or row["pid"]) for row in rows()] if len(rows()) == 2 else [])
    ends_with(started, pids)


def test_a_silent_command_ends_when_its_owner_is_killed(spawn: Callable[..., Any]) -> None:
    script = 'sh -c "echo \\$\\$; exec sleep 100" & echo $$; wait'
    started, _ = owner(spawn, command=["sh", "-c", script])
    pids = eventually(lambda: [int(row["line"]) for row in rows()] if len(rows()) == 2 else [])
    ends_with(started, pids)
