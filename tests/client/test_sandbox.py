"""A client that may use the socket and nothing else: no place for a bell, or a log that cannot be read.

It sees the state folder through another one, in which the log is a link and `bells` is no folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import waitbus
from tests import support
from tests.client.conftest import Bus
from tests.client.faces import Face, emit, event
from tests.client.fake import FakeDaemon, kinds, numbers, settled, steps
from waitbus.client.plan import Outcome
from waitbus.client.session import RETRY_MAX, Session
from waitbus.client.start import Start
from waitbus.client.steps import Gap, Note, Wait
from waitbus.client.tail import Tail
from waitbus.errors import LogError, LogUnavailable, PathError
from waitbus.paths import bells_dir


@pytest.fixture
def view(home: Path) -> Path:
    """The state folder as the sandbox has it."""
    view = home / "view"
    view.mkdir(mode=0o700)
    (view / "events.db").symlink_to(home / "s" / "events.db")
    (view / "bells").write_text("read-only")
    return view


@pytest.fixture
def sandboxed(view: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """A daemon outside, and this process inside."""
    bus.start()
    monkeypatch.setenv("WAITBUS_STATE_DIR", str(view))
    return bus


def tell(bus: Bus, *numbers: int) -> None:
    """From outside, where the bells are."""
    for n in numbers:
        waitbus.emit(event(n), db_path=bus.home / "s" / "events.db")


def test_it_waits_for_its_daemon_to_come_back(sandboxed: Bus, face: Face) -> None:
    """Nothing is lost or doubled, and it is told once, when it takes longer than a restart."""
    said: list[Note | Gap] = []

    def told(notice: Note | Gap) -> None:
        said.append(notice)
        if notice.kind == "stranded":  # type: ignore[union-attr]
            tell(sandboxed, 3)
            sandboxed.start()

    def each(count: int, _: object) -> None:
        if count == 1:
            sandboxed.kill()
            tell(sandboxed, 2)
        elif count == 3:
            tell(sandboxed, 4)
        elif not count:
            tell(sandboxed, 1)

    assert face.collect(4, each=each, told=told) == [1, 2, 3, 4]
    assert kinds(said) == ["stranded", "back"]  # type: ignore[arg-type]
    assert "bells" in said[0].text  # type: ignore[union-attr]


def test_a_restart_is_not_told(sandboxed: Bus, face: Face) -> None:
    said: list[Note | Gap] = []

    def each(count: int, _: object) -> None:
        if count < 3:
            sandboxed.kill()
            tell(sandboxed, count)
            sandboxed.start()

    assert face.collect(3, each=each, told=said.append) == [0, 1, 2]
    assert said == []


def test_it_goes_on_by_the_log_where_that_can_be_read_by_then(sandboxed: Bus, view: Path, face: Face) -> None:
    said: list[str] = []

    def told(notice: Note | Gap) -> None:
        said.append(notice.kind)  # type: ignore[union-attr]
        if said[-1] == "stranded":
            (view / "bells").unlink()
            (view / "bells").symlink_to(sandboxed.home / "s" / "bells")

    def each(count: int, _: object) -> None:
        if not count:
            sandboxed.kill()
            tell(sandboxed, 0)
        else:
            tell(sandboxed, 1)

    assert face.collect(2, each=each, told=told) == [0, 1]
    assert said == ["stranded", "lost"]


def test_a_time_out_holds_meanwhile(sandboxed: Bus, face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Session._live

    def dying(self: Session) -> object:
        if sandboxed.daemon is not None:
            sandboxed.kill()
        return live(self)

    monkeypatch.setattr(Session, "_live", dying)
    began = time.monotonic()
    outcome: Outcome = face.call("decide", "n=1", timeout=0.7)
    assert outcome.kind == "timed_out"
    assert 0.6 < time.monotonic() - began < 3


def test_without_a_daemon_from_the_beginning_it_is_an_error_at_once(
    view: Path, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    emit(1)
    monkeypatch.setenv("WAITBUS_STATE_DIR", str(view))
    with pytest.raises((LogError, PathError), match="bells"):
        face.collect(1, since="1h")


def test_as_a_command(sandboxed: Bus, spawn: Callable[..., Any]) -> None:
    """As a process: it says so once, and ends by the event that came meanwhile, or in time."""
    waiting = spawn("wait", "deploy_finished", "--timeout", "30s")
    short = spawn("wait", "deploy_finished", "--match", "n=77", "--timeout", "3s")
    for child in (waiting, short):
        support.read_until(child.stderr, "armed")
    sandboxed.kill()
    said = support.read_until(waiting.stderr, "trying again")
    assert said.startswith("waitbus: there is no daemon")
    tell(sandboxed, 5)
    out, err = short.communicate(timeout=10)
    assert (short.returncode, out) == (124, "")
    assert err.count("trying again") == 1
    sandboxed.start()
    out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (0, "deploy_finished  n=5\n")
    assert "trying again" not in err
    assert "error" not in err


# -- how often it tries ------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def armed(fake: FakeDaemon, clock: Clock) -> Session:
    session = Session(None, Start(), clock=clock)
    assert isinstance(session.step(), Wait)
    assert fake.accept()
    fake.say(fake.ack())
    settled(session, "socket")
    return session


def pauses(session: Session, clock: Clock, count: int) -> list[float]:
    """How long it waits each time, with the time that it asks for passing."""
    found: list[float] = []
    while len(found) < count:
        wait = steps(session)[-1]
        assert isinstance(wait, Wait)
        assert (wait.fd, wait.bell) == (None, None)
        found.append(wait.deadline - clock.now)
        clock.now = wait.deadline
    return found


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bell can be hung, and the log cannot be read."""
    monkeypatch.setattr(Tail, "find", _refuse)


@pytest.fixture
def bell_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tail, "listen", _refuse)


def _refuse(*_: object) -> None:
    raise LogUnavailable("the log may not be read")


@pytest.mark.usefixtures("unreadable")
def test_it_tries_less_and_less_often_and_never_stops() -> None:
    emit(1)
    clock = Clock()
    with FakeDaemon() as fake:
        session = armed(fake, clock)
    found = pauses(session, clock, 40)
    assert found[0] <= 0.1
    assert all(0 < pause <= RETRY_MAX for pause in found)
    late = found[10:]
    assert min(late) >= RETRY_MAX / 2
    assert len(set(late)) > 20, "a thousand who lost one daemon do not come back at once"
    assert not list(bells_dir().glob("*")), "a bell that nobody listens to would cost each producer"
    with FakeDaemon() as fake:
        clock.now += RETRY_MAX
        assert numbers(steps(session)) == []
        assert fake.accept()
        assert fake.asked()["ext"]["since"]["seq"] == 1
        emit(2)
        fake.say(fake.ack(seq=1), fake.event(2))
        said = steps(session)
        assert (kinds(said), numbers(said)) == (["back"], [2])
    session.close()


@pytest.mark.usefixtures("bell_less")
def test_one_that_hangs_up_on_everybody_is_not_asked_all_the_time() -> None:
    """An ack is no reason to begin with short pauses anew; an hour behind it is."""
    emit(1)
    clock = Clock()
    with FakeDaemon() as fake:
        session = armed(fake, clock)
        found = []
        for _ in range(12):
            fake.hang_up()
            found += pauses(session, clock, 1)
            steps(session)
            assert fake.accept()
            fake.say(fake.ack())
            settled(session, "socket")
        assert found[-1] >= RETRY_MAX / 2
        clock.now += 3600
        fake.say({"kind": "daemon_heartbeat", "seq": 1})
        steps(session)
        fake.hang_up()
        assert pauses(session, clock, 1)[0] <= 0.1
    session.close()
