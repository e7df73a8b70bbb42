"""`waitbus wait` as a process: from the start of it to its exit code, with and without a daemon, whatever is done to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bus import Daemon
from tests.e2e.terminal import CTRL_C, Terminal
from tests.logs import prune, tell
from tests.schemas import checked
from tests.support import PYTHON, WAITBUS, eventually, read_until, run
from waitbus.store import Log

Spawn = Callable[..., "subprocess.Popen[str]"]


def armed(child: subprocess.Popen[str]) -> str:
    assert child.stderr is not None
    return read_until(child.stderr, "armed")


def end(child: subprocess.Popen[str], timeout: float = 20) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=timeout)
    return child.returncode, out, err


@pytest.fixture(params=["socket", "log"])
def transport(request: pytest.FixtureRequest, home: Path) -> Any:
    """With a daemon, and without one."""
    if request.param == "log":
        yield None
        return
    daemon = Daemon(home, "serve")
    yield daemon
    daemon.kill()


def test_an_event_wakes_it(spawn: Spawn, transport: Any) -> None:
    child = spawn("wait", "deploy_finished", "--timeout", "20s")
    armed(child)
    tell("other")
    tell(conclusion="failure")
    assert end(child) == (1, "deploy_finished  failure\n", "")


def test_what_came_before_the_process_does_not_count(cli: Callable[..., Any], transport: Any) -> None:
    run([*WAITBUS, "emit", "deploy_finished"])
    assert cli("wait", "deploy_finished", "--timeout", "200ms").code == 124


@pytest.mark.scaled(usual=10, full=100)
def test_the_plain_shell_line_works(scaled: int, home: Path, transport: Any) -> None:
    """F24: `wait ... & emit ...`, typed in a shell."""
    waitbus = " ".join(WAITBUS)
    script = f"""
        for i in $(seq {scaled}); do
            {waitbus} wait "deploy_$i" --timeout 20s -q & {waitbus} emit "deploy_$i" -q > /dev/null
            wait $! || exit 1
        done
    """
    done = run(["bash", "-c", script], timeout=110, cwd=Path(__file__).parents[2])
    assert (done.code, done.out.split()) == (0, [f"deploy_{number}" for number in range(1, scaled + 1)]), done


def test_a_restart_of_the_daemon_is_invisible(spawn: Spawn, home: Path) -> None:
    first = Daemon(home, "serve")
    child = spawn(
        "wait", "--all-of", "event_type=a", "--all-of", "event_type=b", "--all-of", "event_type=c", "--timeout", "30s"
    )
    armed(child)
    tell("a")
    assert child.stderr is not None
    read_until(child.stderr, "1/3")
    first.kill()
    tell("b")
    read_until(child.stderr, "2/3")
    second = Daemon(home, "serve")
    tell("c")
    code, out, err = end(child)
    second.kill()
    assert (code, out) == (0, "c\n")
    assert err.startswith("all 3 clauses met after ")


def test_a_time_out_is_124_and_says_where_to_go_on(cli: Callable[..., Any], transport: Any) -> None:
    tell("other", "pytest")
    first = cli("cursor").out.strip()  # a process later: the tick of 10 ms in which the wait begins is another one
    result = cli("wait", "deploy_finished", "--timeout", "100ms")
    assert result.code == 124
    assert result.err.splitlines()[-1].endswith(f"; to go on: --since {first}")


def test_a_time_out_counts_what_passed_by(spawn: Spawn, transport: Any) -> None:
    child = spawn("wait", "--source", "pytest", "--match", "conclusion=failure", "--timeout", "1500ms")
    armed(child)
    for _ in range(3):
        tell("pytest_session", "pytest", conclusion="success")
    tell("other")
    code, _, err = end(child)
    assert code == 124
    assert 'no event matched conclusion="failure" on pytest (3 pytest events passed by)' in err


def test_a_time_out_holds_while_events_flood_in(spawn: Spawn) -> None:
    child = spawn("wait", "deploy_finished", "--count", "1000000", "--timeout", "1s", "-q")
    flood = (
        "import waitbus\nwhile True: waitbus.emit(waitbus.EventInsert(source='agent', event_type='deploy_finished'))"
    )
    spawn("-c", flood, program=(PYTHON,), cwd=Path(__file__).parents[2])
    assert end(child)[0] == 124


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--pid", str(os.getpid()))], ids=["alone", "with a source"])
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_it_with_a_line(
    spawn: Spawn, options: tuple[str, ...], number: int, code: int, word: str
) -> None:
    first = tell()
    child = spawn("wait", "never", *options, "--timeout", "30s")
    armed(child)
    child.send_signal(number)
    got, out, err = end(child)
    assert (got, out) == (code, "")
    assert err.startswith(f"{word} after ")
    assert err.endswith(f"; to go on: --since {first}\n")
    assert err.count("\n") == 1


def test_what_was_met_already_is_found_again_behind_the_cursor(spawn: Spawn, transport: Any) -> None:
    child = spawn("wait", "--all-of", "event_type=a", "--all-of", "event_type=b", "--timeout", "30s", "--json")
    armed(child)
    before = tell("x")
    tell("a")
    tell("x")
    assert child.stdout is not None
    read_until(child.stdout, '"clause": "event_type=a"')
    child.terminate()
    assert checked("wait", end(child)[1])["cursor"] == before


def test_a_signal_under_json_is_an_object(spawn: Spawn) -> None:
    child = spawn("wait", "never", "--timeout", "30s", "--json")
    armed(child)
    child.terminate()
    code, out, _ = end(child)
    ending = checked("wait", out)
    assert (code, ending["outcome"], ending["exit_code"], set(ending)) == (
        143,
        "terminated",
        143,
        {"outcome", "exit_code", "cursor", "waited_s"},
    )


def test_ctrl_c_on_a_terminal(home: Path) -> None:
    with Terminal([*WAITBUS, "wait", "never", "--timeout", "30s"]) as screen:
        screen.read_until("armed")
        screen.type(CTRL_C)
        screen.read_until("\ninterrupted after ")
        assert screen.wait() == 130


def test_an_ignored_interrupt_stays_ignored(spawn: Spawn) -> None:
    """`wait ... &` in a script: the shell ignores SIGINT for it."""
    line = " ".join(WAITBUS)
    child = spawn("-c", f"trap '' INT; exec {line} wait deploy_finished --timeout 20s", program=("bash",))
    armed(child)
    child.send_signal(signal.SIGINT)
    tell()
    assert end(child)[:2] == (0, "deploy_finished\n")


def test_a_pipe_that_nobody_reads_is_141(spawn: Spawn) -> None:
    child = spawn("wait", "deploy_finished", "--timeout", "20s", "-q")
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    tell()
    eventually(lambda: child.poll() is not None)
    assert child.returncode == 141


# -- cursors -----------------------------------------------------------------------------------------------------------


def pruned(count: int) -> tuple[list[str], Log]:
    """A log of which the first `count - 1` events were pruned, and the ids that they had."""
    ids = [tell("old") for _ in range(count)]
    log = Log()
    prune(count, log)
    return ids, log


def test_a_pruned_cursor_is_a_warning(cli: Callable[..., Any], transport: Any) -> None:
    ids, log = pruned(5)
    log.close()
    result = cli("wait", "old", "--since", ids[0], "--timeout", "5s")
    assert (result.code, result.out) == (0, "old\n")
    assert "warning: events 2 to 4 were pruned; going on with event 5" in result.err.splitlines()


def test_a_pruned_cursor_is_75_if_that_was_asked_for(cli: Callable[..., Any], transport: Any) -> None:
    ids, log = pruned(5)
    log.close()
    result = cli("wait", "old", "--since", ids[0], "--timeout", "5s", "--strict-since")
    assert (result.code, result.out) == (75, "")
    assert result.err.splitlines()[-2].startswith("error: events 2 to 4 were pruned")


@pytest.mark.parametrize(
    ("cursor", "message"),
    [
        ("01M7XJ614PK8CHXM5935SQP1H1", "error: the cursor {cursor} belongs to another log"),
        ("{future}", "error: the cursor {cursor} names an event that this log never had"),
    ],
)
def test_a_cursor_that_is_none_of_this_log_is_2(
    cli: Callable[..., Any], transport: Any, cursor: str, message: str
) -> None:
    cursor = cursor.replace("{future}", f"{tell()[:-4]}ZZZZ")
    result = cli("wait", "x", "--since", cursor, "--timeout", "5s")
    assert result.code == 2
    assert result.err.splitlines()[-2:] == [
        message.replace("{cursor}", cursor),
        "hint: `waitbus cursor` prints one of this log",
    ]


def test_what_a_script_caused_behind_a_cursor_is_found(cli: Callable[..., Any], transport: Any) -> None:
    cursor = cli("cursor").out.strip()
    run([*WAITBUS, "emit", "deploy_finished", "--conclusion", "success"])
    assert cli("wait", "deploy_finished", "--since", cursor, "--timeout", "5s").code == 0


# -- processes ---------------------------------------------------------------------------------------------------------


def test_the_end_of_a_process_that_is_not_ours(spawn: Spawn, transport: Any) -> None:
    sleeper = spawn("1000", program=("sleep",))
    child = spawn("wait", "--pid", str(sleeper.pid), "--timeout", "20s", "--json")
    said = armed(child)
    assert f"waitbus: no daemon watches process {sleeper.pid}; watching it here while this command waits" in said
    sleeper.kill()
    sleeper.wait()
    code, out, _ = end(child)
    frame = checked("wait", out)
    assert (frame["event_type"], frame["fields"]["pid"], frame["clause"]) == (
        "process_exited",
        sleeper.pid,
        f"--pid {sleeper.pid}",
    )
    told = frame["fields"].get("exit_code")
    assert (code, frame["verdict"]) == ((1, "failure") if told is not None else (0, "none"))


def test_an_exit_code_that_nobody_tells_is_said(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process, or a kernel before 6.15: here its parent reaps it while the watcher is stopped."""
    sleeper = spawn("1000", program=("sleep",))
    child = spawn("-c", NO_STATUS, "wait", "--pid", str(sleeper.pid), "--timeout", "20s", program=(PYTHON,))
    armed(child)
    sleeper.kill()
    sleeper.wait()
    code, out, err = end(child)
    assert (code, err) == (0, f"waitbus: nobody here can tell the exit code of process {sleeper.pid}\n")
    assert out.startswith("process_exited  sleep  completed")


NO_STATUS = """
import sys
from waitbus.sources import pidfd
pidfd.zombie_status = pidfd.exit_status = lambda *_: None
pidfd.may_tell = lambda _: False
from waitbus.cli import main
main()
"""


def test_a_process_that_is_gone_is_0_and_said(spawn: Spawn, cli: Callable[..., Any], transport: Any) -> None:
    gone = spawn(program=("true",))
    gone.wait()
    result = cli("wait", "--pid", str(gone.pid), "--timeout", "20s")
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines()[-1] == f"waitbus: process {gone.pid} is already gone; how it ended is not known"
    as_json = checked("wait", cli("wait", "--pid", str(gone.pid), "--json").out)
    assert (as_json["outcome"], as_json["exit_code"]) == ("matched", 0)


def test_run_is_waited_for_by_the_pid_that_the_shell_has(spawn: Spawn, transport: Any) -> None:
    shell = f"read go; exec {' '.join(WAITBUS)} run --name build -- sh -c 'exit 3'"
    builder = spawn("-c", shell, program=("bash",))
    child = spawn("wait", "--pid", str(builder.pid), "--timeout", "20s")
    armed(child)
    assert builder.stdin is not None
    builder.stdin.write("go\n")
    builder.stdin.flush()
    builder.wait(timeout=20)
    code, out, _ = end(child)
    assert code == 1
    assert "exit 3" in out


def test_several_processes_are_all_waited_for(spawn: Spawn) -> None:
    sleepers = [spawn("1000", program=("sleep",)) for _ in range(2)]
    pids = [option for sleeper in sleepers for option in ("--pid", str(sleeper.pid))]
    child = spawn("wait", *pids, "--timeout", "20s")
    armed(child)
    sleepers[1].kill()
    sleepers[1].wait()
    assert child.stderr is not None
    assert "process" in read_until(child.stderr, "1/2")
    sleepers[0].kill()
    sleepers[0].wait()
    assert end(child)[2].splitlines()[-1].startswith("all 2 clauses met after ")


def test_a_process_or_an_event_whichever_is_first(spawn: Spawn) -> None:
    sleeper = spawn("1000", program=("sleep",))
    child = spawn("wait", "--pid", str(sleeper.pid), "--first-of", "event_type=deploy_finished", "--timeout", "20s")
    armed(child)
    tell()
    code, out, err = end(child)
    assert (code, out, err.splitlines()[-1]) == (
        0,
        "deploy_finished\n",
        "matched: --first-of 'event_type=deploy_finished'",
    )


def test_the_end_of_a_process_is_reported_even_if_the_log_cannot_be_written(spawn: Spawn, home: Path) -> None:
    daemon = Daemon(home, "serve")
    tell()
    sleeper = spawn("1000", program=("sleep",))
    refuse = NO_STATUS.replace("from waitbus.cli", REFUSE + "from waitbus.cli")
    child = spawn("-c", refuse, "wait", "--pid", str(sleeper.pid), "--timeout", "20s", program=(PYTHON,))
    armed(child)
    sleeper.kill()
    sleeper.wait()
    code, out, err = end(child)
    daemon.kill()
    assert (code, out) == (0, "")
    assert "warning: the end of the process is not in the log: no space" in err


REFUSE = """
from waitbus import producer
from waitbus.errors import LogFull
def emit(*_, **__): raise LogFull("no space", hint="")
producer.emit = emit
"""


# -- the log -----------------------------------------------------------------------------------------------------------


def test_an_event_of_a_foreign_size_is_waited_for_like_any_other(spawn: Spawn, transport: Any) -> None:
    child = spawn("wait", "--match", "fields.end=z", "--timeout", "20s", "--json")
    armed(child)
    tell(fields={"big": "x" * 100_000, "end": "z"})
    code, out, _ = end(child)
    assert (code, len(json.loads(out)["fields"]["big"])) == (0, 100_000)


def test_a_state_folder_that_cannot_be_made_is_74(cli: Callable[..., Any]) -> None:
    result = cli("wait", "x", "--timeout", "1s", env={"WAITBUS_STATE_DIR": "/proc/nowhere"})
    assert result.code == 74
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-2].startswith("error: cannot make /proc/nowhere")
