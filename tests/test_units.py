"""The units of `units/`: systemd has nothing to object, they fit the program, and a real user manager runs the daemon by them."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import support
from tests.bus import Wire
from waitbus import activation
from waitbus.config import Config
from waitbus.events import EventInsert
from waitbus.paths import socket_path
from waitbus.producer import emit

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "units"
SYSTEMD = next(filter(os.path.exists, ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")), "")
Manager = Callable[..., support.Result]


def unit(name: str) -> configparser.ConfigParser:
    read = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string((UNITS / name).read_text(encoding="utf-8"))
    return read


SERVICE, SOCKET = unit("waitbus.service"), unit("waitbus.socket")


# -- they fit the program ----------------------------------------------------------------------------------------------


def test_the_service_calls_the_daemon(cli: Callable[..., support.Result]) -> None:
    """By its name alone; where it may lie is beside it. The rest of the line is a command that there is."""
    program, *argv = shlex.split(SERVICE["Service"]["ExecStart"])
    assert program == "waitbus"
    assert "%h/.local/bin" in SERVICE["Service"]["ExecSearchPath"].split(":")
    done = cli(*argv, "--help")
    assert done.code == 0
    assert "Serve the bus" in done.out


def test_the_socket_is_the_one_that_waiters_look_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place where a session without variables of ours has it, by a name that the daemon knows for its own."""
    monkeypatch.delenv("WAITBUS_RUNTIME_DIR")
    path = SOCKET["Socket"]["ListenStream"].replace("%t", os.environ["XDG_RUNTIME_DIR"])
    assert Path(path) == socket_path()
    name = SOCKET["Socket"]["FileDescriptorName"]
    assert name in activation.NAMES
    assert activation._chosen(2, ["stranger", name]) == activation.FIRST_FD + 1


def test_the_watchdog_is_patient() -> None:
    """Three heartbeats or more."""
    minutes = re.fullmatch(r"(\d+)min", SERVICE["Service"]["WatchdogSec"])
    assert minutes is not None
    assert int(minutes[1]) * 60 >= 3 * Config().heartbeat_sec


@pytest.mark.parametrize("name", ["waitbus.service", "waitbus.socket"])
def test_no_unit_names_somebodys_home(name: str) -> None:
    """Only systemd's own words for it."""
    assert not re.search(r"(?<![%\w])/(?:home|root|Users|run/user)\b", (UNITS / name).read_text(encoding="utf-8"))


# -- systemd has nothing to object -------------------------------------------------------------------------------------


@pytest.fixture
def installed(home: Path) -> Path:
    """A folder with the units, and a `waitbus` where they look for it."""
    folder = home / "units"
    folder.mkdir()
    for name in ("waitbus.service", "waitbus.socket"):
        shutil.copy(UNITS / name, folder)
    program = home / ".local" / "bin" / "waitbus"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.join(support.WAITBUS)} "$@"\n')
    program.chmod(0o755)
    return folder


def test_systemd_has_nothing_to_object(installed: Path) -> None:
    """`systemd-analyze verify`: unknown settings, wrong values, programs that are not there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    service = installed / "waitbus.service"
    # That of systemd 252 does not look along ExecSearchPath.
    program = installed.parent / ".local" / "bin" / "waitbus"
    service.write_text(service.read_text().replace("ExecStart=waitbus", f"ExecStart={program}"))
    done = support.run(["systemd-analyze", "--user", "verify", str(service), str(installed / "waitbus.socket")])
    assert (done.code, [line for line in done.err.splitlines() if "waitbus" in line]) == (0, [])


# -- a real manager ----------------------------------------------------------------------------------------------------

BASICS = ("basic", "default", "shutdown", "sockets")
BOOTED = "mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "
"""A user manager asks /run whether systemd runs the machine. This /run is nobody else's."""


@pytest.fixture
def manager(
    installed: Path, home: Path, spawn: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    """`systemctl --user` of a manager of our own, that knows our units and nothing else."""
    if not SYSTEMD or os.path.exists("/run/systemd/system"):
        pytest.skip("no place for a systemd of our own")
    if os.geteuid():
        pytest.skip("needs root: a /run of its own")
    for target in BASICS:
        (installed / f"{target}.target").write_text(f"[Unit]\nDescription={target}\nDefaultDependencies=no\n")
    for name in ("WAITBUS_STATE_DIR", "WAITBUS_RUNTIME_DIR", "WAITBUS_CONFIG_DIR"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", str(installed))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "")
    child = spawn("-c", BOOTED + f"{SYSTEMD} --user", program=("unshare", "--mount", "sh"), stdout=None, stderr=None)
    private = Path(os.environ["XDG_RUNTIME_DIR"], "systemd", "private")
    support.eventually(lambda: private.is_socket() or child.poll() is not None)
    if child.poll() is not None:
        pytest.skip("no systemd of our own can be started")

    def systemctl(*argv: str) -> support.Result:
        return support.run(["systemctl", "--user", *argv])

    yield systemctl
    systemctl("kill", "--signal=KILL", "waitbus.service")
    systemctl("stop", "waitbus.socket", "waitbus.service")


def test_a_real_manager_serves_by_them(manager: Manager) -> None:
    """The first connection starts the daemon; it is ready, reloads, is started again when it dies, and ends with its socket."""
    assert manager("start", "waitbus.socket") == support.Result(0, "", "")
    path = socket_path()
    assert path.stat().st_mode & 0o777 == 0o600

    def report() -> dict[str, object]:
        with Wire(path).send({"ext": {"status": True}}) as wire:
            return wire.frames(2)[1]

    with Wire(path) as wire:
        assert wire.send({}).frames(1)[0]["kind"] == "subscribe_ack"
        emit(EventInsert(source="t", event_type="handed_over"))
        assert wire.frames(1)[0]["event_type"] == "handed_over"
        first = report()
        assert first["how"] == "systemd unit waitbus.service"
        assert manager("reload", "waitbus.service").code == 0
        os.kill(int(str(first["pid"])), signal.SIGKILL)
        assert wire.frame() is None
    assert report()["pid"] != first["pid"]
    assert manager("is-active", "waitbus.service").out == "active\n"
    assert manager("stop", "waitbus.socket", "waitbus.service").code == 0
    assert manager("show", "-P", "Result", "waitbus.service").out == "success\n"
    assert not path.exists()
