"""What the client's tests share: a daemon that can be killed at a step, and every public call by its three faces."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bus import Daemon
from tests.client.faces import FACES, Face
from waitbus.client.session import Session


class Bus:
    """A daemon of the test's folders, started and ended as often as the test likes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.daemon: Daemon | None = None
        self._all: list[Daemon] = []

    def start(self, **variables: Any) -> Daemon:
        self.daemon = Daemon(self.home, "serve", **variables)
        self._all.append(self.daemon)
        return self.daemon

    def kill(self) -> None:
        """SIGKILL: the socket file stays behind."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon = None

    def signal(self, number: signal.Signals) -> None:
        assert self.daemon is not None
        self.daemon.process.send_signal(number)

    def end(self) -> None:
        for daemon in self._all:
            daemon.kill()


@pytest.fixture
def bus(home: Path) -> Iterator[Bus]:
    """A daemon to start."""
    made = Bus(home)
    yield made
    made.end()


@pytest.fixture(params=["socket", "log"])
def transport(request: pytest.FixtureRequest, bus: Bus) -> str:
    """`socket` with a daemon running, `log` without."""
    name: str = request.param
    if name == "socket":
        bus.start()
    return name


@pytest.fixture(params=FACES, ids=[face.name for face in FACES])
def face(request: pytest.FixtureRequest) -> Face:
    """The synchronous call, or the asynchronous one under trio or asyncio."""
    found: Face = request.param
    return found


STEPS = {
    "before the connection": ("_connect", 1),
    "during the handshake": ("_handshake", 1),
    "behind the ack": ("_live", 1),
    "between events": ("_take_one", 4),
    "during catch-up": ("_take_one", 300),
}
"""Where a daemon dies: the state of the session, and the how manieth time it is entered."""


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Callable[[], None]], None]]:
    """`at(step, action)` calls `action` when a session comes to that step of `STEPS`, once; the test fails if none does."""
    waiting: list[str] = []

    def arrange(step: str, action: Callable[[], None]) -> None:
        name, count = STEPS[step]
        original = getattr(Session, name)
        entered = 0
        waiting.append(step)

        def state(self: Session, *args: Any) -> Any:
            nonlocal entered
            entered += 1
            if entered == count:
                waiting.remove(step)
                action()
            return original(self, *args)

        monkeypatch.setattr(Session, name, state)

    yield arrange
    assert not waiting
