"""The docker source against an engine that follows a script: what it hears, and what an engine may do to it (F20)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests import support
from tests.sources.fake_engine import FakeEngine, Stream, says
from tests.sources.test_docker_events import ID, S, T, inspected, line
from waitbus.config import Seconds
from waitbus.errors import ConfigError, ServiceMissing, WaitbusError
from waitbus.events import EventInsert, Row
from waitbus.paths import log_path
from waitbus.producer import emit_all
from waitbus.sources import known_sources
from waitbus.sources.docker import DockerSettings, DockerSource
from waitbus.sources.docker_events import TIME_MAX, End, exit_keys, exit_row
from waitbus.sources.docker_session import OVERLAP_NS, SETTLE, SILENCE
from waitbus.sources.docker_stream import ANSWER_S, LINE_MAX
from waitbus.sources.supervision import Supervised
from waitbus.sources.watched import settings_for_wait
from waitbus.store import Log
from waitbus.store.rows import Unless

NOW = time.time_ns()


class Bus:
    """An emitter that commits, and tells the test of everything."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.offered: list[str] = []
        """The delivery ids of all that it was given, new or not."""
        self.may_go_on = trio.Event()
        self.may_go_on.set()
        self._moved = trio.Event()

    async def emit(self, *events: EventInsert, unless: Unless | None = None) -> int:
        self.up()
        self.offered += [event.delivery_id for event in events]
        self._move()
        await self.may_go_on.wait()
        results = await trio.to_thread.run_sync(partial(emit_all, events, unless=unless))
        self._move()
        return sum(result.inserted for result in results)

    def up(self, detail: str = "") -> None:
        self.states.append("up")
        self._move()

    def down(self, reason: str, retry_s: float | None = None) -> None:
        self.states.append(reason)
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def rows(self, count: int) -> list[Row]:
        """The rows of the log, once there are so many."""
        while len(found := rows()) < count:
            await self._moved.wait()
        return found

    async def until_offered(self, count: int) -> None:
        """Until it was given so many events."""
        while len(self.offered) < count:
            await self._moved.wait()


def rows() -> list[Row]:
    with Log(log_path()) as log:
        return list(log.page(0).rows)


def keys() -> list[str]:
    return [row.delivery_id.removeprefix(f"docker:{ID}:") for row in rows()]


@pytest.fixture
def path(home: Path) -> Path:
    return home / "engine.sock"


def source(path: Path, **settings: Any) -> DockerSource:
    return DockerSource(DockerSettings(host=str(path), **settings))


@asynccontextmanager
async def running(docker: DockerSource, bus: Bus) -> AsyncIterator[list[WaitbusError]]:
    """A run of the source, begun; the error that ends it is put into the list."""
    ended: list[WaitbusError] = []

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await docker.run(bus, task_status=task_status)
        except WaitbusError as error:
            ended.append(error)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield ended
        nursery.cancel_scope.cancel()


async def to_its_end(docker: DockerSource, bus: Bus) -> WaitbusError:
    with pytest.raises(WaitbusError) as caught:
        await docker.run(bus)
    return caught.value


# -- what it hears -----------------------------------------------------------------------------------------------------


async def test_what_the_engine_tells_is_written_in_its_order(path: Path) -> None:
    told = [
        line("create", NOW),
        line("start", NOW + 1),
        line("health_status: healthy", NOW + 2),
        line("die", NOW + S, {"exitCode": "0"}),
        line("destroy", NOW + S + 1),
    ]
    bus = Bus()
    async with FakeEngine(path, [says(*told)]).listening(), running(source(path), bus):
        found = await bus.rows(5)
    assert [row.event_type for row in found] == ["docker_event"] * 3 + ["docker_container", "docker_event"]
    assert keys() == [
        f"create:{NOW}",
        f"start:{NOW + 1}",
        f"health_status:{NOW + 2}",
        f"die:{NOW + S}",
        f"destroy:{NOW + S + 1}",
    ]
    assert found[3].received_at == NOW + S


async def test_a_failed_exit_has_what_only_an_inspection_tells(path: Path) -> None:
    died = line("die", T, {"exitCode": "137"})
    bus = Bus()
    engine = FakeEngine(path, [says(died)], containers={ID: _of(inspected())})
    async with engine.listening(), running(source(path), bus):
        (row,) = await bus.rows(1)
    assert '"oom_killed":true' in row.fields
    assert '"duration_ms":1900' in row.fields


async def test_a_container_that_is_removed_at_once_is_told_by_its_event(path: Path) -> None:
    bus = Bus()
    async with FakeEngine(path, [says(line("die", NOW, {"exitCode": "2"}))]).listening(), running(source(path), bus):
        (row,) = await bus.rows(1)
    assert (row.conclusion, '"exit_code":2' in row.fields, "duration_ms" in row.fields) == ("failure", True, False)


async def test_an_engine_that_tells_nothing_of_the_container_holds_the_row_up_for_a_moment(
    path: Path, mock_clock: MockClock
) -> None:
    bus = Bus()
    engine = FakeEngine(path, [says(line("die", NOW, {"exitCode": "2"}))], answers=False)
    async with engine.listening(), running(source(path), bus):
        await _until(lambda: f"/containers/{ID}/json" in engine.asked)
        await _jump(mock_clock, 2)
        assert len(await bus.rows(1)) == 1


async def test_two_watchers_of_one_engine_make_one_row(path: Path) -> None:
    """F16."""
    told = [line("start", NOW), line("die", NOW + 1, {"exitCode": "0"}), line("destroy", NOW + 2)]
    first, second = Bus(), Bus()
    async with FakeEngine(path, [says(*told)]).listening(), running(source(path), first), running(source(path), second):
        while min(bus.states.count("up") for bus in (first, second)) < 1:
            await trio.lowlevel.checkpoint()
        await first.rows(3)
        await second.rows(3)
    assert keys() == [f"start:{NOW}", f"die:{NOW + 1}", f"destroy:{NOW + 2}"]


async def test_a_container_that_ran_before_is_not_asked_about_when_it_ends(path: Path) -> None:
    """Engines are slow to answer just then. Since when it runs was learnt when the source began."""
    learnt = trio.Event()

    async def act(stream: Stream) -> None:
        await learnt.wait()
        await stream.send(line("die", NOW, {"exitCode": "3"}))
        await stream.gone()

    facts = ended_at(NOW - 5 * S)
    facts["State"] |= {"Running": True, "FinishedAt": "0001-01-01T00:00:00Z"}
    bus, engine = Bus(), FakeEngine(path, [act], {ID: facts}, running=[ID])
    async with engine.listening(), running(source(path), bus):
        await _until(lambda: f"/containers/{ID}/json" in engine.asked)
        await trio.testing.wait_all_tasks_blocked(0.05)
        learnt.set()
        (row,) = await bus.rows(1)
    assert engine.asked.count(f"/containers/{ID}/json") == 1
    assert '"duration_ms":6000' in row.fields


async def test_a_container_that_the_engine_was_told_to_kill_is_not_asked_about(path: Path) -> None:
    told = [line("start", NOW), line("kill", NOW + 1, {"signal": "9"}), line("die", NOW + S, {"exitCode": "137"})]
    bus, engine = Bus(), FakeEngine(path, [says(*told)])
    async with engine.listening(), running(source(path), bus):
        row = (await bus.rows(3))[2]
    assert f"/containers/{ID}/json" not in engine.asked
    assert '"oom_killed":false' in row.fields


async def test_an_end_that_has_to_be_asked_about_holds_up_none_that_was_told_with_it(path: Path) -> None:
    other = line("start", NOW).replace(ID.encode(), b"other")
    engine = FakeEngine(path, [says(other + b"\n" + line("die", NOW, {"exitCode": "2"}))], answers=False)
    bus = Bus()
    async with engine.listening(), running(source(path), bus):
        (row,) = await bus.rows(1)
    assert row.delivery_id == f"docker:other:start:{NOW}"


def test_nobody_pays_for_the_http_client_but_who_calls_an_engine() -> None:
    code = "import sys, waitbus.sources.docker; print(sorted({'httpx2', 'httpcore2', 'h11'} & {*sys.modules}))"
    assert support.run([support.PYTHON, "-c", code]).out == "[]\n"


# -- garbage -----------------------------------------------------------------------------------------------------------


async def test_garbage_and_huge_lines_are_dropped_said_once_and_outlived(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(stream: Stream) -> None:
        await stream.send(b"\x00\xff", b"[]", b"{}", line("start", 5))
        for _ in range(3 * LINE_MAX // 60_000):
            await stream.send_raw(b"x" * 60_000)
        await stream.send(b"", line("start", NOW))
        await stream.gone()

    bus = Bus()
    with caplog.at_level(logging.WARNING, "waitbus.sources"):
        async with FakeEngine(path, [act]).listening(), running(source(path), bus):
            await bus.rows(1)
    assert keys() == [f"start:{NOW}"]
    assert len(caplog.messages) == 1
    assert "which is no event" in caplog.messages[0]


async def test_a_huge_line_is_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(stream: Stream) -> None:
        await stream.send_raw(b"x" * (LINE_MAX + 1) + b"\n")
        await stream.send(line("start", NOW))
        await stream.gone()

    bus = Bus()
    with caplog.at_level(logging.WARNING, "waitbus.sources"):
        async with FakeEngine(path, [act]).listening(), running(source(path), bus):
            await bus.rows(1)
    assert "a line of more than 1048576 bytes, which is dropped" in caplog.messages[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
    ],
)
async def test_what_speaks_no_http_is_an_engine_that_is_missing(path: Path, answer: bytes) -> None:
    async def serve(pipe: trio.SocketStream) -> None:
        await pipe.receive_some(1000)
        try:
            await pipe.send_all(answer)
        except trio.BrokenResourceError:
            pass
        await pipe.aclose()

    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
            error = await to_its_end(source(path), Bus())
            nursery.cancel_scope.cancel()
    assert isinstance(error, ServiceMissing)
    assert str(path) in error.message


# -- engines that go and come ------------------------------------------------------------------------------------------


async def test_a_socket_that_is_dead_or_absent_is_a_typed_error(path: Path) -> None:
    absent = await to_its_end(source(path), Bus())
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(path))
    dead = await to_its_end(source(path), Bus())
    for error in (absent, dead):
        assert isinstance(error, ServiceMissing)
        assert error.message.startswith(f"the container engine at {path} cannot be called: ")


async def test_a_setting_that_is_no_address_is_a_typed_error() -> None:
    assert isinstance(await to_its_end(DockerSource(DockerSettings(host="ssh://x")), Bus()), ConfigError)


async def test_an_engine_that_takes_the_call_and_says_nothing_is_left(path: Path, mock_clock: MockClock) -> None:
    engine = FakeEngine(path, [says()], begins=False)
    errors: list[WaitbusError] = []

    async def run() -> None:
        errors.append(await to_its_end(source(path), Bus()))

    async with engine.listening(), trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await _until(lambda: "/events" in engine.asked)
        await _jump(mock_clock, ANSWER_S)
    assert errors[0].message == f"the container engine at {path} does not answer within 5 s"


async def test_after_a_restart_it_goes_on_where_it_was(path: Path) -> None:
    bus, docker = Bus(), source(path)
    before, after = line("start", NOW), line("die", NOW + S, {"exitCode": "0"})
    engine = FakeEngine(path, [says(before, ends=True), says(before, after)])
    async with engine.listening():
        ended = await to_its_end(docker, bus)
    assert ended.message == f"the container engine at {path} ended its stream of events"
    assert "cannot be called" in (await to_its_end(docker, bus)).message
    async with engine.listening(), running(docker, bus):
        await bus.rows(2)
    assert keys() == [f"start:{NOW}", f"die:{NOW + S}"]
    assert engine.streams[1].since_ns == max(engine.streams[0].since_ns, NOW - OVERLAP_NS)


async def test_what_comes_again_with_the_next_stream_is_neither_asked_about_nor_written(path: Path) -> None:
    bus, docker = Bus(), source(path)
    died = line("die", NOW, {"exitCode": "2"})
    engine = FakeEngine(path, [says(died, ends=True), says(died, line("destroy", NOW + 1))])
    async with engine.listening():
        await to_its_end(docker, bus)
        async with running(docker, bus):
            await bus.rows(2)
    assert engine.asked.count(f"/containers/{ID}/json") == 1


async def test_a_time_that_is_still_to_come_hides_nothing(path: Path) -> None:
    docker = source(path)
    engine = FakeEngine(path, [says(line("start", NOW + 10**6 * S), ends=True), says()])
    async with engine.listening():
        await to_its_end(docker, Bus())
        async with running(docker, Bus()):
            assert engine.streams[1].since_ns <= time.time_ns()


async def test_a_stream_that_breaks_in_the_middle_of_a_line_is_a_typed_error(path: Path) -> None:
    async def act(stream: Stream) -> None:
        await stream.send_raw(line()[:20])

    async with FakeEngine(path, [act]).listening():
        assert "gives no whole answer: peer closed" in (await to_its_end(source(path), Bus())).message
    assert rows() == []


async def test_streams_that_end_at_once_are_backed_off_from_and_do_not_flap(path: Path, mock_clock: MockClock) -> None:
    mock_clock.rate = 30  # not jumping: real sockets and threads have to get their word in
    supervised = Supervised("docker", source(path))
    engine = FakeEngine(path, [says(ends=True)])
    async with engine.listening(), trio.open_nursery() as nursery:
        await nursery.start(supervised.run)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert 4 <= len(engine.streams) <= 12
    assert [row.event_type for row in rows()] == ["source_down"]


async def test_a_stream_that_lasts_is_believed_again(path: Path, mock_clock: MockClock) -> None:
    bus, docker = Bus(), source(path)
    engine = FakeEngine(path, [says(ends=True), says()])
    async with engine.listening():
        await to_its_end(docker, bus)
        assert bus.states == []
        async with running(docker, bus):
            assert bus.states == [f"the container engine at {path} ended its stream of events"]
            await _jump(mock_clock, SETTLE)
            await _until(lambda: bus.states[-1] == "up")


async def test_a_silent_stream_of_an_engine_that_answers_is_kept(path: Path, mock_clock: MockClock) -> None:
    engine = FakeEngine(path, [says()])
    async with engine.listening(), running(source(path), Bus()) as ended:
        for number in (1, 2):
            await _jump(mock_clock, SILENCE)
            await _until(lambda number=number: engine.asked.count("/_ping") == number)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert (ended, len(engine.streams)) == ([], 1)


async def test_a_silent_stream_of_an_engine_that_does_not_answer_is_left(path: Path, mock_clock: MockClock) -> None:
    engine = FakeEngine(path, [says()], answers=False)
    async with engine.listening(), running(source(path), Bus()) as ended:
        await _jump(mock_clock, SILENCE - 1)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert "/_ping" not in engine.asked
        await _jump(mock_clock, 1)
        await _until(lambda: "/_ping" in engine.asked)
        assert ended == []
        await _jump(mock_clock, ANSWER_S)
        await _until(lambda: ended)
    assert ended[0].message == f"the container engine at {path} said nothing for 90 s and does not answer"


async def test_cancelled_it_leaves_at_once(path: Path) -> None:
    engine = FakeEngine(path, [says(line("start", NOW))])
    bus = Bus()
    async with engine.listening():
        async with running(source(path), bus):
            await bus.rows(1)
            began = trio.current_time()
        assert trio.current_time() - began < 2


# -- what ended while nobody listened ----------------------------------------------------------------------------------


def _of(body: bytes) -> dict[str, Any]:
    return dict(json.loads(body))


def ended_at(at_ns: int, code: int = 3) -> dict[str, Any]:
    def text(ns: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // S)) + f".{ns % S:09d}Z"

    return _of(inspected(ExitCode=code, OOMKilled=False, StartedAt=text(at_ns - S), FinishedAt=text(at_ns)))


def heard_before(at_ns: int) -> None:
    emit_all([exit_row(End(id="before", at_ns=at_ns, exit_code=0))])


async def test_a_first_start_makes_up_for_nothing(path: Path, mock_clock: MockClock) -> None:
    before = time.time_ns()
    engine = FakeEngine(path, [says()], {ID: ended_at(NOW - S)}, [ID])
    async with engine.listening(), running(source(path), Bus()):
        await _jump(mock_clock, SETTLE)
        await trio.testing.wait_all_tasks_blocked(0.02)
    assert engine.asked == ["/events", "/containers/json"]  # to know what runs
    assert before <= engine.streams[0].since_ns <= time.time_ns()


async def test_a_start_goes_on_from_the_newest_row_of_a_container(path: Path) -> None:
    heard_before(NOW - 60 * S)
    engine = FakeEngine(path, [says()])
    async with engine.listening(), running(source(path), Bus()):
        assert engine.streams[0].since_ns == NOW - 60 * S - OVERLAP_NS


def test_a_wait_that_begins_now_makes_up_for_nothing() -> None:
    """What ended last night is no answer to it."""
    assert settings_for_wait(known_sources()["docker"]) == DockerSettings(look_back=Seconds(0.0))


async def test_who_takes_over_asks_for_what_happened_since(path: Path, mock_clock: MockClock) -> None:
    """Whatever was heard before: by then it may be long ago that anything happened."""
    heard_before(NOW - 60 * S)
    docker = source(path, look_back=Seconds(0.0))
    docker.take_over(NOW - 2 * S)
    forgotten = ended_at(NOW - S)
    engine = FakeEngine(path, [says(line("start", NOW - S))], {ID: forgotten}, [ID])
    bus = Bus()
    async with engine.listening(), running(docker, bus):
        await bus.rows(2)
        await _jump(mock_clock, SETTLE)
        await bus.rows(3)
    assert engine.streams[0].since_ns == NOW - 2 * S
    assert keys()[1:] == [f"start:{NOW - S}", f"die:{NOW - S}"]


@pytest.mark.parametrize(("age_s", "look_back"), [(90_000, 86_400.0), (60, 0.0), (60, 30.0)])
async def test_the_look_back_has_an_end(path: Path, age_s: int, look_back: float) -> None:
    heard_before(NOW - age_s * S)
    engine = FakeEngine(path, [says()])
    before = time.time_ns()
    async with engine.listening(), running(source(path, look_back=Seconds(look_back)), Bus()):
        assert engine.streams[0].since_ns >= before


async def test_an_end_that_the_engine_has_forgotten_is_found_at_its_container(
    path: Path, mock_clock: MockClock
) -> None:
    heard_before(NOW - 60 * S)
    engine = FakeEngine(path, [says()], {ID: ended_at(NOW - S)}, [ID])
    bus = Bus()
    async with engine.listening(), running(source(path), bus):
        await _jump(mock_clock, SETTLE)
        row = (await bus.rows(2))[1]
    assert row.delivery_id == f"docker:{ID}:die:{NOW - S}"
    assert (row.event_type, row.conclusion, row.summary) == (
        "docker_container",
        "failure",
        "db failure exit 3 postgres:16",
    )
    assert '"duration_ms":1000' in row.fields


async def test_an_end_that_was_told_is_not_found_again(path: Path, mock_clock: MockClock) -> None:
    """Its event came a little after the container had finished, by the engine's own clock."""
    heard_before(NOW - 60 * S)
    died = line("die", NOW - S + 40_000_000, {"exitCode": "3"})
    engine = FakeEngine(path, [says(died)], {ID: ended_at(NOW - S)}, [ID])
    bus = Bus()
    async with engine.listening(), running(source(path), bus):
        await bus.rows(2)
        await _jump(mock_clock, SETTLE)
        await _until(lambda: engine.asked.count(f"/containers/{ID}/json") == 2)
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert keys()[1:] == [f"die:{NOW - S + 40_000_000}"]


@pytest.mark.parametrize("code", [0, 3])
async def test_an_end_that_was_found_is_not_told_again(path: Path, mock_clock: MockClock, code: int) -> None:
    heard_before(NOW - 60 * S)
    found = trio.Event()

    async def act(stream: Stream) -> None:
        await stream.send(line("start", NOW - 2 * S))
        await found.wait()
        await stream.send(line("die", NOW - S + 40_000_000, {"exitCode": str(code)}), line("destroy", NOW))
        await stream.gone()

    engine = FakeEngine(path, [act], {ID: ended_at(NOW - S, code)}, [ID])
    bus = Bus()
    async with engine.listening(), running(source(path), bus):
        await bus.rows(2)
        await _jump(mock_clock, SETTLE)
        await bus.rows(3)
        found.set()
        await bus.rows(4)
    assert keys()[1:] == [f"start:{NOW - 2 * S}", f"die:{NOW - S}", f"destroy:{NOW}"]


async def test_a_reconnection_finds_what_ended_meanwhile(path: Path, mock_clock: MockClock) -> None:
    bus, docker = Bus(), source(path)
    engine = FakeEngine(path, [says(ends=True), says()])
    async with engine.listening():
        await to_its_end(docker, bus)
        ended_ns = time.time_ns()
        engine.containers[ID], engine.ended = ended_at(ended_ns), [ID]
        async with running(docker, bus):
            await _jump(mock_clock, SETTLE)
            await bus.rows(1)
    assert keys() == [f"die:{ended_ns}"]


@pytest.mark.parametrize("first", ["told", "found"])
async def test_an_end_that_one_is_told_of_while_another_finds_it_is_one_row(
    path: Path, mock_clock: MockClock, first: str
) -> None:
    """F16. Each has looked by the time that the other writes: only the transaction itself can tell."""
    heard_before(NOW - 60 * S)
    told, found = Bus(), Bus()
    told.may_go_on, found.may_go_on = trio.Event(), trio.Event()
    listener = FakeEngine(path, [says(line("start", NOW - S), line("die", NOW + 40_000_000, {"exitCode": "3"}))])
    finder = FakeEngine(path.with_name("other.sock"), [says()], {ID: ended_at(NOW)}, [ID])
    async with (
        listener.listening(),
        finder.listening(),
        running(source(listener.path), told),
        running(source(finder.path), found),
    ):
        await told.until_offered(1)
        told.may_go_on.set()
        await told.rows(2)
        told.may_go_on = trio.Event()
        await told.until_offered(2)
        await _jump(mock_clock, SETTLE)
        await found.until_offered(1)
        one, other = (told, found) if first == "told" else (found, told)
        one.may_go_on.set()
        await one.rows(3)
        other.may_go_on.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert len(keys()[2:]) == 1


async def test_two_that_find_a_forgotten_end_at_once_make_one_row(path: Path, mock_clock: MockClock) -> None:
    heard_before(NOW - 60 * S)
    buses = Bus(), Bus()
    for bus in buses:
        bus.may_go_on = trio.Event()
    engine = FakeEngine(path, [says()], {ID: ended_at(NOW - S)}, [ID])
    async with engine.listening(), running(source(path), buses[0]), running(source(path), buses[1]):
        await _jump(mock_clock, SETTLE)
        for bus in buses:
            await bus.until_offered(1)
        for bus in buses:
            bus.may_go_on.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert keys()[1:] == [f"die:{NOW - S}"]


def test_an_end_is_known_by_any_key_of_its_run() -> None:
    def is_new(at_ns: int, from_ns: int, to_ns: int = TIME_MAX, container: str = ID) -> bool:
        row = exit_row(End(id=container, at_ns=at_ns))
        (result,) = emit_all([row], unless={row.delivery_id: exit_keys(container, from_ns, to_ns)})
        return result.inserted

    assert is_new(NOW, NOW)
    assert not is_new(NOW + 1, NOW)
    assert not is_new(NOW + 1, 0)
    assert not is_new(NOW + 1, NOW - 5, NOW + 1)
    assert is_new(NOW + 2, NOW + 1)
    assert is_new(NOW + 3, NOW - 5, NOW)
    assert is_new(NOW, 0, container=ID[:-1])


async def _jump(clock: MockClock, seconds: float) -> None:
    """Let so much time pass, once everybody waits for it."""
    await trio.testing.wait_all_tasks_blocked(0.02)
    clock.jump(seconds)


async def _until(probe: Any) -> None:
    """Until it is so; time does not move meanwhile, so only real things happen."""
    while not probe():
        await trio.testing.wait_all_tasks_blocked(0.005)


async def test_a_probe_asks_the_engine_whether_it_answers(path: Path) -> None:
    engine = FakeEngine(path, [])
    async with engine.listening():
        assert await source(path).probe() == f"the engine at {path} answers"
    assert engine.asked == ["/_ping"]
    with pytest.raises(ServiceMissing, match="cannot be called"):
        await source(path).probe()
