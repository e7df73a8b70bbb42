"""The fs source with real files: what each thing that happens to them is, once and with its fields."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import attrs
import pytest
import trio

from tests.sources.fs_watching import Bus, git, repository_of, sh, watching
from waitbus.errors import ConfigError, InvalidValue, PathError, WaitbusError
from waitbus.events import EventInsert, converter
from waitbus.paths import log_path
from waitbus.sources import fs_watch, source
from waitbus.sources.fs import FsSettings, FsSource
from waitbus.sources.supervision import Supervised
from waitbus.store import Log


@pytest.fixture
def root(home: Path) -> Path:
    root = (home / "root").resolve()
    root.mkdir()
    return root


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A root in memory, where there is such a place: a disk that others use takes half a minute for ten thousand files."""
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="wb-", dir=memory if os.access(memory, os.W_OK) else None)).resolve()
    yield place
    shutil.rmtree(place)


def opened(path: str | bytes | Path, mode: str) -> IO[str]:
    return open(path, mode)


def in_background(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv)


def queue_limit() -> int:
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def real(path: Path) -> Path:
    return path.resolve()


# -- what happens to a file --------------------------------------------------------------------------------------------


async def test_a_file_appears_changes_moves_and_goes(root: Path) -> None:
    async with watching(root) as bus:
        (root / "a.txt").write_text("one")
        assert await bus.changes() == [("created", "a.txt")]
        (root / "a.txt").write_text("three")
        assert await bus.changes() == [("modified", "a.txt")]
        (root / "a.txt").rename(root / "b.txt")
        assert await bus.changes() == [("moved", "b.txt", "a.txt")]
        (root / "b.txt").unlink()
        assert await bus.changes() == [("deleted", "b.txt")]


async def test_an_event_says_all_there_is_to_know(root: Path) -> None:
    async with watching(root) as bus:
        (root / "sub").mkdir()
        (root / "sub" / "a.txt").write_text("hello")
        (event,) = await bus.told()
    found = (root / "sub" / "a.txt").stat()
    assert (event.source, event.event_type, event.status, event.conclusion) == ("fs", "fs_change", "completed", None)
    assert event.fields == {
        "path": str(root / "sub" / "a.txt"),
        "relpath": "sub/a.txt",
        "root": str(root),
        "action": "created",
        "kind": "created",
        "size": 5,
        "mtime_ns": found.st_mtime_ns,
        "workflow_name": "a.txt",
    }
    assert event.summary == f"{root}/sub/a.txt created"


async def test_what_was_there_before_is_no_news(root: Path) -> None:
    (root / "old.txt").write_text("x")
    async with watching(root) as bus:
        assert await bus.changes() == []
        (root / "old.txt").write_text("y")
        assert await bus.changes() == [("modified", "old.txt")]


async def test_a_file_that_is_being_written_is_told_of_when_it_is_closed(root: Path) -> None:
    async with watching(root) as bus:
        with opened(root / "a.txt", "w") as file:
            file.write("half")
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            assert await bus.changes() == []
        assert await bus.changes() == [("created", "a.txt")]


async def test_opened_for_writing_and_left_as_it_was_is_no_change(root: Path) -> None:
    (root / "a.txt").write_text("x")
    async with watching(root) as bus:
        with opened(root / "a.txt", "a"):
            pass
        os.chmod(root / "a.txt", 0o600)
        assert await bus.changes() == []


async def test_a_time_that_is_set_is_a_change(root: Path) -> None:
    (root / "a.txt").write_text("x")
    async with watching(root) as bus:
        os.utime(root / "a.txt", (1_000_000_000, 1_000_000_000))
        (event,) = await bus.told()
    assert (event.fields["action"], event.fields["mtime_ns"]) == ("modified", 10**18)


async def test_links_are_files_and_are_not_followed(root: Path, home: Path) -> None:
    outside = home / "outside"
    outside.mkdir()
    (root / "a.txt").write_text("x")
    async with watching(root) as bus:
        (root / "link").symlink_to(outside)
        (root / "hard.txt").hardlink_to(root / "a.txt")
        assert sorted(await bus.changes()) == [("created", "hard.txt"), ("created", "link")]
        (outside / "b.txt").write_text("x")
        assert await bus.changes() == []


async def test_a_file_without_a_name_that_is_given_one(root: Path) -> None:
    async with watching(root) as bus:
        file = os.open(root, os.O_TMPFILE | os.O_WRONLY)
        os.write(file, b"whole")
        # With a folder's descriptor Python calls linkat(2), which can follow the link; link(2) cannot.
        os.link(f"/proc/self/fd/{file}", root / "a.txt", src_dir_fd=file, follow_symlinks=True)
        os.close(file)
        await bus.until(lambda: any(event.fields["relpath"] == "a.txt" for event in bus.events))
        assert await bus.changes() == [("created", "a.txt")]


async def test_pipes_and_folders_are_no_files(root: Path) -> None:
    async with watching(root) as bus:
        os.mkfifo(root / "pipe")
        (root / "folder").mkdir()
        (root / "folder").rmdir()
        assert await bus.changes() == []


# -- saves -------------------------------------------------------------------------------------------------------------


def save_by_a_new_file(path: Path) -> None:
    """Most: a new file beside it, renamed over it."""
    new = path.with_name(f"{path.name}.tmp.4711")
    new.write_text("new content")
    new.rename(path)


def save_as_vim_does(path: Path) -> None:
    """The old one away, a new one, the old one removed; and a probe of the folder before."""
    probe = path.with_name("4913")
    probe.write_text("")
    probe.unlink()
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    path.write_text("new content")
    backup.unlink()


def save_by_sed(path: Path) -> None:
    subprocess.run(["sed", "-i", "s/old/new/", str(path)], check=True)


def save_by_unlink(path: Path) -> None:
    path.unlink()
    path.write_text("new content")


def save_in_place(path: Path) -> None:
    path.write_text("new content")


@pytest.mark.parametrize("save", [save_by_a_new_file, save_as_vim_does, save_by_sed, save_by_unlink, save_in_place])
async def test_a_save_is_one_change(root: Path, save, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held for longer than usual, since this machine may take a while between two steps of an editor."""
    monkeypatch.setattr("waitbus.sources.fs_changes.HOLD", 0.5)
    path = root / "a.txt"
    path.write_text("old content")
    async with watching(root) as bus:
        save(path)
        (event,) = await bus.told()
    assert (event.fields["action"], event.fields["relpath"]) == ("modified", "a.txt")
    assert event.fields["mtime_ns"] == path.stat().st_mtime_ns


async def test_a_backup_that_stays_is_a_file_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waitbus.sources.fs_changes.HOLD", 0.5)
    path = root / "a.txt"
    path.write_text("old")
    async with watching(root) as bus:
        path.rename(root / "a.txt~")
        path.write_text("new content")
        assert sorted(await bus.changes()) == [("created", "a.txt~"), ("modified", "a.txt")]


async def test_a_burst_is_one_change_with_debounce_and_few_without(root: Path) -> None:
    async with watching(root, debounce=0.3) as bus:
        for number in range(50):
            (root / "a.txt").write_text(str(number))
        assert await bus.changes() == [("created", "a.txt")]
    async with watching(root) as bus:
        for number in range(200):
            (root / "a.txt").write_text(str(number) * 3)
            await trio.lowlevel.checkpoint()
        told = await bus.told()
    assert 1 <= len(told) < 100
    assert told[-1].fields["mtime_ns"] == (root / "a.txt").stat().st_mtime_ns


async def test_a_temporary_name_that_stays_is_told_of(root: Path) -> None:
    async with watching(root) as bus:
        (root / "notes.tmp").write_text("x")
        assert await bus.changes() == [("created", "notes.tmp")]


# -- folders -----------------------------------------------------------------------------------------------------------


async def test_what_is_in_a_new_folder_is_found_however_fast_it_came(root: Path) -> None:
    async with watching(root) as bus:
        for number in range(30):
            place = root / f"d{number}" / "e" / "f"
            place.mkdir(parents=True)
            (place / "a.txt").write_text("x")
        assert sorted(await bus.changes()) == sorted(("created", f"d{number}/e/f/a.txt") for number in range(30))


async def test_a_folder_that_is_moved_moves_its_files(root: Path) -> None:
    (root / "a" / "deep").mkdir(parents=True)
    for name in ("a/1.txt", "a/deep/2.txt"):
        (root / name).write_text("x")
    async with watching(root) as bus:
        (root / "a").rename(root / "b")
        moved = [("moved", "b/1.txt", "a/1.txt"), ("moved", "b/deep/2.txt", "a/deep/2.txt")]
        assert sorted(await bus.changes()) == moved
        (root / "b" / "deep" / "2.txt").write_text("changed")
        assert await bus.changes() == [("modified", "b/deep/2.txt")]


async def test_a_folder_that_comes_and_goes_brings_and_takes_its_files(root: Path, home: Path) -> None:
    (home / "away").mkdir()
    (home / "away" / "1.txt").write_text("x")
    async with watching(root) as bus:
        keys = []
        for _ in range(2):
            (home / "away").rename(root / "in")
            (event,) = await bus.told()
            assert (event.fields["action"], event.fields["relpath"]) == ("created", "in/1.txt")
            keys.append(event.delivery_id)
            (root / "in").rename(home / "away")
            (event,) = await bus.told()
            assert (event.fields["action"], event.fields["relpath"]) == ("deleted", "in/1.txt")
            keys.append(event.delivery_id)
        assert len(set(keys)) == 4


async def test_a_tree_that_is_removed_is_told_file_by_file(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "1.txt").write_text("x")
    (root / "a" / "b" / "2.txt").write_text("x")
    async with watching(root) as bus:
        sh("rm", "-r", root / "a")
        assert sorted(await bus.changes()) == [("deleted", "a/1.txt"), ("deleted", "a/b/2.txt")]


async def test_without_recursion_only_the_root_itself_counts(root: Path) -> None:
    (root / "sub").mkdir()
    async with watching(root, recursive=False) as bus:
        (root / "sub" / "a.txt").write_text("x")
        (root / "new").mkdir()
        (root / "new" / "b.txt").write_text("x")
        (root / "c.txt").write_text("x")
        assert await bus.changes() == [("created", "c.txt")]


# -- what is meant -----------------------------------------------------------------------------------------------------


async def test_globs_include_and_exclude(root: Path) -> None:
    async with watching(
        root, include=["*.py", "docs/", "!*_pb2.py", "*.{c,h}", "*.end.tmp"], exclude=["build/"]
    ) as bus:
        for name in ("a.py", "a.txt", "a_pb2.py", "docs/x/y.txt", "build/b.py", "sub/deep/c.py", "z.h"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("x")
        found = sorted(change[1] for change in await bus.changes())
    assert found == ["a.py", "docs/x/y.txt", "sub/deep/c.py", "z.h"]


async def test_a_move_out_of_what_is_meant_is_a_deletion_and_one_into_it_a_creation(root: Path) -> None:
    (root / "a.py").write_text("x")
    async with watching(root, include=["*.py", "*.end.tmp"]) as bus:
        (root / "a.py").rename(root / "a.old")
        assert await bus.changes() == [("deleted", "a.py")]
        (root / "a.old").rename(root / "b.py")
        assert await bus.changes() == [("created", "b.py")]


async def test_what_git_ignores_is_left_out_and_a_change_of_its_rules_is_noticed(root: Path) -> None:
    git(root, "init", "-q")
    (root / ".gitignore").write_text("*.log\n/out/\n")
    (root / "out").mkdir()
    (root / "out" / "old.txt").write_text("x")
    async with watching(root) as bus:
        for name in ("a.log", "out/a.txt", "a.txt"):
            (root / name).write_text("x")
        assert await bus.changes() == [("created", "a.txt")]
        (root / ".gitignore").write_text("*.txt\n")
        for name in ("b.log", "out/b.py", "b.txt"):
            (root / name).write_text("x")
        found = sorted(change[1] for change in await bus.changes())
        assert found == [".gitignore", "b.log", "out/b.py"]
        (root / ".git" / "info" / "exclude").write_text("*.py\n")
        await bus.changes()
        (root / "c.py").write_text("x")
        (root / "c.log").write_text("x")
        assert await bus.changes() == [("created", "c.log")]


async def test_rules_in_folders_around_and_below_the_root_are_noticed(root: Path) -> None:
    git(root, "init", "-q")
    inner = root / "a" / "b"
    (inner / "c").mkdir(parents=True)
    async with watching(inner) as bus:
        (inner / "c" / ".gitignore").write_text("*.x\n")
        (root / ".gitignore").write_text("*.y\n")
        await bus.changes()
        for name in ("c/1.x", "2.x", "c/3.y", "c/4.z"):
            (inner / name).write_text("x")
        assert sorted(change[1] for change in await bus.changes()) == ["2.x", "c/4.z"]


async def test_gits_own_folder_is_never_told_of(root: Path) -> None:
    async with watching(root) as bus:
        git(root, "init", "-q")
        (root / "a.txt").write_text("x")
        git(root, "add", ".")
        git(root, "commit", "-q", "-m", "x")
        assert {change[1] for change in await bus.changes()} == {"a.txt"}
    async with watching(root, gitignore=False) as bus:
        git(root, "commit", "-q", "--allow-empty", "-m", "y")
        assert await bus.changes() == []


async def test_several_roots_one_of_them_in_the_other(root: Path, home: Path) -> None:
    other = (home / "other").resolve()
    other.mkdir()
    (root / "in").mkdir()
    async with watching(root, roots=[str(root), str(other), str(root / "in"), str(root)]) as bus:
        (other / "a.txt").write_text("x")
        (root / "in" / "b.txt").write_text("x")
        await bus.until(lambda: len(bus.events) >= 3)
        keys = {event.fields["path"]: event.delivery_id for event in bus.events}
        assert set(keys) == {str(other / "a.txt"), str(root / "in" / "b.txt")}
        assert len({event.delivery_id for event in bus.events}) == 2


# -- many --------------------------------------------------------------------------------------------------------------


def final(events: list[EventInsert]) -> dict[str, tuple[int, int] | None]:
    """What the events say at last of each path."""
    states: dict[str, tuple[int, int] | None] = {}
    for event in events:
        fields = event.fields
        if event.event_type == "fs_change":
            if "old_path" in fields:
                states[fields["old_path"]] = None
            states[fields["path"]] = None if fields["action"] == "deleted" else (fields["size"], fields["mtime_ns"])
    return states


def on_disk(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for folder, folders, files in os.walk(root):
        if ".git" in folders:
            folders.remove(".git")
        for name in files:
            state = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (state.st_size, state.st_mtime_ns)
    return found


async def test_ten_thousand_files_in_two_hundred_folders_by_one_checkout(roomy: Path) -> None:
    """Every final state is told, and none twice, whether or not the kernel's queue held out."""
    root = roomy
    repository_of(root, 10_000, 200)
    async with watching(root) as bus:
        await trio.to_thread.run_sync(lambda: git(root, "checkout", "-q", "full"))
        await bus.until(lambda: len(bus.events) >= 10_000)
        told = [event for event in await bus.told() if event.event_type == "fs_change"]
        assert final(told) == {path: state for path, state in on_disk(root).items() if ".end.tmp" not in path}
        assert len({event.delivery_id for event in told}) == len(told)
        await trio.to_thread.run_sync(lambda: git(root, "checkout", "-q", "main"))
        await bus.until(lambda: len(bus.events) >= 10_000)
        assert all(state is None for state in final(await bus.told()).values())


async def test_an_overflow_is_told_and_all_that_changed_meanwhile_behind_it(root: Path) -> None:
    """A real one: the source is held up by its log while more happens than the kernel keeps."""
    limit = queue_limit()
    (root / "a.txt").write_text("a")
    (root / "b.txt").write_text("b")
    (root / "gone.txt").write_text("c")
    async with watching(root) as bus:
        bus.may_go_on = trio.Event()
        (root / "first.txt").write_text("x")
        await bus.until(lambda: bus.is_held)
        await trio.to_thread.run_sync(lambda: _stir(root, limit + 100))
        (root / "gone.txt").unlink()
        (root / "new").mkdir()
        (root / "new" / "late.txt").write_text("late")
        (root / "a.txt").write_text("late too")
        bus.may_go_on.set()
        told = await bus.told()
    overflow = next(index for index, event in enumerate(told) if event.event_type == "fs_overflow")
    assert (told[overflow].fields["action"], told[overflow].fields["path"]) == ("overflow", str(root))
    assert str(root / "new" / "late.txt") in final(told[overflow:])
    found = final(told)
    assert found[str(root / "gone.txt")] is None
    for name in ("new/late.txt", "a.txt"):
        state = (root / name).stat()
        assert found[str(root / name)] == (state.st_size, state.st_mtime_ns)


def _stir(root: Path, count: int) -> None:
    for number in range(count):
        os.chmod(root / ("a.txt" if number % 2 else "b.txt"), 0o600)  # two in turn: the kernel merges what repeats


async def test_it_is_cancelled_at_once_idle_and_in_a_storm(roomy: Path) -> None:
    root = roomy
    async with watching(root) as bus:
        await bus.changes()
        began = time.monotonic()
    assert time.monotonic() - began < 0.2
    repository_of(root, 5000, 100)
    async with watching(root) as bus:
        storm = in_background("git", "-C", str(root), "checkout", "-q", "full")
        await bus.until(lambda: len(bus.events) > 50)
        began = time.monotonic()
    took = time.monotonic() - began
    storm.wait(30)
    assert took < 0.2


async def test_idle_there_is_nothing_that_it_waits_for_but_the_kernel(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[fs_watch.Turn] = []
    turn = fs_watch.RootWatch.turn

    def counted(self: fs_watch.RootWatch) -> fs_watch.Turn:
        turns.append(turn(self))
        return turns[-1]

    monkeypatch.setattr(fs_watch.RootWatch, "turn", counted)
    async with watching(root) as bus:
        (root / "a.txt").write_text("x")
        await bus.changes()
        await bus.until(lambda: True)
        with trio.move_on_after(5):
            while turns[-1].due != float("inf"):
                await trio.lowlevel.checkpoint()
        assert (turns[-1].due, turns[-1].more) == (float("inf"), False)


# -- the root ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "moved", "moved with the folder around it"])
async def test_a_root_that_vanishes_is_told_and_comes_back(home: Path, how: str) -> None:
    around = real(home) / "around"
    root = around / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text("x")
    async with watching(root) as bus:
        if how == "removed":
            sh("rm", "-r", root)
        elif how == "moved":
            root.rename(home / "elsewhere")
        else:
            around.rename(home / "elsewhere")
        await bus.until(lambda: any(said.startswith("down") for said in bus.health))
        told = [(event.event_type, event.fields["action"], event.fields["path"]) for event in bus.events]
        assert sorted(told) == [
            ("fs_change", "deleted", str(root / "sub" / "a.txt")),
            ("fs_root", "vanished", str(root)),
        ]
        bus.events.clear()
        root.mkdir(parents=True)
        (root / "b.txt").write_text("y")
        await bus.until(lambda: bus.health[-1] == "up" and any(event.event_type == "fs_root" for event in bus.events))
        assert sorted(await bus.changes()) == [("created", "b.txt"), ("returned", str(root))]
        (root / "c.txt").write_text("y")
        assert await bus.changes() == [("created", "c.txt")]


async def test_a_root_that_is_not_there_yet_is_waited_for(home: Path) -> None:
    root = real(home) / "not" / "yet"
    async with watching(root) as bus:
        assert bus.health == [f"down: {root} is not there; it is watched for"]
        root.mkdir(parents=True)
        (root / "a.txt").write_text("x")
        await bus.until(lambda: any(event.event_type == "fs_change" for event in bus.events))
        assert bus.health[-1] == "up"


async def test_one_root_of_two_that_vanishes_takes_the_other_with_it_in_no_way(root: Path, home: Path) -> None:
    other = (home / "other").resolve()
    other.mkdir()
    async with watching(root, roots=[str(root), str(other)]) as bus:
        other.rmdir()
        await bus.until(lambda: any(event.event_type == "fs_root" for event in bus.events))
        (root / "a.txt").write_text("x")
        assert ("created", "a.txt") in await bus.changes()
        assert not any(said.startswith("down") for said in bus.health)


async def test_a_root_that_may_not_be_read_is_said(root: Path) -> None:
    os.chmod(root, 0)
    os.chmod(root.parent, 0o711)
    if os.getuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PathError, match="may not be read"):
            await FsSource(FsSettings(roots=(str(root),))).run(Bus(root))
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        os.chmod(root, 0o700)


# -- several watchers --------------------------------------------------------------------------------------------------


async def test_two_waits_and_a_daemon_on_one_folder_make_one_row_of_one_change(root: Path) -> None:
    """F16: whatever each of them calls it. The second knows no name but those that end in .py, so not what was before."""
    (root / "b.tmpx").write_text("x")
    all_of_it, some = FsSettings(roots=(str(root),)), FsSettings(roots=(str(root),), include=("*.py",))
    seen: list[set[str]] = [set(), set(), set()]

    def told_by(number: int, settings: FsSettings) -> Supervised:
        def note(event: EventInsert) -> bool:
            seen[number].add(event.fields["relpath"] + (" gone" if event.fields["action"] == "deleted" else ""))
            return True

        return Supervised(f"fs{number}", FsSource(settings), wants=note, tells=False)

    async def until_all_saw(name: str) -> None:
        with trio.fail_after(15):
            while not all(name in names for names in seen):
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number, settings in enumerate((all_of_it, some, all_of_it)):
            await nursery.start(told_by(number, settings).run)
        (root / "a.py").write_text("one")
        (root / "b.tmpx").rename(root / "b.py")
        await until_all_saw("a.py")
        await until_all_saw("b.py")
        (root / "a.py").unlink()
        await until_all_saw("a.py gone")
        for name in ("y.py", "z.py"):  # whoever saw the second one has written all that came before the first
            (root / name).write_text(name)
            await until_all_saw(name)
        nursery.cancel_scope.cancel()
    with Log(log_path()) as log:
        rows = [row.delivery_id.split(":")[1:3] for row in log.page(0).rows]
    assert rows.count([str(root / "a.py"), "is"]) == 1
    assert rows.count([str(root / "b.py"), "is"]) == 1
    assert rows.count([str(root / "a.py"), "deleted"]) == 1
    assert len({tuple(row) for row in rows}) == len(rows)


async def test_the_key_of_a_change_is_the_same_for_who_knew_the_file_and_who_did_not(root: Path) -> None:
    async with watching(root) as first:
        (root / "a.txt").write_text("one")
        await first.changes()
        async with watching(root, include=["*.txt", "*.end.tmp"]) as second:
            (root / "a.txt").write_text("two!")
            (root / "b.bin").write_text("x")
            (event,), told = await second.told(), await first.told()
            assert event.delivery_id in {each.delivery_id for each in told}
            (root / "b.bin").rename(root / "b.txt")
            (created,), (moved,) = await second.told(), await first.told()
            assert (created.fields["action"], moved.fields["action"]) == ("created", "moved")
            assert created.delivery_id == moved.delivery_id


async def test_a_file_that_comes_back_as_it_was_is_news(root: Path) -> None:
    """The same content, time and, as often, inode: a key of those alone would be that of the first time."""
    async with watching(root) as bus:
        keys = set()
        for _ in range(3):
            (root / "a.txt").write_text("x")
            os.utime(root / "a.txt", (1_000_000_000, 1_000_000_000))
            keys |= {event.delivery_id for event in await bus.told() if event.fields["mtime_ns"] == 10**18}
            (root / "a.txt").unlink()
            keys |= {event.delivery_id for event in await bus.told()}
        assert len(keys) == 6


# -- hostile names -----------------------------------------------------------------------------------------------------

NAMES = [
    b"new\nline",
    b"\xff\xfe",
    b"\\udcff\\udcfe",
    b"\x1b[31mred\x1b[0m",
    "\u202egnp.exe".encode(),
    b" ",
    b"-rf",
    b"a" * 255,
    b"%s{}$(true)`true`",
    b"\t\r\x7f",
]


async def test_hostile_names_are_told_and_told_apart(root: Path) -> None:
    """F22."""
    async with watching(root) as bus:
        for name in NAMES:
            with opened(os.fsencode(root) + b"/" + name, "w"):
                pass
        told = await bus.told()
    assert len({event.delivery_id for event in told}) == len(NAMES)
    assert all(event.delivery_id.isprintable() and len(event.delivery_id) <= 512 for event in told)
    assert {event.fields["action"] for event in told} == {"created"}


async def test_a_very_long_path_is_one_key(root: Path) -> None:
    place = root
    for _ in range(12):
        place = place / ("d" * 200)
    place.mkdir(parents=True)
    async with watching(root) as bus:
        (place / "a.txt").write_text("x")
        (place / "b.txt").write_text("x")
        told = await bus.told()
    assert len({event.delivery_id for event in told}) == 2


# -- settings and the declaration --------------------------------------------------------------------------------------


def test_the_declaration_is_what_is_written(root: Path) -> None:
    spec = source("fs")
    event = EventInsert(source="fs", **spec.example)
    assert set(event.fields) <= set(spec.fields)
    assert spec.embeddable
    assert spec.implementation == f"{FsSource.__module__}:{FsSource.__name__}"
    assert spec.settings == f"{FsSettings.__module__}:{FsSettings.__name__}"


def test_settings_come_from_a_table(root: Path) -> None:
    table = {"enabled": True, "roots": [str(root), "~"], "include": ["*.py"], "recursive": False}
    settings = converter().structure(table, FsSettings)
    assert settings == FsSettings(enabled=True, roots=(str(root), "~"), include=("*.py",), recursive=False)
    assert settings.places() == [str(root), os.path.realpath(os.environ["HOME"])]


def test_a_wait_without_a_root_means_the_current_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert FsSettings.for_wait(globs=["*.py"]) == FsSettings(roots=(str(root),), include=("*.py",))
    assert FsSettings.for_wait(["src"], debounce=1.0).roots == (str(root / "src"),)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"roots": "/tmp"}, "'/tmp' is not a list"),
        ({"roots": [""]}, "'' is not a text"),
        ({"roots": [1]}, "1 is not a text"),
        ({"include": ["/"]}, "'/' is no glob"),
        ({"exclude": [""]}, "'' is not a text"),
        ({"include": ["{a,b,c,d,e}" * 6]}, "more than 256 globs"),
        ({"debounce": -1.0}, "-1 is not a time to wait"),
        ({"roots": ["x"] * 65}, "65 roots"),
    ],
)
def test_settings_that_mean_nothing_are_refused(table: dict, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        FsSettings(**table)
    assert caught.value.message == said
    assert caught.value.hint


async def test_without_roots_it_says_so(home: Path) -> None:
    with pytest.raises(ConfigError, match="has no roots"):
        await FsSource(FsSettings()).run(Bus(home))


async def test_a_queue_that_the_kernel_refuses_is_said_in_a_sentence(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the supervisor, with several roots too."""

    def refuse(self: object) -> None:
        raise PathError("no", hint="x")

    monkeypatch.setattr(fs_watch.RootWatch, "turn", refuse)
    source = FsSource(FsSettings(roots=(str(root), str(root.parent))))
    with pytest.raises(WaitbusError, match="no"):
        await source.run(Bus(root))


async def test_where_nothing_tells_of_changes_everything_is_looked_at_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs_watch, "EVERY", 0.05)
    monkeypatch.setattr(fs_watch, "HAS_INOTIFY", False)
    (root / "sub").mkdir()
    (root / "sub" / "a.txt").write_text("x")
    async with watching(root) as bus:
        (root / "sub" / "b.txt").write_text("x")
        (root / "sub" / "a.txt").write_text("more")
        assert sorted(await bus.changes()) == [("created", "sub/b.txt"), ("modified", "sub/a.txt")]
        (root / "sub" / "b.txt").unlink()
        await bus.until(lambda: any(event.fields["action"] == "deleted" for event in bus.events))
        assert attrs.asdict(FsSettings())["enabled"] is False
