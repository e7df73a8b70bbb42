"""A daemon with every built-in source on that has something to run, and nothing happens."""

from __future__ import annotations

from pathlib import Path

import trio

from tests import support
from tests.bus import Daemon, daemon
from tests.sources.fake_engine import FakeEngine, says

FOLDERS = 1000


async def test_all_local_sources_cost_nothing_while_nothing_happens(home: Path) -> None:
    """The loop wakes for heartbeats alone, with a tree of 1,000 folders and an engine that is silent. 43 MB here."""
    engine = FakeEngine(home / "engine.sock", [says()])
    for number in range(FOLDERS):
        (home / "root" / f"{number % 10}" / f"{number}").mkdir(parents=True)
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text(
        f'[sources.fs]\nenabled = true\nroots = ["{home / "root"}"]\n'
        f'[sources.docker]\nenabled = true\nhost = "{engine.path}"\n'
    )
    async with engine.listening():
        wakes, memory = await trio.to_thread.run_sync(idle, home)
    assert wakes <= 15
    assert memory < 47_000_000


def idle(home: Path) -> tuple[int, int]:
    """How often it wakes within three heartbeats, and how much it holds."""
    with daemon(home, WAITBUS_HEARTBEAT_SEC="1") as bus, bus.armed() as wire:
        support.eventually(lambda: are_up(bus), timeout=15)
        assert wire.frame() is not None
        before = bus.wakeups(main=True)
        for _ in range(3):
            assert wire.frame() is not None
        return bus.wakeups(main=True) - before, bus.memory()


def are_up(bus: Daemon) -> bool:
    return {row["name"]: row["state"] for row in bus.report()["sources"]} == {"fs": "up", "docker": "up"}
