"""`sources=` of the library: what a caller hands to a wait, in every face; and what it says under a loop that cannot."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import waitbus
from tests.drops import FOLDER, SPEC, drop, watchers
from tests.logs import rows, tell
from tests.support import PYTHON
from tests.web import Server, answer, free_port, serving
from waitbus import sources, verdict
from waitbus.errors import (
    InvalidPid,
    InvalidWait,
    Offline,
    RunningLoopError,
    SourceUnavailable,
    TrioNeeded,
    UnknownSource,
)
from waitbus.sources import register_source
from waitbus.store import Log


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are dropped; the source is known."""
    folder = home / "d"
    folder.mkdir()
    monkeypatch.setenv(FOLDER, str(folder))
    monkeypatch.setattr(sources, "_registered", {})
    monkeypatch.setattr(verdict, "_progress", dict(verdict._progress))
    register_source(SPEC)
    return folder


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_a_script(port: int) -> None:
    outcome = waitbus.decide(sources=[waitbus.ready_port(f"localhost:{port}")], timeout=20)
    assert (outcome.kind, outcome.exit_code, outcome.frame, outcome.said) == (
        "matched",
        0,
        None,
        f"localhost:{port} open",
    )


def test_time_that_is_up(port: int) -> None:
    outcome = waitbus.decide(sources=[waitbus.ready_port(f"localhost:{free_port()}")], timeout=0.1)
    assert (outcome.kind, outcome.exit_code) == ("timed_out", 124)


def test_several_and_an_event_are_all_waited_for(port: int, tmp_path: Path) -> None:
    tell(conclusion="success")
    outcome = waitbus.decide(
        "event_type=deploy_finished",
        since="1h",
        timeout=20,
        sources=[waitbus.ready_gone(tmp_path / "lock"), waitbus.ready_file(tmp_path)],
    )
    assert (outcome.kind, outcome.met_count) == ("matched", 3)
    assert {one.said for one in outcome.met if one.frame is None} == {
        f"{tmp_path}/lock is gone",
        f"{tmp_path} is there",
    }


async def test_a_url_under_trio() -> None:
    async with serving(Server(answer("503 Starting"), answer("404 Not Found"))) as server:
        outcome = await waitbus.adecide(sources=[waitbus.ready_http(server.url(), [204, "4xx"])], timeout=20)
    assert outcome.said == f"{server.url()} 404"
    assert len(server.asked) == 2


def test_the_end_of_a_process(spawn: Callable[..., subprocess.Popen[str]]) -> None:
    child = spawn("-c", "import sys; sys.stdin.read(1)", program=(PYTHON,))
    assert waitbus.decide(sources=[waitbus.watch_process(child.pid)], timeout=0.1).kind == "timed_out"
    child.stdin.close()  # type: ignore[union-attr]
    child.wait()
    outcome = waitbus.decide(sources=[waitbus.watch_process(child.pid)], timeout=20)
    assert (outcome.kind, outcome.clause.text if outcome.clause else "") == ("matched", f"--pid {child.pid}")


async def test_a_source_that_writes_events(folder: Path, log: Log) -> None:
    found: list[Any] = []

    async def wait() -> None:
        found.append(await waitbus.await_for("name=b", sources=[waitbus.watch_source("drops")], timeout=20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.fail_after(10):
            while not watchers(folder):
                await trio.lowlevel.checkpoint()
        drop(folder, "a")
        drop(folder, "b")
    assert found[0].fields["name"] == "b"
    assert [row.delivery_id for row in rows(log)] == ["drops:b"]
    assert watchers(folder) == []


async def test_a_wait_that_names_nothing_else_ends_with_its_first_event(folder: Path) -> None:
    found: list[Any] = []

    async def wait() -> None:
        found.append(await waitbus.adecide(sources=[waitbus.watch_source("drops")], timeout=20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.fail_after(10):
            while not watchers(folder):
                await trio.lowlevel.checkpoint()
        drop(folder, "a")
    assert (found[0].kind, found[0].frame.fields["name"]) == ("matched", "a")


def test_the_time_of_a_source_is_that_of_the_wait(folder: Path) -> None:
    assert waitbus.wait_for(sources=[waitbus.watch_source("drops")], timeout=0.2) is None
    assert watchers(folder) == []


# -- loops -------------------------------------------------------------------------------------------------------------


def test_asyncio_is_told_that_sources_need_trio(tmp_path: Path) -> None:
    for call in (waitbus.adecide, waitbus.await_for):
        with pytest.raises(TrioNeeded) as caught:
            asyncio.run(call(sources=[waitbus.ready_gone(tmp_path / "lock")]))
        assert caught.value.hint.startswith("call `waitbus.decide(..., sources=...)` in a thread")


def test_what_asyncio_is_told_to_do_works(tmp_path: Path) -> None:
    async def main() -> str:
        def wait() -> str:
            return waitbus.decide(sources=[waitbus.ready_gone(tmp_path / "lock")], timeout=20).said

        return await asyncio.to_thread(wait)

    assert asyncio.run(main()) == f"{tmp_path}/lock is gone"


async def test_a_blocking_call_in_a_loop_is_refused_with_sources_too(tmp_path: Path) -> None:
    with pytest.raises(RunningLoopError):
        waitbus.decide(sources=[waitbus.ready_gone(tmp_path / "lock")])


async def test_in_a_thread_of_trio_it_is_a_loop_of_its_own(tmp_path: Path) -> None:
    outcome = await trio.to_thread.run_sync(
        lambda: waitbus.decide(sources=[waitbus.ready_gone(tmp_path / "lock")], timeout=20)
    )
    assert outcome.kind == "matched"


# -- asked wrongly -----------------------------------------------------------------------------------------------------

WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: waitbus.ready_port("5432"), InvalidWait, "place '5432' is not HOST:PORT"),
    (lambda: waitbus.ready_port(5432), InvalidWait, "place 5432 is not a text"),  # type: ignore[arg-type]
    (lambda: waitbus.ready_http("localhost"), InvalidWait, "url 'localhost' is not a URL of http or https"),
    (lambda: waitbus.ready_http("http://a", 99), InvalidWait, "status '99' is no status"),
    (lambda: waitbus.ready_file(""), InvalidWait, "path '' names no file"),
    (lambda: waitbus.ready_gone(" "), InvalidWait, "path ' ' names no file"),
    (lambda: waitbus.watch_process(0), InvalidPid, "0 is not a process id"),
    (lambda: waitbus.watch_source("nope"), UnknownSource, "no source 'nope' is known here"),
    (
        lambda: waitbus.watch_source("agent"),
        SourceUnavailable,
        "source 'agent' cannot be run by a wait: its events come in from outside",
    ),
    (lambda: waitbus.decide(sources=[]), InvalidWait, "nothing to wait for"),
    (lambda: waitbus.decide(sources="fs"), InvalidWait, "sources 'fs' is no list of sources"),  # type: ignore[arg-type]
    (lambda: waitbus.decide(sources=["fs"]), InvalidWait, "sources: 'fs' is nothing that a wait can run"),  # type: ignore[list-item]
    (lambda: waitbus.decide(sources=waitbus.ready_file("a")), InvalidWait, "is no list of sources"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "error", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_what_is_asked_wrongly_is_a_typed_error(call: Callable[[], Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
    assert caught.value.hint  # type: ignore[attr-defined]


def test_offline_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_OFFLINE", "1")
    with pytest.raises(Offline):
        waitbus.ready_http("https://example.com/")


def test_a_process_that_only_waits_for_a_file_stays_small() -> None:
    code = (
        "import sys, waitbus; waitbus.decide(sources=[waitbus.ready_gone('x')], timeout=5); "
        "print(*[name for name in ('httpx2', 'click', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [PYTHON, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert (done.stdout, done.stderr) == ("\n", "")
