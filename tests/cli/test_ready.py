"""`--port --exists --gone --http` in `wait` and `on`, in this process: clauses like others, shown, timed out, refused."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import schemas, support
from tests.logs import tell
from tests.schemas import checked
from tests.web import free_port

Call = Callable[..., support.Result]
PAST = ("--since", "1h")
BRIEF = ("--timeout", "200ms")
LONG = ("--timeout", "20s")


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_port_that_is_open(call: Call, port: int) -> None:
    result = call("wait", "--port", f"localhost:{port}", *LONG)
    assert (result.code, result.out) == (0, f"port  localhost:{port} open\n")
    assert result.err == (f"waitbus: asking localhost:{port} again and again while this command waits\narmed\n")


def test_quiet_says_the_answer_alone(call: Call, port: int) -> None:
    assert call("wait", "--port", f"localhost:{port}", "-q") == (0, f"port  localhost:{port} open\n", "")


def test_as_json_it_is_one_object_with_its_clause(call: Call, port: int) -> None:
    found = checked("wait", call("wait", "--port", f"localhost:{port}", "--json", *LONG).out)
    assert found.pop("waited_s") >= 0
    assert found == {"outcome": "matched", "exit_code": 0, "cursor": None, "clause": f"--port localhost:{port}"}


def test_for_agents_it_is_a_line(call: Call, port: int) -> None:
    first, last = call("wait", "--port", f"localhost:{port}", "--lines", "agent", *LONG).out.splitlines()
    assert first == f"port  localhost:{port} open"
    assert last.startswith("matched after ")
    assert last.endswith(", exit 0")


def test_it_needs_no_log(call: Call, port: int, home: Path) -> None:
    assert call("wait", "--port", f"localhost:{port}", *LONG).code == 0
    assert not (home / "s").exists()


def test_a_time_out_says_what_stood_in_the_way(call: Call, here: Path) -> None:
    closed = free_port()
    result = call("wait", "--port", f"127.0.0.1:{closed}", *BRIEF)
    assert (result.code, result.out) == (124, "")
    last = result.err.splitlines()[-1]
    assert last.startswith("timed out after ")
    assert last.endswith(f": nothing of --port 127.0.0.1:{closed} (connection refused)")
    several = call("wait", "--port", f"127.0.0.1:{closed}", "--exists", "a", "--gone", ".", *BRIEF).err.splitlines()[-1]
    assert several.endswith(
        f": 0 of 3 clauses met; missing --port 127.0.0.1:{closed} (connection refused), --exists a (is not there), "
        "--gone . (is still there)"
    )


def test_several_mean_all_of_them(call: Call, port: int, here: Path) -> None:
    (here / "a").touch()
    result = call(
        "wait", "--port", f"localhost:{port}", "--exists", "a", "--gone", "b", "--port", f"127.0.0.1:{port}", *LONG
    )
    assert result.code == 0
    lines = result.err.splitlines()
    assert lines[0] == (
        f"waitbus: asking localhost:{port}, asking 127.0.0.1:{port}, looking for a and looking whether b is gone again and "
        "again while this command waits"
    )
    assert lines[1] == "armed"
    assert [line[:7] for line in lines[2:5]] == ["  1/4  ", "  2/4  ", "  3/4  "]
    shown = {line[7:] for line in lines[2:5]} | {result.out.strip().replace("  ", " " * 6, 1)}
    assert shown == {
        f"port      localhost:{port} open",
        f"port      127.0.0.1:{port} open",
        "file      a is there",
        "file      b is gone",
    }
    assert lines[5].startswith("all 4 clauses met after ")


def test_one_twice_is_one(call: Call, here: Path) -> None:
    assert call("wait", "--gone", "b", "--gone", "b", *LONG) == (
        0,
        "file  b is gone\n",
        "waitbus: looking whether b is gone again and again while this command waits\narmed\n",
    )


def test_beside_an_event_it_is_a_clause_of_its_own(call: Call, port: int) -> None:
    assert call("wait", "deploy_finished", "--port", f"localhost:{port}", *BRIEF).code == 124
    tell(conclusion="failure")
    result = call("wait", "deploy_finished", "--port", f"localhost:{port}", *PAST, *LONG)
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("all 2 clauses met after ")


def test_beside_all_of_it_is_one_more(call: Call, port: int) -> None:
    tell()
    result = call(
        "wait", "--all-of", "event_type=deploy_finished", "--port", f"localhost:{port}", *PAST, *LONG, "--json"
    )
    lines = schemas.lines("wait", result.out)
    assert (result.code, lines[-1]["outcome"]) == (0, "matched")
    assert {line.get("clause") for line in lines} <= {"event_type=deploy_finished", f"--port localhost:{port}"}


def test_beside_first_of_it_is_one_of_them(call: Call, port: int) -> None:
    result = call("wait", "--first-of", "event_type=never", "--port", f"localhost:{port}", *LONG)
    assert (result.code, result.out) == (0, f"port  localhost:{port} open\n")
    assert result.err.splitlines()[-1] == f"matched: --port localhost:{port}"


def test_what_must_not_come_comes_first(call: Call, here: Path) -> None:
    tell(conclusion="failure")
    result = call("wait", "--exists", "a", "--fail-on", "conclusion=failure", *PAST, *LONG)
    assert result.code == 1
    assert result.err.splitlines()[-1] == "failed: --fail-on 'conclusion=failure'"


def test_a_name_that_nobody_knows_is_a_warning_and_it_goes_on(call: Call) -> None:
    result = call("wait", "--port", "nowhere.invalid:80", "--timeout", "3s")
    assert result.code == 124
    warnings = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) <= 2
    assert all(
        line.startswith("warning: --port nowhere.invalid:80: ") and line.endswith("; trying on") for line in warnings
    )


def test_the_host_of_a_url_cannot_move_the_cursor(call: Call, here: Path) -> None:
    result = call("wait", "--exists", "\x1b[2Ja", *BRIEF)
    assert "\x1b" not in result.err
    assert "\\x1b[2Ja" in result.err


def test_a_password_is_not_shown(call: Call) -> None:
    result = call("wait", "--http", f"http://me:secret@localhost:{free_port()}/", *BRIEF)
    assert result.code == 124
    assert "secret" not in result.err
    assert "http://me:***@localhost:" in result.err


def test_a_wait_for_files_imports_no_http() -> None:
    code = (
        "import sys; from waitbus.cli import main; main(['wait', '--gone', 'b', '-q'], standalone=False); "
        "print(*[name for name in ('httpx2', 'ssl', 'waitbus.sources.ready_http') if name in sys.modules])"
    )
    before = "import sys, trio; print(*[name for name in ('httpx2', 'ssl') if name in sys.modules])"
    done = support.run([support.PYTHON, "-c", code])
    assert done.out.splitlines() == ["file  b is gone", support.run([support.PYTHON, "-c", before]).out.strip()]


def test_offline_refuses_other_machines_and_not_this_one(
    call: Call, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAITBUS_OFFLINE", "1")
    assert call("wait", "--port", f"localhost:{port}", *LONG).code == 0
    refused = call("wait", "--port", "db.example:5432", *BRIEF)
    assert (refused.code, refused.err.splitlines()[0]) == (
        2,
        "error: --port db.example:5432 would ask db.example, and WAITBUS_OFFLINE forbids to ask another machine",
    )


def test_it_takes_the_time_that_it_takes_and_not_more(call: Call, here: Path) -> None:
    begun = time.monotonic()
    assert call("wait", "--gone", "b", *LONG).code == 0
    assert time.monotonic() - begun < 5


# -- on ----------------------------------------------------------------------------------------------------------------


def test_on_runs_its_command_when_a_file_is_gone(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_EVENT_ID", "outer")
    result = call("on", "--gone", "b", *LONG, "--", "sh", "-c", "env | grep ^WAITBUS_[EV]; exit 3")
    assert (result.code, result.out) == (3, "WAITBUS_VERDICT=success\n")
    assert result.err.splitlines()[:3] == [
        "waitbus: looking whether b is gone again and again while this command waits",
        "armed",
        "→ b is gone: sh -c 'env | grep ^WAITBUS_[EV]; exit 3'",
    ]


def test_on_that_waits_in_vain_says_so(call: Call, here: Path) -> None:
    result = call("on", "--exists", "b", *BRIEF, "--", "true")
    assert result.code == 124
    assert result.err.splitlines()[-1].endswith(": nothing of --exists b (is not there)")


def test_on_with_loop_has_no_end(call: Call) -> None:
    result = call("on", "--port", "localhost:1", "--loop", "--", "true")
    assert (result.code, result.err.splitlines()) == (
        2,
        ["error: --port localhost:1 is so or is not: with --loop it would never end", "hint: leave --loop out"],
    )


def test_on_runs_its_command_for_a_process_that_is_gone(call: Call, spawn: Callable[..., object]) -> None:
    gone = support.run([support.PYTHON, "-c", "import os; print(os.getpid())"]).out.strip()
    result = call("on", "--pid", gone, *LONG, "--", "echo", "ran")
    assert (result.code, result.out) == (0, "ran\n")
