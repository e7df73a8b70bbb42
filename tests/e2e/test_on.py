"""`waitbus on` as a process: loops, restarts, signals, and children that do not want to end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.terminal import CTRL_C, Terminal
from tests.support import WAITBUS, eventually, read_until, run
from waitbus.events import EventInsert
from waitbus.producer import emit

Spawn = Callable[..., "subprocess.Popen[str]"]


def tell(name: str = "", event_type: str = "deploy_finished") -> str:
    return emit(
        EventInsert(source="agent", event_type=event_type, fields={"name": name} if name else {})
    ).event.event_id


def until(child: subprocess.Popen[str], text: str) -> str:
    assert child.stderr is not None
    return read_until(child.stderr, text, timeout=20)


def heard(child: subprocess.Popen[str], text: str) -> str:
    assert child.stdout is not None
    return read_until(child.stdout, text, timeout=20)


def end(child: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    out, err = child.communicate(timeout=30)
    return child.returncode, out, err.splitlines()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


SAY_AND_WAIT = ("sh", "-c", "echo $$; exec sleep 1000")
STUBBORN = ("sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done")


def test_events_that_come_while_the_child_runs_are_not_lost(spawn: Spawn, home: Path) -> None:
    gate = home / "gate"
    os.mkfifo(gate)
    child = spawn(
        "on", "deploy_finished", "--loop", "--timeout", "3s", "--", "sh", "-c", f"cat {gate} >/dev/null; echo ran"
    )
    until(child, "armed")
    for number in range(3):
        tell(f"n{number}")
    for number in range(3):
        until(child, f"→ deploy_finished n{number}")
        gate.write_text("go")
        until(child, "←")
    code, out, err = end(child)
    assert (code, out.split()) == (124, ["ran"] * 3)
    assert err[-1].startswith("timed out after 3 s: ")


def test_the_idle_limit_does_not_end_a_child(spawn: Spawn, home: Path) -> None:
    """With --restart, too: the limit begins when the child has ended."""
    gate = home / "gate"
    os.mkfifo(gate)
    script = f"echo begun; cat {gate} > /dev/null; echo done"
    child = spawn("on", "deploy_finished", "--loop", "--restart", "--timeout", "700ms", "--", "sh", "-c", script)
    until(child, "armed")
    tell()
    heard(child, "begun")
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=1.5)
    gate.write_text("go")
    code, out, err = end(child)
    assert (code, out) == (124, "done\n")
    assert [line.split(" after ")[0] for line in err[-2:]] == ["← exit 0", "timed out"]


def test_a_restart_ends_the_whole_group_first(spawn: Spawn) -> None:
    script = "sleep 1000 & echo $!; wait"
    child = spawn("on", "deploy_finished", "--loop", "--restart", "--timeout", "30s", "--", "sh", "-c", script)
    until(child, "armed")
    tell()
    first = int(heard(child, ""))
    tell()
    second = int(heard(child, ""))
    assert gone(first)
    assert not gone(second)
    assert until(child, "←").splitlines()[-1].startswith("← SIGTERM after ")
    child.terminate()
    assert end(child)[0] == 143
    assert gone(second)


def test_a_child_that_ignores_sigterm_is_killed(spawn: Spawn) -> None:
    child = spawn("on", "deploy_finished", "--loop", "--restart", "--stop-timeout", "300ms", "--", *STUBBORN)
    until(child, "armed")
    tell()
    first = int(heard(child, ""))
    tell()
    second = int(heard(child, ""))
    assert gone(first)
    assert until(child, "←").splitlines()[-1].startswith("← SIGKILL after ")
    child.terminate()
    assert end(child)[0] == 143
    assert gone(second)


@pytest.mark.parametrize("options", [(), ("--loop",), ("--loop", "--restart")], ids=["once", "loop", "restart"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_child_too(spawn: Spawn, options: tuple[str, ...], number: int, code: int) -> None:
    child = spawn("on", "deploy_finished", *options, "--timeout", "30s", "--", *SAY_AND_WAIT)
    until(child, "armed")
    before = tell("x", "other")
    tell()
    pid = int(heard(child, ""))
    child.send_signal(number)
    got, _, err = end(child)
    assert got == code
    assert err[-1].endswith(f"; to go on: --since {before}"), "the event that was not done with comes again"
    assert gone(pid)


def test_a_stubborn_child_is_killed_when_its_time_is_up(spawn: Spawn) -> None:
    child = spawn("on", "deploy_finished", "--stop-timeout", "300ms", "--timeout", "30s", "--", *STUBBORN)
    until(child, "armed")
    tell()
    pid = int(heard(child, ""))
    child.terminate()
    assert end(child)[0] == 143
    assert gone(pid)


def test_ctrl_c_lets_the_child_end_by_itself(home: Path) -> None:
    """The terminal has told the child already; it is given its time to clean up."""
    script = "trap 'sleep 0.3; echo cleaned up; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    with Terminal([*WAITBUS, "on", "deploy_finished", "--timeout", "30s", "--", "sh", "-c", script]) as screen:
        screen.read_until("armed")
        tell()
        screen.read_until("ready\r\n")
        screen.type(CTRL_C)
        screen.read_until("cleaned up")
        screen.read_until("← exit 5 after ")
        screen.read_until("interrupted after ")
        assert screen.wait() == 130


def test_nothing_of_the_event_is_in_the_arguments(spawn: Spawn) -> None:
    child = spawn("on", "deploy_finished", "--timeout", "30s", "--", *SAY_AND_WAIT)
    until(child, "armed")
    tell("secret")
    pid = int(heard(child, ""))
    line = eventually(lambda: (text := Path(f"/proc/{pid}/cmdline").read_bytes()).startswith(b"sleep") and text)
    assert line == b"sleep\x001000\x00"
    os.kill(pid, signal.SIGTERM)
    assert end(child)[0] == 143


def test_its_input_and_output_are_the_childs(spawn: Spawn) -> None:
    child = spawn("on", "deploy_finished", "--timeout", "30s", "-q", "--", "cat")
    tell()
    out, err = child.communicate("typed\n", timeout=20)
    assert (child.returncode, out, err) == (0, "typed\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_files_are_gone(spawn: Spawn, home: Path, number: int) -> None:
    folder = home / "tmp"
    folder.mkdir()
    child = spawn("on", "deploy_finished", "--timeout", "30s", "--", *SAY_AND_WAIT, env={"TMPDIR": str(folder)})
    until(child, "armed")
    tell()
    heard(child, "")
    assert [file.name.startswith("waitbus-event-") for file in folder.iterdir()] == [True]
    child.send_signal(number)
    end(child)
    assert list(folder.iterdir()) == []


def test_a_command_may_do_to_the_file_what_it_likes(cli: Callable[..., Any]) -> None:
    tell()
    for act in (
        "rm -f $WAITBUS_EVENT_FILE",
        "rm $WAITBUS_EVENT_FILE; mkdir $WAITBUS_EVENT_FILE; echo $WAITBUS_EVENT_FILE",
    ):
        result = cli("on", "deploy_finished", "--since", "1h", "-q", "--", "sh", "-c", act)
        assert (result.code, result.err) == (0, "")
    Path(result.out.strip()).rmdir()


def test_an_event_that_fits_no_disk_is_said(cli: Callable[..., Any]) -> None:
    """The limit of a file's size stands for a full disk: the write fails in the middle."""
    emit(EventInsert(source="agent", event_type="deploy_finished", fields={"text": "x" * 100_000}))
    limited = ["sh", "-c", 'ulimit -f 64; exec "$@"', "sh", *WAITBUS]
    result = run([*limited, "on", "deploy_finished", "--since", "1h", "-q", "--", "true"], timeout=20)
    assert result.code == 74
    assert result.err == (
        "error: the event cannot be written to a file for the command: File too large\n"
        "hint: make space in the folder for temporary files, or set TMPDIR to another one\n"
    )


def test_variables_of_an_outer_on_do_not_leak_in(cli: Callable[..., Any]) -> None:
    tell()
    inner = [*WAITBUS, "on", "deploy_finished", "--since", "1h", "-q", "--", "sh", "-c", "echo [$WAITBUS_CONCLUSION]"]
    result = cli("on", "deploy_finished", "--since", "1h", "--", *inner, env={"WAITBUS_CONCLUSION": "outer"})
    assert result.out == "[]\n"


def test_the_plain_environment_is_handed_on_untouched(cli: Callable[..., Any]) -> None:
    """In the C locale Python adds LC_CTYPE to its own; the child has only what we were given."""
    tell()
    result = cli(
        "on", "deploy_finished", "--since", "1h", "--", "env", "-0", env={"LC_ALL": "", "LANG": "", "X": "a\nb"}
    )
    mine = dict(line.split("=", 1) for line in result.out.split("\0") if line)
    theirs = {key: value for key, value in mine.items() if not key.startswith("WAITBUS_")}
    given = {**os.environ, "LC_ALL": "", "LANG": "", "X": "a\nb"}
    assert theirs == {key: value for key, value in given.items() if not key.startswith("WAITBUS_")}
