"""F14: the clock is stepped back an hour, or forwards; the order, the ids, the time-outs and `--since` stay right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import waitbus
from tests import support
from tests.bus import daemon
from tests.logs import tell
from waitbus.client.start import Start
from waitbus.events import EventInsert, parse_event_id
from waitbus.producer import emit_batch
from waitbus.store import shared

HOUR = 3600.0


class Wall:
    """The wall clock, stepped by `by` seconds; the monotonic one goes on as it is."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.by = 0.0
        now, now_ns = time.time, time.time_ns
        patch.setattr(time, "time", lambda: now() + self.by)
        patch.setattr(time, "time_ns", lambda: now_ns() + int(self.by * 1e9))


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


def read(text: str) -> list[str]:
    """The event types of the lines of a replay."""
    return [line.split()[1] for line in text.splitlines()]


def test_order_and_ids_go_on(wall: Wall, call: Callable[..., support.Result]) -> None:
    """Ids ascend as text and as seqs; a commit is never earlier than the one before it."""
    ids = [tell("a"), tell("b")]
    wall.by = -HOUR
    ids += [tell("c"), tell("d")]
    emit_batch([EventInsert(source="agent", event_type=name) for name in ("e", "f")])
    wall.by = +HOUR
    ids += [tell("g")]
    places = [parse_event_id(one) for one in ids]
    assert ids == sorted(ids)
    assert [place.seq for place in places] == [1, 2, 3, 4, 7]
    assert [place.at_ms for place in places] == sorted(place.at_ms for place in places)
    assert read(call("replay", "--text").out) == list("abcdefg")


def test_a_cursor_stays_where_it_is(wall: Wall, call: Callable[..., support.Result]) -> None:
    """It is a place, and no time."""
    tell("a")
    cursor = call("cursor").out.strip()
    wall.by = -HOUR
    assert call("cursor").out.strip() == cursor
    tell("b")
    assert read(call("replay", cursor, "--text").out) == ["b"]
    assert call("wait", "b", "--since", cursor, "--timeout", "5s").code == 0


def test_since_a_duration_has_what_came_since_then(wall: Wall, call: Callable[..., support.Result]) -> None:
    """Nothing of the last ten minutes is left out, whichever side of the step it was on; two hours later none of it is in it."""
    tell("before")
    wall.by = -HOUR
    tell("after")
    assert read(call("replay", "10m", "--text").out) == ["before", "after"]
    assert call("wait", "after", "--since", "10m", "--timeout", "5s").code == 0
    wall.by = 2 * HOUR
    assert call("replay", "10m", "--text").out == ""
    tell("late")
    assert read(call("replay", "10m", "--text").out) == ["late"]


def test_since_a_duration_after_a_step_forwards(wall: Wall, call: Callable[..., support.Result]) -> None:
    """What was told an hour ago by the new clock is not of the last ten minutes."""
    tell("before")
    wall.by = +HOUR
    tell("after")
    assert read(call("replay", "10m", "--text").out) == ["after"]
    assert read(call("replay", "2h", "--text").out) == ["before", "after"]


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_time_out_counts_no_wall_clock(wall: Wall, step: float) -> None:
    """It is neither an hour late nor at once."""
    begun = time.monotonic()
    with waitbus.subscribe(match="event_type=never") as subscription:
        wall.by = step
        subscription.deadline = time.monotonic() + 0.3
        assert next(iter(subscription), None) is None
    assert 0.3 <= time.monotonic() - begun < 5


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_an_armed_subscription_hears_what_comes_behind_the_step(wall: Wall, step: float) -> None:
    """Once each, in order."""
    tell("before")
    with waitbus.subscribe() as subscription:
        subscription.deadline = time.monotonic() + 10
        heard = iter(subscription)
        tell("a")
        wall.by = step
        tell("b")
        tell("c")
        assert [next(heard).event_type for _ in range(3)] == ["a", "b", "c"]


def test_retention_does_not_prune_what_the_step_made_old(wall: Wall, call: Callable[..., support.Result]) -> None:
    """By the commit times of the log, which never go back."""
    tell("a")
    wall.by = -HOUR
    tell("b")
    assert call("db", "prune", "--max-age", "30m").code == 0
    assert read(call("replay", "--text").out) == ["a", "b"]
    assert shared().facts().last == 2


def test_a_moment_of_ours_after_a_step_is_before_what_came_since(wall: Wall) -> None:
    """What was told before the step lies in the future by its time; what was told since then is found all the same."""
    tell("before")
    wall.by = -HOUR
    tell("since")
    began = time.time_ns() // 1_000_000 + 1
    log = shared()
    support.eventually(lambda: time.time_ns() // 1_000_000 > began)
    assert log.seq_before(began, told=True) == 2
    assert log.seq_before(began - 60_000, told=True) == 1
    tell("later")
    assert log.seq_before(began, told=True) == 2


def test_a_wait_after_a_step_does_not_take_what_was_told_before_it(
    wall: Wall,
    bus_or_log: None,
) -> None:
    """A wait without --since begins at its own start, by whichever transport."""
    wall.by = HOUR
    tell("x")
    wall.by = 0.0  # back again, which the clock of the daemon, another process, never left
    began = Start(at_ns=time.time_ns(), told=True)
    assert waitbus.wait_for("event_type=x", since=began, timeout=0.05) is None
    told = [tell("x")]
    frame = waitbus.wait_for("event_type=x", since=began, timeout=5)
    assert frame is not None
    assert [frame.event_id] == told


@pytest.fixture(params=["log", "socket"])
def bus_or_log(request: pytest.FixtureRequest, home: Path) -> Iterator[None]:
    if request.param == "log":
        yield
        return
    with daemon(home):
        yield
