"""What the fs source finds where it takes over: what happened since another watcher was heard last, each thing once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sources.fs_watching import watching
from tests.support import eventually
from waitbus.events import EventInsert
from waitbus.producer import emit_all
from waitbus.sources import fs_events
from waitbus.sources.fs_changes import Change
from waitbus.sources.fs_told import NEWEST, last_told
from waitbus.sources.fs_tree import Seen
from waitbus.store import Log


@pytest.fixture
def root(home: Path) -> Path:
    root = (home / "root").resolve()
    root.mkdir()
    return root


def behind(path: Path) -> int:
    """A moment behind the last change of a file, ns; the clock of the file system has passed it."""
    probe, moment_ns = path.with_name("probe"), path.lstat().st_ctime_ns + 1
    eventually(lambda: [probe.write_text("x"), probe.stat().st_ctime_ns > moment_ns][1])
    probe.unlink()
    return moment_ns


def told(events: list[EventInsert]) -> None:
    """Another watcher told of these."""
    emit_all(events)


def write(place: Path) -> None:
    (place / "a.txt").write_text("changed")


def replace(place: Path) -> None:
    (place / "new.tmp").write_text("changed")
    (place / "new.tmp").rename(place / "a.txt")


async def test_what_changed_since_is_found_and_what_is_older_is_not(root: Path) -> None:
    (root / "old.txt").write_text("x")
    since_ns = behind(root / "old.txt")
    (root / "in").mkdir()
    (root / "in" / "new.txt").write_text("x")
    async with watching(root, since_ns=since_ns) as bus:
        assert await bus.changes() == [("created", "in/new.txt")]
        (root / "old.txt").write_text("changed")
        assert await bus.changes() == [("modified", "old.txt")]


async def test_what_was_told_is_not_told_again(root: Path) -> None:
    """Nor is what is no change: a chmod."""
    async with watching(root) as first:
        (root / "a.txt").write_text("x")
        told(await first.told())
    os.chmod(root / "a.txt", 0o600)
    async with watching(root, since_ns=0) as second:
        assert await second.changes() == []


@pytest.mark.parametrize("change", [write, replace])
async def test_a_file_that_was_told_of_is_modified(root: Path, change: Callable[[Path], None]) -> None:
    async with watching(root) as first:
        (root / "a.txt").write_text("x")
        told(await first.told())
    change(root)
    async with watching(root, since_ns=0) as second:
        assert await second.changes() == [("modified", "a.txt")]


async def test_a_file_that_was_told_to_be_gone_is_created(root: Path) -> None:
    async with watching(root) as first:
        (root / "a.txt").write_text("x")
        told(await first.told())
        (root / "a.txt").unlink()
        told(await first.told())
    (root / "a.txt").write_text("again")
    async with watching(root, since_ns=0) as second:
        assert await second.changes() == [("created", "a.txt")]


async def test_a_folder_that_was_moved_here_brings_its_files(root: Path, home: Path) -> None:
    (home / "away" / "deep").mkdir(parents=True)
    for name in ("1.txt", "deep/2.txt"):
        (home / "away" / name).write_text("x")
    since_ns = behind(home / "away" / "deep" / "2.txt")
    (home / "away").rename(root / "in")
    async with watching(root) as other:
        (root / "in").rename(home / "away")
        await other.told()
        (home / "away").rename(root / "in")
        by_other = await other.told()
    async with watching(root, since_ns=since_ns) as bus:
        events = await bus.told()
    assert sorted(event.fields["relpath"] for event in events) == ["in/1.txt", "in/deep/2.txt"]
    assert {event.delivery_id for event in events} == {event.delivery_id for event in by_other}


async def test_what_the_log_has_counts_for_the_first_look_alone(root: Path) -> None:
    """A file that goes and comes back as it was is news."""
    (root / "a").mkdir()
    async with watching(root) as first:
        (root / "a" / "1.txt").write_text("x")
        told(await first.told())
    async with watching(root, since_ns=0) as second:
        assert await second.changes() == []
        (root / "a").rename(root / "b")
        assert await second.changes() == [("moved", "b/1.txt", "a/1.txt")]
        (root / "b").rename(root / "a")
        assert await second.changes() == [("moved", "a/1.txt", "b/1.txt")]


@pytest.mark.parametrize(("debounce", "found"), [(0.01, []), (0.3, [("created", "a.txt")])])
async def test_what_was_held_back_is_found(root: Path, debounce: float, found: list[tuple[str, str]]) -> None:
    """The other one waited for a file to be left alone for so long, and so had not told of it."""
    (root / "a.txt").write_text("x")
    since_ns = (root / "a.txt").stat().st_ctime_ns + 200_000_000
    async with watching(root, since_ns=since_ns, debounce=debounce) as bus:
        assert await bus.changes() == found


# -- what the log knows ------------------------------------------------------------------------------------------------


def changed(path: str, seen: Seen, *, gone: bool = False) -> EventInsert:
    return fs_events.changed("/", Change("deleted" if gone else "created", path.lstrip("/"), seen))


STATES = [Seen(7, 3, 10**18, 10**18), Seen(7, 3, -5, 10**18), Seen(7, 0, 10**18, 10**18 + 10**9)]


@pytest.mark.parametrize("seen", STATES)
@pytest.mark.parametrize("path", ["/w/a.txt", "/w/\u00e4 b", "/" + "d" * 400 + "/a", "/w/a:is:7:3:1"])
def test_a_state_is_read_from_its_row(path: str, seen: Seen) -> None:
    told([changed(path, STATES[0]._replace(inode=1)), changed(path, seen)])
    found = last_told(path)
    assert found is not None
    assert found.is_as(seen)
    assert fs_events.moment(found) == fs_events.moment(seen)
    told([changed(path, seen, gone=True)])
    assert last_told(path) is None


@pytest.mark.parametrize("other", ["/w/a:is", "/w/a:deleted", "/w/a:is:7:3:1000", "/w/ab", "/w", "/w/a/b"])
def test_a_row_of_another_path_is_none_of_it(other: str) -> None:
    told([changed(other, STATES[0])])
    assert last_told("/w/a") is None


def test_the_look_is_one_into_the_index(log: Log) -> None:
    plan = [row[3] for row in log.use(lambda db: db.execute(f"EXPLAIN QUERY PLAN {NEWEST}", ("fs:/w/a",)).fetchall())]
    assert any("delivery_id>? AND delivery_id<?" in step for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan
