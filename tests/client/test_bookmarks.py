"""Bookmarks: where a reader goes on, and when it moves: at least once, never at most once."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import anyio
import pytest

import waitbus
from tests import logs, support
from tests.client.conftest import Bus
from tests.client.faces import Face, emit
from waitbus.client import bookmarks
from waitbus.errors import InvalidCursor, InvalidName, OtherLog, UnknownEvent, WaitbusError
from waitbus.events import make_event_id
from waitbus.paths import cursors_dir
from waitbus.store import bookmarks as store_bookmarks
from waitbus.store import shared
from waitbus.store.bookmarks import keep_from


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


MOVER = """
import sys
from waitbus.client import bookmarks
while True:
    for event_id in sys.argv[1:]:
        bookmarks.write("b", event_id)
"""
FAR, NEAR = make_event_id(2**47, 2**29 + 1, 2**49 + 1), make_event_id(12345678901, 77, 9876543)


def test_one_that_is_killed_while_it_moves_is_at_one_place_or_the_other() -> None:
    """And whoever looks meanwhile sees one of the two, too: no mixture, no half."""
    bookmarks.write("b", FAR)
    for _ in range(5):
        child = logs.python(MOVER, NEAR, FAR)
        support.eventually(lambda: bookmarks.read("b") == NEAR)
        seen = {bookmarks.read("b") for _ in range(3000)} | {_raw() for _ in range(3000)}
        child.kill()
        child.communicate(timeout=10)
        assert seen <= {FAR, NEAR}
        assert bookmarks.read("b") in {FAR, NEAR}
        bookmarks.write("b", FAR)
    assert os.listdir(cursors_dir()) == ["bookmark-b.txt"]


def _raw() -> str:
    return store_bookmarks.read(cursors_dir() / "bookmark-b.txt")


HALF = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
os.pwrite(fd, sys.argv[2].encode()[:13], 0)
print("half", flush=True)
sys.stdin.readline()
os.pwrite(fd, sys.argv[2].encode()[13:], 13)
os.close(fd)
print("whole", flush=True)
"""


def test_nobody_sees_a_move_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems let a reader see half of a write (ext4, tmpfs): readers wait for the mover, and movers for each other."""
    monkeypatch.setattr(store_bookmarks, "HELD_MAX", 10.0)
    bookmarks.write("b", FAR)
    file = cursors_dir() / "bookmark-b.txt"
    mover = logs.python(HALF, file, NEAR)
    assert mover.stdin is not None
    assert mover.stdout is not None
    assert mover.stdout.readline() == "half\n"
    with ThreadPoolExecutor() as pool:
        reader, kept = pool.submit(bookmarks.read, "b"), pool.submit(keep_from, shared())
        assert not wait([reader], timeout=0.1).done
        assert not wait([kept], timeout=0.1).done
        mover.stdin.write("\n")
        mover.stdin.flush()
        assert (reader.result(10), kept.result(10)) == (NEAR, None)
    logs.finish([mover])


def test_one_that_is_stopped_while_it_moves_holds_nobody_up() -> None:
    """A process is stopped before its write or behind it, never within: what stands there is whole."""
    bookmarks.write("b", FAR)
    holder = logs.python(HALF, cursors_dir() / "bookmark-b.txt", FAR)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "half\n"
    assert bookmarks.read("b") == FAR
    bookmarks.write("b", NEAR)
    assert bookmarks.read("b") == NEAR
    holder.kill()
    holder.communicate(timeout=10)


def test_a_file_that_holds_something_else(home: object) -> None:
    cursors_dir().mkdir(parents=True, mode=0o700)
    (cursors_dir() / "bookmark-b.txt").write_bytes(b"\xffhello\n")
    with pytest.raises(InvalidCursor, match=r"the bookmark 'b' holds '.hello', which is no event id") as caught:
        waitbus.subscribe(bookmark="b")
    assert "waitbus bookmark delete b" in caught.value.hint


@pytest.mark.parametrize("kind", ["empty", "half", "endless", "folder", "noise"])
def test_whatever_stands_there_is_one_error_with_a_remedy(kind: str, call: Callable[..., support.Result]) -> None:
    """Of the library and of each command that reads it; retention keeps nothing for it, and goes on."""
    emit(1)
    file = cursors_dir() / "bookmark-b.txt"
    file.parent.mkdir(mode=0o700)
    contents = {"empty": b"", "half": NEAR[:13].encode(), "endless": NEAR.encode() * 10_000, "noise": bytes(range(256))}
    file.mkdir() if kind == "folder" else file.write_bytes(contents[kind])
    with pytest.raises(WaitbusError, match="the bookmark 'b' ") as caught:
        waitbus.subscribe(bookmark="b")
    assert caught.value.hint
    for argv in (["replay"], ["broadcast", "tap", "--timeout", "1s"], ["read-events", "watch", "--timeout", "1s"]):
        done = call(*argv, "--bookmark", "b")
        assert (done.code, done.out) == (caught.value.exit_code, "")
        assert done.err.splitlines()[-2:] == [f"error: {caught.value.message}", f"hint: {caught.value.hint}"]
    assert "(damaged)" in call("bookmark", "list").out
    assert keep_from(shared()) is None


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
