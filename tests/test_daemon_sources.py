"""A daemon process that runs sources: what its configuration says, as it changes; what they heard; what everybody is told."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import support, wheels
from tests.bus import Daemon, daemon
from tests.logs import rows
from tests.schemas import checked
from tests.sources.doorbell import ENVIRONMENT, PROGRAM, tell
from waitbus.store import Log

Spawn = Callable[..., Any]


@pytest.fixture
def door(home: Path) -> Path:
    """Where the doorbell listens."""
    return home / "door"


def configure(home: Path, text: str) -> None:
    (home / "c").mkdir(exist_ok=True)
    (home / "c" / "config.toml").write_text(text, encoding="utf-8")


def knocking(home: Path, door: Path, more: str = "") -> None:
    configure(home, f'[sources.doorbell]\nenabled = true\npath = "{door}"\n{more}')


@pytest.fixture
def knocked(home: Path, door: Path) -> Iterator[Daemon]:
    """A daemon whose doorbell listens."""
    knocking(home, door)
    with serving(home) as bus:
        wait_for_state(bus, "up")
        yield bus


def serving(home: Path, **variables: str) -> Any:
    return daemon(home, program=PROGRAM, **ENVIRONMENT, **variables)


def states(bus: Daemon) -> dict[str, str]:
    return {row["name"]: row["state"] for row in bus.report()["sources"]}


def wait_for_state(bus: Daemon, state: str) -> dict[str, Any]:
    """The row of the doorbell in that state."""
    found: list[dict[str, Any]] = support.eventually(
        lambda: [row for row in bus.report()["sources"] if row["state"] == state]
    )
    return found[0]


def said(log: Log) -> list[tuple[str, str | None]]:
    """What the log was told of the sources' health."""
    return [(row.event_type, json.loads(row.fields).get("reason")) for row in rows(log) if row.source == "waitbus"]


# -- what runs ---------------------------------------------------------------------------------------------------------


def test_what_it_hears_is_in_the_log_and_wakes_who_waits(knocked: Daemon, door: Path, spawn: Spawn) -> None:
    waiter = spawn("wait", "--source", "doorbell", "--timeout", "10s")
    support.read_until(waiter.stderr, "armed")
    tell(door, "knock", "alice")
    assert waiter.communicate(timeout=10)[0] == "knock  alice\n"
    row = support.eventually(lambda: [one for one in knocked.report()["sources"] if one["events"]])[0]
    assert (row["events"], row["heard"] >= row["since"], row["scope"]) == (1, True, [str(door)])


def test_nothing_runs_that_is_not_switched_on(home: Path, door: Path) -> None:
    configure(home, f'[sources.doorbell]\npath = "{door}"\n')
    with serving(home) as bus:
        assert bus.report()["sources"] == []
    assert not door.exists()


def test_a_reload_begins_ends_and_renews(home: Path, door: Path, log: Log) -> None:
    """What is not mentioned any more ends, which is said; what has another table begins anew, which is not; what is wrong changes
    nothing."""
    configure(home, "")
    with serving(home) as bus:
        assert states(bus) == {}
        knocking(home, door)
        reload(bus)
        since = wait_for_state(bus, "up")["since"]
        knocking(home, door, "volume = 11\n")  # a key that nobody knows
        reload(bus)
        support.read_until(bus._stderr, "goes on with what was in force")
        assert wait_for_state(bus, "up")["since"] == since
        knocking(home, door, 'names = ["bob"]\n')
        reload(bus)
        support.eventually(lambda: states(bus) == {"doorbell": "up"} and wait_for_state(bus, "up")["since"] > since)
        tell(door, "knock", "alice")
        tell(door, "knock", "bob")
        support.eventually(lambda: [row.delivery_id for row in rows(log) if row.source == "doorbell"] == ["bob"])
        configure(home, "")
        reload(bus)
        support.eventually(lambda: states(bus) == {})
    assert said(log)[-1] == ("source_down", "it is switched off in the configuration")


def test_one_whose_table_stays_as_it_is_is_left_alone_by_a_reload(home: Path, knocked: Daemon, door: Path) -> None:
    before = wait_for_state(knocked, "up")["since"]
    knocking(home, door, "[retention]\nmax_age = '7d'\n")
    reload(knocked)
    assert wait_for_state(knocked, "up")["since"] == before


def reload(bus: Daemon) -> None:
    bus.process.send_signal(signal.SIGHUP)
    support.read_until(bus._stderr, "the configuration was read anew")


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_source_that_fails_is_tried_again_and_the_daemon_goes_on(knocked: Daemon, door: Path, log: Log) -> None:
    """F20: it says so, in the log too, and comes back by itself."""
    tell(door, "fail", "the bell is broken")
    support.eventually(lambda: said(log) == [("source_down", "the bell is broken"), ("source_up", None)])
    wait_for_state(knocked, "up")
    tell(door, "knock", "alice")
    support.eventually(lambda: [row.delivery_id for row in rows(log) if row.source == "doorbell"] == ["alice"])
    assert "warning: source doorbell is down: the bell is broken\n" in knocked.stop()


WRONG = [
    ("[sources.doorbell]\nenabled = true\n", "doorbell", "sources.doorbell.path is not given"),
    ("[sources.dorbell]\nenabled = true\n", "dorbell", "no source 'dorbell' is known here (did you mean 'doorbell'?)"),
    ("[sources.agent]\nenabled = true\n", "agent", "agent has nothing to run"),
    ("[sources.doorbell]\nenabled = true\npath = '/nowhere/at/all'\n", "doorbell", "there is no folder for /nowhere"),
]


@pytest.mark.parametrize(("text", "name", "why"), WRONG, ids=[row[2] for row in WRONG])
def test_a_table_that_is_wrong_is_a_source_that_is_down_and_no_reason_not_to_start(
    home: Path, log: Log, text: str, name: str, why: str
) -> None:
    configure(home, text)
    with serving(home) as bus:
        row = wait_for_state(bus, "down")
        assert (row["name"], why in row["reason"]) == (name, True)
        support.eventually(lambda: [event_type for event_type, _ in said(log)] == ["source_down"])


def test_what_is_heard_is_committed_though_the_daemon_ends(home: Path, knocked: Daemon, door: Path, log: Log) -> None:
    """SIGTERM ends the sources first; that nobody listens any more is the last thing they say."""
    with knocked.armed() as wire:
        for number in range(50):
            tell(door, "knock", f"n{number}")
        support.eventually(lambda: log.head() >= 1)
        knocked.stop()
        heard = [frame["event_type"] for frame in wire.rest() if frame["kind"] == "event"]
    written = [row.event_type for row in rows(log)]
    assert heard == written
    assert set(written[:-1]) == {"knock"}
    assert said(log) == [("source_down", "the daemon was stopped")]


def test_a_daemon_that_is_back_says_that_its_sources_are(home: Path, door: Path, log: Log) -> None:
    """Also where the one before was killed while a source was down."""
    knocking(home, door)
    with serving(home) as first:
        wait_for_state(first, "up")
        tell(door, "down", "nobody is in")
        support.eventually(lambda: said(log))
        first.kill()
    with serving(home) as second:
        wait_for_state(second, "up")
        support.eventually(lambda: said(log) == [("source_down", "nobody is in"), ("source_up", None)])


def test_a_second_signal_does_not_wait_for_a_source(home: Path, knocked: Daemon, door: Path) -> None:
    tell(door, "knock", "alice")
    knocked.process.send_signal(signal.SIGTERM)
    knocked.stop(timeout=5)


def test_a_source_costs_nothing_while_nothing_happens(home: Path, door: Path) -> None:
    """The loop wakes for heartbeats alone."""
    knocking(home, door)
    with serving(home, WAITBUS_HEARTBEAT_SEC="1") as bus, bus.armed() as wire:
        wait_for_state(bus, "up")
        assert wire.frame() is not None
        before = bus.wakeups(main=True)
        for _ in range(3):
            assert wire.frame() is not None
        assert bus.wakeups(main=True) - before <= 15


# -- what people see ---------------------------------------------------------------------------------------------------


def test_status_says_how_each_source_is(home: Path, knocked: Daemon, door: Path, cli: Any) -> None:
    assert f"sources   doorbell ok (~/{door.name}, nothing yet)\n" in cli("status").out
    tell(door, "down", "nobody is in")
    row = wait_for_state(knocked, "down")
    assert 0 < row["retry_at"] - row["since"] <= 21e9
    line = next(one for one in cli("status").out.splitlines() if one.startswith("sources"))
    assert re.fullmatch(r"sources   doorbell down [\d.]+ m?s: nobody is in \(retry in \d+(\.\d)? s\)", line)
    (told,) = checked("status", cli("status", "--json").out)["sources"]
    assert (told["name"], told["state"], told["reason"], told["scope"]) == (
        "doorbell",
        "down",
        "nobody is in",
        [str(door)],
    )


def test_source_list_says_what_the_daemon_runs(knocked: Daemon, home: Path) -> None:
    done = support.run([*PROGRAM, "source", "list"], env=ENVIRONMENT)
    assert re.search(r"^doorbell +ok +Whoever knocks\.\n +knock$", done.out, re.MULTILINE)
    configure(home, "")
    knocked.stop()
    done = support.run([*PROGRAM, "source", "list", "--json"], env=ENVIRONMENT)
    row = next(row for row in map(json.loads, done.out.splitlines()) if row["name"] == "doorbell")
    assert (row["enabled"], row["state"], row["runs"]) == (False, None, True)


# -- a wait whose source goes down -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        ("wait", "--source", "doorbell"),
        ("wait", "--all-of", "doorbell:name=alice", "--fail-on", "agent:msg_from=eve"),
        ("on", "--source", "doorbell"),
    ],
    ids=" ".join,
)
def test_a_wait_whose_source_goes_down_says_so_and_goes_on(
    knocked: Daemon, door: Path, spawn: Spawn, asked: tuple[str, ...]
) -> None:
    child = ("--", "echo", "knock") if asked[0] == "on" else ()
    waiter = spawn(*asked, "--timeout", "20s", *child)
    support.read_until(waiter.stderr, "armed")
    tell(door, "down", "nobody is in")
    assert support.read_until(waiter.stderr, "waiting on") == "warning: doorbell is down: nobody is in; waiting on\n"
    tell(door, "up")
    assert support.read_until(waiter.stderr, "up again") == "waitbus: doorbell is up again\n"
    tell(door, "knock", "alice")
    out, _ = waiter.communicate(timeout=20)
    assert (waiter.returncode, "knock" in out) == (0, True)


def test_a_wait_that_begins_while_its_source_is_down_is_told(
    knocked: Daemon, door: Path, log: Log, spawn: Spawn
) -> None:
    tell(door, "down", "nobody is in")
    support.eventually(lambda: said(log))
    waiter = spawn("wait", "--source", "doorbell", "--since", "1h", "--timeout", "20s")
    assert (
        support.read_until(waiter.stderr, "waiting on")
        == "armed\nwarning: doorbell is down: nobody is in; waiting on\n"
    )
    tell(door, "knock", "alice")
    out, err = waiter.communicate(timeout=20)
    assert (out, err) == ("knock  alice\n", "waitbus: doorbell is up again\n")


def test_who_waits_for_something_else_hears_nothing_of_it(knocked: Daemon, door: Path, log: Log, spawn: Spawn) -> None:
    waiter = spawn("wait", "deploy_finished", "--timeout", "1s")
    support.read_until(waiter.stderr, "armed")
    tell(door, "down", "nobody is in")
    support.eventually(lambda: said(log))
    _, err = waiter.communicate(timeout=20)
    assert (waiter.returncode, "doorbell" in err) == (124, False)


def test_status_shows_what_was_asked_for_and_not_what_is_heard_aside(knocked: Daemon, cli: Any, spawn: Spawn) -> None:
    waiter = spawn("wait", "--source", "doorbell", "--timeout", "20s")
    support.read_until(waiter.stderr, "armed")
    (told,) = checked("status", cli("status", "--json").out)["waiting"]
    assert told["predicate"] == '@source="doorbell"'
    waiter.kill()


# -- a plugin that is refused ------------------------------------------------------------------------------------------


@pytest.fixture
def info(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example plugin, installed for every process of this test and switched on."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(home / "site"), str(wheels.ROOT)]))
    configure(home, "[sources.timer]\nenabled = true\nevery = 0.05\n")
    return wheels.unpacked(wheels.contents(wheels.TIMER), home / "site")


def put_another_in_its_place(info: Path) -> None:
    """The same version with other files, whose RECORD agrees."""
    files = dict(wheels.contents(wheels.TIMER))
    files["waitbus_timer/run.py"] += b"# not what it was\n"
    record = f"{info.name}/RECORD"
    rest = {name: data for name, data in files.items() if name != record}
    wheels.unpacked({**rest, record: wheels.record(rest, info.name)}, info.parent)


def row_of(bus: Daemon, state: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = support.eventually(
        lambda: [row for row in bus.report()["sources"] if (row["name"], row["state"]) == ("timer", state)], 20
    )
    return found[0]


def end_its_child(bus: Daemon) -> None:
    tasks = Path(f"/proc/{bus.pid}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    for pid in children:
        os.kill(pid, signal.SIGKILL)


CHANGED = "its files are not those of version 1.0 that was trusted"


def test_one_that_is_refused_while_it_runs_stays_down_until_somebody_decides(
    home: Path, info: Path, log: Log, cli: Any
) -> None:
    with daemon(home) as bus:
        row_of(bus, "up")
        put_another_in_its_place(info)
        end_its_child(bus)
        support.eventually(lambda: CHANGED in row_of(bus, "down")["reason"], 20)
        refused = row_of(bus, "down")
        assert refused["retry_at"] is None
        assert "`waitbus allowlist add timer` trusts it as it is" in refused["reason"]
        support.eventually(
            lambda: [reason for kind, reason in said(log) if kind == "source_down" and CHANGED in str(reason)]
        )
        assert cli("allowlist", "add", "timer").code == 0
        row_of(bus, "up")  # long before the next heartbeat
        assert cli("wait", "timer_tick", "--timeout", "10s").code == 0


def test_one_that_is_refused_at_the_start_is_looked_at_with_a_heartbeat_and_costs_none(
    home: Path, info: Path, log: Log, cli: Any
) -> None:
    assert cli("allowlist", "add", "timer").code == 0
    put_another_in_its_place(info)
    with daemon(home, WAITBUS_HEARTBEAT_SEC="0.5") as bus, bus.armed() as wire:
        refused = row_of(bus, "down")
        assert CHANGED in refused["reason"]
        assert wire.frame() is not None
        before = bus.wakeups(main=True)
        for _ in range(3):
            assert wire.frame() is not None
        assert bus.wakeups(main=True) - before <= 25
        assert row_of(bus, "down")["since"] == refused["since"], "and it is not told again and again"
        wheels.unpacked(wheels.contents(wheels.TIMER), info.parent)  # installed anew
        row_of(bus, "up")
        # A look in the middle of the installation finds another fault, and that is told too.
        support.eventually(lambda: [kind for kind, _ in said(log)][-1:] == ["source_up"])
        assert said(log)[0][0] == "source_down"


def test_one_that_is_forbidden_while_it_runs_ends(home: Path, info: Path, log: Log) -> None:
    """`plugins.deny` wins over what runs already; a table that is wrong does not."""
    table = "[sources.timer]\nenabled = true\nevery = 0.05\n"
    with daemon(home) as bus:
        since = row_of(bus, "up")["since"]
        configure(home, table + "memory = 'much'\n")
        reload(bus)
        support.read_until(bus._stderr, "goes on with what was in force")
        assert row_of(bus, "up")["since"] == since
        configure(home, f"[plugins]\ndeny = ['timer']\n{table}")
        reload(bus)
        assert "plugins.deny names it" in row_of(bus, "down")["reason"]
        assert [reason for kind, reason in said(log) if kind == "source_down" and "plugins.deny" in str(reason)]
        configure(home, table)
        reload(bus)
        row_of(bus, "up")


def test_one_that_is_installed_later_begins_then(home: Path, info: Path) -> None:
    shutil.move(info.parent, home / "elsewhere")
    with daemon(home, WAITBUS_HEARTBEAT_SEC="0.5") as bus:
        assert "no source 'timer' is known here" in row_of(bus, "down")["reason"]
        shutil.move(home / "elsewhere", info.parent)
        row_of(bus, "up")
