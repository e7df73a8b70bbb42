"""Sockets that are handed over: by name, by position, by a real `systemd-socket-activate`."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import support
from tests.bus import Wire
from waitbus import activation
from waitbus.errors import SocketUnavailable
from waitbus.events import EventInsert
from waitbus.producer import emit

ACTIVATE = shutil.which("systemd-socket-activate")


# -- by a real one -----------------------------------------------------------------------------------------------------


@pytest.fixture
def activated(home: Path) -> Iterator[list[subprocess.Popen[str]]]:
    if ACTIVATE is None:
        pytest.skip("no systemd-socket-activate here")
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def activate(started: list[subprocess.Popen[str]], *options: str, paths: list[Path]) -> subprocess.Popen[str]:
    """Let systemd's tool listen on `paths`, and start the daemon at the first connection."""
    assert ACTIVATE is not None
    variables = [f"--setenv={name}" for name in os.environ if name.startswith(("WAITBUS_", "PYTHON", "HOME"))]
    listen = [f"--listen={path}" for path in paths]
    argv = [ACTIVATE, *listen, *options, *variables, *support.WAITBUS, "serve"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    started.append(process)
    for path in paths:
        support.eventually(path.is_socket)
    return process


@pytest.mark.parametrize(
    ("options", "ours"),
    [([], 0), (["--fdname=http.sock:broadcast.sock"], 1), (["--fdname=broadcast:http"], 0), (["--fdname=x:y"], 0)],
    ids=["by position", "by name, second", "by name, first", "by position among strangers"],
)
def test_a_handed_over_socket_is_served(
    activated: list[subprocess.Popen[str]], home: Path, options: list[str], ours: int
) -> None:
    """The first connection starts the daemon, and is served; the socket outlives it."""
    paths = [home / "a.sock", home / "b.sock"]
    process = activate(activated, *options, paths=paths)
    with Wire(paths[ours]) as wire:
        assert wire.send({}).frames(1)[0]["kind"] == "subscribe_ack"
        emit(EventInsert(source="t", event_type="handed_over"))
        assert wire.frames(1)[0]["event_type"] == "handed_over"
        with Wire(paths[ours]) as asking:
            assert asking.send({"ext": {"status": True}}).frames(2)[1]["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        assert wire.rest() == []
    assert process.wait(10) == 0
    assert paths[ours].is_socket(), "it is not ours to unlink"


def test_a_handed_over_socket_of_another_kind_is_refused(activated: list[subprocess.Popen[str]], home: Path) -> None:
    """In words: the unit is wrong."""
    path = home / "d.sock"
    process = activate(activated, "--datagram", paths=[path])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", str(path))
        assert process.stderr is not None
        support.read_until(process.stderr, "error: the socket handed over as file descriptor 3 is no listening")
        support.read_until(process.stderr, "hint: the .socket unit needs ListenStream= with a path")
    assert process.wait(10) == 69


# -- the rules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "names", "chosen"),
    [
        (1, "", 3),
        (1, "waitbus.socket", 3),
        (1, "broadcast.sock", 3),
        (2, "http.sock:broadcast.sock", 4),
        (2, "http:other", 4),
        (3, "x:waitbus:broadcast", 4),
        (1, "http.sock", None),
        (2, "http.sock", 4),
        (1, "http.sock:broadcast", None),
    ],
)
def test_which_descriptor_is_ours(count: int, names: str, chosen: int | None) -> None:
    """The one of our name; else the first that is not known to be another's."""
    assert activation._chosen(count, names.split(":")) == chosen


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())},
    ],
    ids=["nothing", "no pid", "another's pid", "none of them", "no number"],
)
def test_nothing_was_handed_to_us(environment: dict[str, str]) -> None:
    """Variables of our parent's are not ours; they are removed so that no child takes them for its own."""
    assert activation.inherited(environment) is None
    assert not environment


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    """Whoever handed it over is told which."""
    with (
        (tmp_path / "x").open("w") as file,
        pytest.raises(SocketUnavailable, match=f"file descriptor {file.fileno()} is no socket"),
    ):
        activation._listening(file.fileno())


def test_more_sockets_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _inheritable: bool) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(os, "set_inheritable", refuse)
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "20"}
    with pytest.raises(SocketUnavailable, match="LISTEN_FDS says 20 sockets, and file descriptor 3 is none: Bad file"):
        activation.inherited(environment)


def test_a_socket_that_does_not_listen_is_refused() -> None:
    """And is not closed: it is not ours."""
    with socket.socket(socket.AF_UNIX) as idle:
        with pytest.raises(SocketUnavailable, match="no listening unix stream socket"):
            activation._listening(idle.fileno())
        os.fstat(idle.fileno())


@pytest.mark.parametrize(
    ("environment", "heartbeat", "said"),
    [
        ({"WATCHDOG_USEC": "180000000"}, 60.0, ()),
        ({"WATCHDOG_USEC": "179000000"}, 60.0, ("WATCHDOG_USEC=180000000",)),
        ({"WATCHDOG_USEC": "300000000", "WATCHDOG_PID": str(os.getpid())}, 600.0, ("WATCHDOG_USEC=1800000000",)),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, 60.0, ()),
        ({"WATCHDOG_USEC": "1"}, float("inf"), ("WATCHDOG_USEC=94867200000000",)),
        ({"WATCHDOG_USEC": "soon"}, 60.0, ()),
        ({}, 60.0, ()),
    ],
)
def test_a_watchdog_waits_for_three_heartbeats(
    environment: dict[str, str], heartbeat: float, said: tuple[str, ...]
) -> None:
    """Whoever makes the heartbeat longer in the configuration need not think of the unit."""
    assert activation.watchdog(heartbeat, environment) == said
