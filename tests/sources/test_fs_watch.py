"""Whatever happens under a root, in whatever order: what was told, taken together, is how it is. On real files, against a
model.
"""

from __future__ import annotations

import itertools
import os
import select
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import eventually
from waitbus.errors import ServiceMissing
from waitbus.events import EventInsert
from waitbus.sources import fs_changes, fs_watch, inotify
from waitbus.sources.fs_globs import Globs
from waitbus.sources.fs_watch import RootWatch
from waitbus.sources.inotify import Inotify, Note

ANY = Globs.parse(())
State = tuple[int, int]


def drained(watch: RootWatch, limit: float = 10.0) -> Iterator[EventInsert]:
    """Turns until nothing is due and nothing has come; without a queue, until everything was walked once more and told."""
    end = time.monotonic() + limit
    if watch.queue is None and watch.tree.folders:
        watch.walks.add_all()
    while time.monotonic() < end:
        turn = watch.turn()
        yield from turn.events
        if turn.more:
            continue
        due = watch.changes.next_due()
        wait = max(0.0, min(due - time.monotonic(), 1.0)) if due != float("inf") else 0.0
        readable, _, _ = select.select([] if watch.queue is None else [watch.queue.fd], [], [], wait)
        if not readable and due == float("inf"):
            return
    raise AssertionError("it never came to rest")


def final(events: list[EventInsert], before: dict[str, State]) -> dict[str, State]:
    """The files as they are by what was told, each of which says something new."""
    states = dict(before)
    for event in events:
        fields = event.fields
        if event.event_type != "fs_change":
            continue
        path, action = fields["path"], fields["action"]
        assert (path in states) == (action in ("deleted", "modified")) or action == "moved"
        if action == "moved":
            del states[fields["old_path"]]
        if action == "deleted":
            del states[path]
        else:
            state = (fields["size"], fields["mtime_ns"])
            assert states.get(path) != state
            states[path] = state
    return states


def on_disk(root: Path) -> dict[str, State]:
    found = {}
    for folder, _, files in os.walk(root):
        for name in files:
            state = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (state.st_size, state.st_mtime_ns)
    return found


NAMES = st.sampled_from(["a", "b", "c.tmp"])
PICK = st.integers(0, 1000)
CHANGES = st.one_of(
    st.tuples(st.just("write"), PICK, NAMES),
    st.tuples(st.just("write over"), PICK),
    st.tuples(st.just("folder"), PICK, NAMES),
    st.tuples(st.just("remove"), PICK),
    st.tuples(st.just("rename"), PICK, PICK, NAMES),
    st.tuples(st.just("rename"), PICK, PICK, NAMES),
)
STEPS = st.lists(st.one_of(CHANGES, CHANGES, st.sampled_from([("turn",), ("rest",), ("overflow",)])), max_size=40)


def do(root: Path, step: tuple, serial: Iterator[int]) -> None:
    """One step, where it is possible; places are picked of those that are there."""
    everything = sorted(root.rglob("*"))
    places = [root, *(place for place in everything if place.is_dir())]
    files = [place for place in everything if place.is_file()]
    content = "x" * (10 * next(serial))  # no two of one size: the clock of the file system is coarse
    try:
        match step:
            case ("write", where, name):
                (places[where % len(places)] / name).write_text(content)
            case ("write over", where):
                files[where % len(files)].write_text(content)
            case ("folder", where, name):
                (places[where % len(places)] / name).mkdir()
            case ("remove", where):
                place = everything[where % len(everything)]
                shutil.rmtree(place) if place.is_dir() else place.unlink()
            case ("rename", which, where, name):
                everything[which % len(everything)].rename(places[where % len(places)] / name)
    except (OSError, ZeroDivisionError):
        pass


@pytest.mark.parametrize("hears", [True, False], ids=["the kernel tells", "walks alone"])
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=STEPS, steps=STEPS)
def test_what_was_told_taken_together_is_how_it_is(
    monkeypatch: pytest.MonkeyPatch, hears: bool, start: list, steps: list
) -> None:
    monkeypatch.setattr(fs_watch, "HAS_INOTIFY", hears)
    monkeypatch.setattr(fs_changes, "HOLD", 0.003)
    monkeypatch.setattr(fs_changes, "AGAIN", 0.003)
    serial = itertools.count(1)
    root = Path(tempfile.mkdtemp(prefix="wb-fs-")).resolve()
    watch = RootWatch(str(root), ANY)
    try:
        for step in start:
            if len(step) > 1:
                do(root, step, serial)
        before = on_disk(root)
        assert list(drained(watch)) == []
        told: list[EventInsert] = []
        for step in steps:
            if step[0] == "turn":
                told += watch.turn().events
            elif step[0] == "rest":
                told += drained(watch)
            elif step[0] == "overflow":
                if hears:
                    lose(watch)
            else:
                do(root, step, serial)
        told += drained(watch)
        assert final(told, before) == on_disk(root)
        assert set(known(watch)) == set(on_disk(root))
        assert set(watch.tree.folders) == set(folders(root))
        assert not watch.tree.ghosts
        assert not watch.changes.pending
    finally:
        watch.close()
        shutil.rmtree(root)


def lose(watch: RootWatch) -> None:
    """All that is in the queue is lost, and the kernel says so."""
    assert watch.queue is not None
    while watch.queue.read():
        pass
    watch.take(Note(-1, inotify.Q_OVERFLOW, 0, ""))


def folders(root: Path) -> Iterator[str]:
    for folder, _, _ in os.walk(root):
        yield "" if folder == str(root) else os.path.relpath(folder, root)


def known(watch: RootWatch) -> Iterator[str]:
    for folder in watch.tree.folders.values():
        for name in folder.files:
            yield os.path.join(watch.root, folder.path, name)


@pytest.fixture
def watch(home: Path) -> Iterator[RootWatch]:
    root = home / "root"
    root.mkdir()
    watch = RootWatch(str(root.resolve()), ANY)
    list(drained(watch))
    yield watch
    watch.close()


def test_when_nothing_happens_nothing_is_due(watch: RootWatch) -> None:
    turn = watch.turn()
    assert (list(turn.events), turn.more, turn.due, turn.here, turn.listens) == ([], False, float("inf"), True, True)


def test_a_turn_ends_soon_however_much_there_is(watch: RootWatch) -> None:
    for number in range(20):
        (Path(watch.root) / f"d{number}").mkdir()
        for inner in range(200):
            (Path(watch.root) / f"d{number}" / f"{inner}").write_text("")
    told, longest = 0, 0.0
    while told < 4000:
        began = time.thread_time()
        turn = watch.turn()
        longest = max(longest, time.thread_time() - began)
        told += len(turn.events)
        assert len(turn.events) <= fs_watch.BATCH
    assert longest < 0.15


def test_with_too_much_noted_the_queue_is_left_to_the_kernel(watch: RootWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fs_watch, "PENDING_MAX", 5)
    for number in range(20):
        (Path(watch.root) / f"{number}.tmp").write_text("")
    turn = watch.turn()
    while turn.more:
        turn = watch.turn()
    assert not turn.listens
    assert turn.due != float("inf")
    assert len(list(drained(watch))) == 20


def test_a_repeated_overflow_is_one_walk(watch: RootWatch) -> None:
    for _ in range(5):
        lose(watch)
    assert watch.walks.waiting == 1
    assert [event.event_type for event in drained(watch)] == ["fs_overflow"] * 5


def test_folders_that_were_moved_while_notifications_were_lost_are_watched_where_they_are(watch: RootWatch) -> None:
    """The walk finds one of the two at its new place before it misses it at the old one."""
    root = Path(watch.root)
    for folder in ("p/a", "q/b"):
        (root / folder).mkdir(parents=True)
        (root / folder / "x").write_text("x")
    list(drained(watch))
    (root / "p" / "a").rename(root / "q" / "a")
    (root / "q" / "b").rename(root / "p" / "b")
    lose(watch)
    list(drained(watch))
    for folder in ("q/a", "p/b"):
        (root / folder / "x").write_text("changed")
    told = [(event.fields["action"], event.fields["relpath"]) for event in drained(watch)]
    assert sorted(told) == [("modified", "p/b/x"), ("modified", "q/a/x")]


def test_the_kernels_descriptors_are_given_back(home: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = RootWatch(str(home), ANY)
    watch.turn()
    watch.close()
    watch.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_is_hidden_is_watched_no_more(watch: RootWatch) -> None:
    folder = Path(watch.root) / "out"
    folder.mkdir()
    (folder / "a").write_text("x")
    list(drained(watch))
    assert "out" in watch.tree.folders
    (Path(watch.root) / ".gitignore").write_text("out/\n")
    list(drained(watch))
    assert "out" not in watch.tree.folders
    (folder / "a").write_text("y")
    assert watch.queue is not None
    assert select.select([watch.queue.fd], [], [], 0)[0] == []


def test_what_happened_just_when_rules_changed_is_told(watch: RootWatch) -> None:
    """A checkout that shows a folder and writes into it: the file in it is newer than the rules."""
    root = Path(watch.root)
    (root / "out").mkdir()
    (root / "out" / "old").write_text("x")
    (root / ".gitignore").write_text("out/\n")
    list(drained(watch))
    (root / ".gitignore").write_text("\n")
    (root / "out" / "new").write_text("x")
    told = [event.fields["relpath"] for event in drained(watch)]
    assert sorted(told) == [".gitignore", "out/new"]


def test_what_happened_just_before_rules_changed_is_told(watch: RootWatch) -> None:
    """It is older than the rules, was not known when they were read anew, and was not hidden by them."""
    made, rules = Path(watch.root) / "a", Path(watch.root) / ".gitignore"
    made.write_text("x")
    eventually(lambda: rules.write_text("b\n") and rules.stat().st_ctime_ns > made.stat().st_ctime_ns)
    assert sorted(event.fields["relpath"] for event in drained(watch)) == [".gitignore", "a"]


NOTES = [
    Note(1, inotify.CREATE, 0, "a"),
    Note(2, inotify.MOVED_FROM, 77, "x" * 255),
    Note(-1, inotify.Q_OVERFLOW, 0, ""),
    Note(3, inotify.CLOSE_WRITE, 0, "\udcff\n"),
]


def test_the_kernels_buffer_is_read_as_it_is_written() -> None:
    data = b""
    for note in NOTES:
        name = os.fsencode(note.name)
        padded = name + b"\0" * (16 - len(name) % 16) if name else b""
        data += inotify.HEADER.pack(note.watch, note.mask, note.cookie, len(padded)) + padded
    assert inotify.parse(data) == NOTES


def test_a_queue_or_a_watch_that_is_refused_is_a_typed_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def inotify_init1(self, _: int) -> int:
            return self._no(24)

        def inotify_add_watch(self, *_: object) -> int:
            return self._no(28)

        def _no(self, code: int) -> int:
            import ctypes

            ctypes.set_errno(code)
            return -1

    queue = Inotify()
    try:
        monkeypatch.setattr(inotify, "_libc", Refusing)
        with pytest.raises(ServiceMissing, match="cannot be watched: No space left") as caught:
            queue.add(str(home), inotify.CREATE)
        assert "max_user_watches" in caught.value.hint
        with pytest.raises(ServiceMissing, match="Too many open files") as caught:
            Inotify()
        assert "max_user_instances" in caught.value.hint
    finally:
        queue.close()


def test_what_is_not_there_or_a_link_is_not_watched(home: Path) -> None:
    (home / "link").symlink_to(home)
    (home / "file").write_text("")
    queue = Inotify()
    try:
        for name in ("nowhere", "link", "file", "x\0y"):
            assert queue.add(str(home / name), inotify.CREATE) is None
    finally:
        queue.close()


@pytest.mark.parametrize("mode", ["w", "r+", "a"])
def test_a_file_is_being_written_while_it_is_open_for_that(home: Path, mode: str) -> None:
    from waitbus.sources.fs_tree import is_being_written

    place = home / "a"
    place.write_text("x")
    assert not is_being_written(str(place))
    with open(place):
        assert not is_being_written(str(place))
    with open(place, mode):
        assert is_being_written(str(place))
    assert not is_being_written(str(place))
    assert not is_being_written(str(home / "nowhere"))
