"""The daemon as a process: one for each log and socket, its signals, its word to systemd, its cost when nothing happens."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.bus import Daemon, Wire, daemon
from waitbus import activation, holder, instance
from waitbus.daemon import _descriptors
from waitbus.errors import SocketUnavailable
from waitbus.events import EventInsert
from waitbus.producer import emit


@pytest.fixture
def place(home: Path) -> Path:
    """Where a daemon of the test's own lives: the folders that the environment names."""
    return home


def say(bus: Daemon, event_type: str) -> None:
    emit(EventInsert(source="t", event_type=event_type), db_path=bus.log)


# -- one of them -------------------------------------------------------------------------------------------------------


def test_it_says_what_it_serves(bus: Daemon) -> None:
    """One line, with the time, on stderr."""
    assert re.fullmatch(rf"\d\d:\d\d:\d\d serving {bus.log} on {bus.path}\n", bus.said)


@pytest.mark.parametrize("other", ["both", "log", "socket"])
def test_a_second_one_is_refused_with_the_pid_of_the_first(bus: Daemon, other: str, home: Path, cli: Any) -> None:
    """For the same log, and for the same socket; the first one does not notice."""
    env = {"WAITBUS_RUNTIME_DIR": str(home / "r2")} if other == "log" else {}
    env |= {"WAITBUS_STATE_DIR": str(home / "s2")} if other == "socket" else {}
    done = cli("serve", env=env)
    assert done.code == 2
    assert re.fullmatch(
        rf"error: a waitbus daemon is already running \(pid {bus.pid}, since \w\w\w \d\d:\d\d, by hand\)\n"
        rf"hint: `waitbus status` shows it; `kill {bus.pid}` ends it\n",
        done.err,
    )
    with bus.armed() as wire:
        say(bus, "still_there")
        assert wire.frames(1)[0]["event_type"] == "still_there"


def test_another_programs_daemon_is_refused_with_its_pid(home: Path, cli: Any) -> None:
    """Whatever it speaks: the kernel tells who listens."""
    (home / "r").mkdir(mode=0o700)
    path = home / "r" / "broadcast.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        done = cli("serve")
        assert done.code == 2
        assert done.err == (
            f"error: another program's daemon is already running on {path} (pid {os.getpid()})\n"
            f"hint: stop it (`kill {os.getpid()}`), or set WAITBUS_RUNTIME_DIR to another directory\n"
        )
    assert path.is_socket()


def test_the_daemon_of_0_2_is_refused_with_its_pid(home: Path, old_venv: Path, cli: Any) -> None:
    """It has the same socket; stealing it would make its clients deaf."""
    folders = {name: str(home / name) for name in ("s", "r", "c")}
    for folder in folders.values():
        Path(folder).mkdir(mode=0o700)
    env = {
        **os.environ,
        "WAITBUS_STATE_DIR": folders["s"],
        "WAITBUS_RUNTIME_DIR": folders["r"],
        "WAITBUS_CONFIG_DIR": folders["c"],
    }
    program = [str(old_venv / "bin" / "waitbus"), "broadcast", "serve"]
    with subprocess.Popen(program, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as old:
        try:
            support.eventually((home / "r" / "broadcast.sock").is_socket, timeout=20)
            done = cli("serve")
            assert done.code == 2
            assert (
                f"another program's daemon is already running on {home / 'r' / 'broadcast.sock'} (pid {old.pid})"
                in done.err
            )
            assert old.poll() is None
        finally:
            old.kill()


def test_a_stale_socket_is_replaced(place: Path) -> None:
    """Its daemon was killed: nobody answers there."""
    with daemon(place) as first:
        first.process.kill()
        first.process.wait()
        assert first.path.is_socket()
    with daemon(place) as second, second.armed() as wire:
        say(second, "again")
        assert wire.frames(1)[0]["event_type"] == "again"


def test_a_file_in_the_sockets_place_is_left_alone(home: Path, cli: Any) -> None:
    """It may be somebody's."""
    (home / "r").mkdir(mode=0o700)
    path = home / "r" / "broadcast.sock"
    path.write_text("mine")
    done = cli("serve")
    assert (done.code, done.err) == (69, f"error: {path} is there and is no socket\nhint: move it away\n")
    assert path.read_text() == "mine"


def test_only_our_own_socket_is_unlinked(bus: Daemon) -> None:
    """Another program may have put its own there meanwhile."""
    bus.path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(bus.path))
        bus.stop()
        assert bus.path.is_socket()


def test_a_long_path_is_refused_in_words(home: Path, cli: Any) -> None:
    """The kernel takes 107 bytes."""
    folder = home / ("x" * 100)
    done = cli("serve", env={"WAITBUS_RUNTIME_DIR": str(folder)})
    assert done.code == 2
    assert "the kernel takes" in done.err


@pytest.mark.parametrize("garbage", [b"\xff\0\x1b[2J", b"[" * 100_000, b'{"pid": -1, "since": 1e999, "how": []}'])
def test_whoever_holds_a_lock_of_garbage_is_refused_without_a_pid(home: Path, cli: Any, garbage: bytes) -> None:
    """And nobody is told to kill what the garbage says."""
    (home / "s").mkdir(mode=0o700)
    lock = home / "s" / "daemon.lock"
    held = instance.Lock(lock, how="")
    lock.write_bytes(garbage)
    done = cli("serve")
    held.release()
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: a waitbus daemon is already running (pid unknown)\n"
        f"hint: `waitbus status` shows it; `fuser {lock}` names it\n"
    )


def test_the_locks_are_free_behind_it(place: Path) -> None:
    """And say nothing of who is gone."""
    with daemon(place) as bus:
        locks = [place / "s" / "daemon.lock", place / "r" / "daemon.lock"]
        assert [holder.read(lock)["pid"] for lock in locks] == [bus.pid] * 2
        assert all(instance.is_held(lock) for lock in locks)
        bus.stop()
    assert [(instance.is_held(lock), holder.read(lock)) for lock in locks] == [(False, {})] * 2


def test_a_lock_that_cannot_be_opened_is_said(home: Path) -> None:
    """By its path, and not as a bug."""
    (home / "daemon.lock").mkdir()
    with pytest.raises(SocketUnavailable, match=re.escape(f"cannot open {home / 'daemon.lock'}")):
        instance.Lock(home / "daemon.lock", how="")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "by hand"),
        ({"INVOCATION_ID": "0" * 32}, "by hand"),
        ({"SYSTEMD_EXEC_PID": "1"}, "by hand"),
        ({"XPC_SERVICE_NAME": "0"}, "by hand"),
        ({"XPC_SERVICE_NAME": "dev.waitbus"}, "launchd agent dev.waitbus"),
    ],
    ids=str,
)
def test_how_it_was_started(environment: dict[str, str], said: str) -> None:
    """A shell of a systemd desktop is not a unit."""
    assert instance.started_by(environment) == said


def test_a_unit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the hint can say how to restart it."""
    monkeypatch.setattr(instance, "_unit", lambda: "waitbus.service")
    how = instance.started_by({"SYSTEMD_EXEC_PID": str(os.getpid())})
    assert how == "systemd unit waitbus.service"
    refused = instance._running({"pid": 42, "since": 1, "how": how}, Path("/l"))
    assert "systemd unit waitbus.service" in refused.message
    assert refused.hint == "`waitbus status` shows it; `systemctl --user restart waitbus.service` restarts it"


# -- signals and settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(bus: Daemon, number: int) -> None:
    """Subscribers get EOF, the socket is gone, one line says so."""
    with bus.armed() as wire:
        said = bus.stop(number)
        assert wire.rest() == []
    assert "stopping; what is committed goes to 1 subscriber\n" in said
    assert not bus.path.exists()


def test_a_second_signal_ends_it_at_once(bus: Daemon) -> None:
    """Though somebody has not read all."""
    with bus.armed(), stalled_by(bus, count=40):
        bus.process.send_signal(signal.SIGTERM)
        support.read_until(bus._stderr, "stopping")
        bus.stop(timeout=0.9)


def stalled_by(bus: Daemon, count: int) -> Any:
    """A subscriber with more before it than any buffer takes, which it does not read."""
    wire = bus.armed()
    for _ in range(count):
        emit(EventInsert(source="t", event_type="big", fields={"pad": "x" * 50_000}), db_path=bus.log)
    support.eventually(lambda: bus.report()["log"]["seq"] == count)
    return wire


def test_sighup_reads_the_configuration_anew(place: Path) -> None:
    """What is wrong in it is said, and what was in force stays so."""
    with daemon(place) as bus:
        config = place / "c" / "config.toml"
        config.parent.mkdir(exist_ok=True)
        config.write_text("heartbeat_sec = 7\n")
        bus.process.send_signal(signal.SIGHUP)
        support.read_until(bus._stderr, "the configuration was read anew")
        with bus.subscribe() as wire:
            assert wire.frames(1)[0]["heartbeat_sec"] == 7
        config.write_text("heartbeat_sec = -7\n")
        bus.process.send_signal(signal.SIGHUP)
        said = support.read_until(bus._stderr, "going on with what was in force")
        assert "error: " in said
        with bus.subscribe() as wire:
            assert wire.frames(1)[0]["heartbeat_sec"] == 7


def test_a_configuration_that_is_wrong_is_refused(place: Path, cli: Any) -> None:
    """Before anything is opened."""
    done = cli("serve", env={"WAITBUS_HEARTBEAT_SEC": "soon"})
    assert done.code == 2
    assert done.err.startswith("error: WAITBUS_HEARTBEAT_SEC 'soon' is not a number of seconds\n")
    assert not (place / "s").exists()


def test_a_heartbeat_that_would_spin_is_refused(place: Path, cli: Any) -> None:
    """By the file, by the variable, and while it runs."""
    done = cli("serve", env={"WAITBUS_HEARTBEAT_SEC": "1e-9"})
    assert (done.code, done.err) == (
        2,
        "error: WAITBUS_HEARTBEAT_SEC: heartbeat_sec: 1e-09 is below 0.05\nhint: write 0.05 or more\n",
    )
    with daemon(place, WAITBUS_HEARTBEAT_SEC="") as bus:
        (place / "c").mkdir(exist_ok=True)
        (place / "c" / "config.toml").write_text("heartbeat_sec = 1e-9\n")
        bus.process.send_signal(signal.SIGHUP)
        said = support.read_until(bus._stderr, "going on with what was in force")
        assert "heartbeat_sec: 1e-09 is below 0.05 (write 0.05 or more)" in said


def test_warnings_only_if_asked(place: Path) -> None:
    """`log_level` decides what is said; DEBUG tells of each subscriber."""
    with daemon(place, WAITBUS_LOG_LEVEL="debug") as bus:
        with bus.subscribe(proto=2) as wire:
            wire.rest()
        said = support.read_until(bus._stderr, "refused")
        assert "debug: a subscriber was refused: proto 2" in said


def test_descriptors_are_raised_for_us_alone(bus: Daemon) -> None:
    """To the hard limit in the daemon; what was in force is restored behind it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = Path(f"/proc/{bus.pid}/limits").read_text()
    assert (
        f"{min(hard, 1 << 20)}"
        in next(line for line in limits.splitlines() if line.startswith("Max open files")).split()
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with _descriptors():
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (64, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- systemd -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(home: Path) -> Iterator[Callable[[], list[str]]]:
    """A service manager: the lines of the next datagram that the daemon sends it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(home / "notify"))
        listening.settimeout(10)
        yield lambda: listening.recv(4096).decode().split("\n")


def test_the_manager_is_told_how_it_is(place: Path, manager: Callable[[], list[str]]) -> None:
    """READY when the socket listens; WATCHDOG on the heartbeat; RELOADING with its time; STOPPING first of all."""
    with daemon(place, NOTIFY_SOCKET=str(place / "notify"), WAITBUS_HEARTBEAT_SEC="0.3") as bus:
        assert manager() == ["READY=1", f"STATUS=serving {bus.log}"]
        assert manager() == ["WATCHDOG=1"]
        bus.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1 MONOTONIC_USEC=\d+", " ".join(other_than_alive(manager)))
        assert other_than_alive(manager) == ["READY=1"]
        bus.process.send_signal(signal.SIGTERM)
        assert other_than_alive(manager) == ["STOPPING=1"]
        assert bus.process.wait(10) == 0


def other_than_alive(manager: Callable[[], list[str]]) -> list[str]:
    while (said := manager()) == ["WATCHDOG=1"]:
        pass
    return said


def test_nobody_is_told_where_nobody_asked() -> None:
    """And a manager that is gone is no error."""
    assert activation.notify("READY=1", environment={}) is False
    assert activation.notify("READY=1", environment={"NOTIFY_SOCKET": "/nowhere/at/all"}) is False


def test_an_abstract_address_is_understood() -> None:
    """systemd's user manager has such."""
    name = f"waitbus-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        assert activation.notify("READY=1", environment={"NOTIFY_SOCKET": f"@{name}"})
        assert listening.recv(100) == b"READY=1"


# -- nothing happens ---------------------------------------------------------------------------------------------------


def test_between_heartbeats_nobody_wakes(place: Path) -> None:
    """The event loop sleeps from one heartbeat to the next: a few switches each, however many wait."""
    with daemon(place, WAITBUS_HEARTBEAT_SEC="1") as bus, bus.armed() as wire:
        waiters = [bus.armed() for _ in range(20)]
        assert wire.frame() is not None
        before = bus.wakeups(main=True)
        for _ in range(3):
            assert wire.frame() is not None
        assert bus.wakeups(main=True) - before <= 15
        for waiter in waiters:
            waiter.socket.close()


def test_an_idle_daemon_is_small(bus: Daemon) -> None:
    """33 MB here; whoever makes it larger is to know."""
    assert bus.memory() < 38_000_000


def test_a_doorbell_that_was_removed_is_hung_up_anew(place: Path) -> None:
    """Whoever removes the state folder takes the bell along; the daemon is deaf for a heartbeat at most."""
    with daemon(place, WAITBUS_HEARTBEAT_SEC="0.3") as bus:
        shutil.rmtree(place / "s" / "bells")
        with bus.armed() as wire:
            support.eventually(lambda: list((place / "s" / "bells").glob("*")))
            say(bus, "after")
            assert wire.frames(1)[0]["event_type"] == "after"


def test_a_state_folder_that_was_removed_is_begun_anew(place: Path) -> None:
    """Subscribers are sent away, and find the new log behind the daemon."""
    with daemon(place, WAITBUS_HEARTBEAT_SEC="0.3") as bus:
        say(bus, "before")
        with bus.armed() as wire:
            (place / "s").rename(place / "gone")
            say(bus, "after")
            assert {frame["kind"] for frame in wire.rest()} <= {"daemon_heartbeat"}
        with bus.subscribe(since="0" * 26) as wire:
            assert [frame.get("event_type") for frame in wire.frames(2)] == [None, "after"]


# -- the socket's path -------------------------------------------------------------------------------------------------


def test_a_socket_that_was_removed_is_bound_anew(place: Path) -> None:
    """On the heartbeat, with its folder where that went too. Who is subscribed stays; no descriptor is left behind."""
    with daemon(place, WAITBUS_HEARTBEAT_SEC="0.2") as bus, bus.armed() as early:
        before = sockets(bus)
        for folder_too in (False, True):
            shutil.rmtree(place / "r") if folder_too else bus.path.unlink()
            support.eventually(bus.path.is_socket)
            with bus.armed() as late:
                say(bus, "after")
                assert [wire.frames(1)[0]["event_type"] for wire in (early, late)] == ["after"] * 2
        assert bus.path.stat().st_mode & 0o777 == 0o600
        support.eventually(lambda: sockets(bus) == before)
        said = bus.stop()
        assert early.rest() == []
    assert said.count("was removed; it is bound anew") == 2
    assert not bus.path.exists()


def test_what_stands_in_the_place_of_our_socket_is_left_alone_and_said_once(place: Path) -> None:
    """Until it is moved away."""
    with daemon(place, WAITBUS_HEARTBEAT_SEC="0.2") as bus, bus.armed() as wire:
        bus.path.unlink()
        bus.path.write_text("mine")
        beats(wire, 4)
        assert bus.path.read_text() == "mine"
        bus.path.rename(place / "mine")
        support.eventually(bus.path.is_socket)
        bus.armed().socket.close()
        assert bus.stop().count("something else stands where our socket") == 1


def test_a_socket_that_cannot_be_bound_anew_is_said_once(place: Path) -> None:
    with daemon(place, WAITBUS_HEARTBEAT_SEC="0.2") as bus, bus.armed() as wire:
        shutil.rmtree(place / "r")
        (place / "r").write_text("a file")
        beats(wire, 4)
        say(bus, "still_there")
        assert wire.frames(1)[0]["event_type"] == "still_there"
        assert bus.stop().count("the socket is gone and cannot be bound anew") == 1


def test_a_socket_that_was_handed_over_is_not_ours_to_bind(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(home / "handed.sock"))
        (home / "handed.sock").unlink()
        assert instance.Listener(handed).stands() == "ours"


def sockets(bus: Daemon) -> int:
    """How many it has open."""
    return sum(link.is_socket() for link in Path(f"/proc/{bus.pid}/fd").iterdir())


def beats(wire: Wire, count: int) -> None:
    """Let so many heartbeats go by."""
    for _ in range(count):
        frame = wire.frame()
        assert frame is not None
        assert frame["kind"] == "daemon_heartbeat"
