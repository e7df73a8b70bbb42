"""Bookmarks: where a reader goes on, and when it moves: at least once, never at most once."""

from __future__ import annotations

import os
import stat

import anyio
import pytest

import waitbus
from tests.client.conftest import Bus
from tests.client.faces import Face, emit
from waitbus.client import bookmarks
from waitbus.errors import InvalidCursor, InvalidName, OtherLog, UnknownEvent
from waitbus.events import make_event_id
from waitbus.paths import cursors_dir
from waitbus.store import shared


def place() -> int | None:
    """The seq of the bookmark `b`."""
    kept = bookmarks.read("b")
    return None if kept is None else int(_seq(kept))


def _seq(event_id: str) -> int:
    from waitbus.events import parse_event_id

    return parse_event_id(event_id).seq


def test_it_moves_when_the_next_event_is_asked_for_and_at_the_end_of_the_block(transport: str, face: Face) -> None:
    emit(*range(6))
    places: list[int | None] = []
    assert face.collect(3, since="1h", bookmark="b", each=lambda *_: places.append(place())) == [0, 1, 2]
    assert places == [None, None, 1, 2]
    assert place() == 3
    assert face.collect(2, bookmark="b") == [3, 4]


def test_one_that_exists_wins_over_since(transport: str, face: Face) -> None:
    """So that the same program reads each event once, however often it is started."""
    emit(*range(4))
    assert face.collect(2, since="1h", bookmark="b") == [0, 1]
    assert face.collect(2, since="1h", bookmark="b") == [2, 3]


def test_a_block_that_fails_leaves_it_at_what_was_done(transport: str, face: Face) -> None:
    emit(*range(4))

    def each(count: int, _: object) -> None:
        if count == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        face.collect(4, since="1h", bookmark="b", each=each)
    assert place() == 2
    assert face.collect(2, bookmark="b") == [2, 3]


def test_ack_moves_it_at_once(transport: str) -> None:
    emit(*range(3))
    events = waitbus.subscribe(since="1h", bookmark="b")
    events.ack(next(events))
    assert place() == 1
    next(events)
    events.close()
    assert place() == 1


def test_a_loop_that_is_cancelled_leaves_it_at_what_was_done() -> None:
    async def main() -> None:
        with anyio.move_on_after(5) as scope:
            async with waitbus.asubscribe(since="1h", bookmark="b") as events:
                async for frame in events:
                    if frame.fields["n"] == 1:
                        scope.cancel()
                        await anyio.sleep_forever()

    emit(*range(3))
    anyio.run(main, backend="trio")
    assert place() == 1


def test_it_survives_a_daemon_that_does_not(bus: Bus, face: Face) -> None:
    emit(*range(3))
    bus.start()

    def each(count: int, _: object) -> None:
        if count == 1:
            bus.kill()

    assert face.collect(2, since="1h", bookmark="b", each=each) == [0, 1]
    assert face.collect(1, bookmark="b") == [2]


def test_one_of_another_log_is_refused_by_its_name(transport: str, face: Face) -> None:
    emit(1)
    facts = shared().facts()
    bookmarks.write("b", make_event_id(facts.last_at_ms, facts.tag ^ 1, 1))
    with pytest.raises(OtherLog, match="the bookmark 'b' belongs to another log") as caught:
        face.collect(1, bookmark="b")
    assert caught.value.hint == "`waitbus bookmark set b` moves it to the end of this log"
    bookmarks.write("b", make_event_id(facts.last_at_ms, facts.tag, 9))
    with pytest.raises(UnknownEvent, match="the bookmark 'b' names an event that this log never had"):
        face.collect(1, bookmark="b")


def test_a_file_that_holds_something_else(home: object) -> None:
    cursors_dir().mkdir(parents=True, mode=0o700)
    (cursors_dir() / "bookmark-b.txt").write_bytes(b"\xffhello\n")
    with pytest.raises(InvalidCursor, match=r"the bookmark 'b' holds '.hello', which is no event id") as caught:
        waitbus.subscribe(bookmark="b")
    assert "waitbus bookmark delete b" in caught.value.hint


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "é", "x" * 101, "../b", "\0"])
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="cannot be a bookmark"):
        bookmarks.read(name)
    with pytest.raises(InvalidName):
        waitbus.subscribe(bookmark=name)


def test_names_and_files_are_those_of_0_2_and_nobody_elses() -> None:
    event_id = waitbus.emit(_event()).event.event_id
    for name in ("z", "A.b-c_1"):
        bookmarks.write(name, event_id)
    file = cursors_dir() / "bookmark-z.txt"
    assert file.read_text() == f"{event_id}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (cursors_dir() / "notes.txt").write_text("x")
    assert bookmarks.names() == ["A.b-c_1", "z"]
    assert (bookmarks.delete("z"), bookmarks.delete("z"), bookmarks.read("z")) == (True, False, None)
    assert sorted(os.listdir(cursors_dir())) == ["bookmark-A.b-c_1.txt", "notes.txt"]


def _event() -> waitbus.EventInsert:
    return waitbus.EventInsert(source="agent", event_type="deploy_finished")
