"""A16: the first start, by many at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.logs import event, finish, look, names, python
from tests.support import Result
from waitbus.errors import LogBusy, LogUnavailable
from waitbus.paths import log_path
from waitbus.store import Log, files

RACE = """
import os, sys
from pathlib import Path
from waitbus.events import EventInsert
from waitbus.store import Log
home, me = sys.argv[1:]
for line in sys.stdin:                  # one round each time somebody says go
    path = Path(home) / line.strip() / "events.db"
    with Log(path) as log:
        log.append(EventInsert(source="agent", event_type="x", delivery_id=me))
    print(log.tag, flush=True)
"""


def test_sixteen_processes_may_create_the_log_at_once(home: Path) -> None:
    """Each finds a whole log, the same one, and none is told that it is locked; round after round."""
    children = [python(RACE, home, number) for number in range(16)]
    rounds = 25
    for number in range(rounds):
        (home / f"round{number}").mkdir(mode=0o700)
        for child in children:
            assert child.stdin is not None
            child.stdin.write(f"round{number}\n")
            child.stdin.flush()
        tags = {child.stdout.readline() for child in children if child.stdout}
        assert len(tags) == 1, [child.stderr.read() for child in children if child.stderr and child.poll() is not None]
        path = home / f"round{number}" / "events.db"
        assert sorted(names(path)) == sorted(map(str, range(16)))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with look(path) as db:
            assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    finish(children)


def test_the_files_are_for_the_owner_alone() -> None:
    with Log() as log:
        log.append(event())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in log.path.parent.iterdir() if file.is_file()}
    assert modes == {"events.db": 0o600, "events.db-wal": 0o600, "events.db-shm": 0o600, "events.lock": 0o600}


@pytest.mark.parametrize("left", ["events.db.new", "events.db.new-wal", "events.db-wal", "events.db-shm"])
def test_what_a_creator_that_was_killed_left_is_in_nobodys_way(left: str) -> None:
    log_path().parent.mkdir()
    (log_path().parent / left).write_bytes(b"garbage" * 1000)
    with Log() as log:
        assert log.append(event("a")).seq == 1
    assert names(log_path()) == ["a"]


def test_an_empty_file_is_no_log_yet() -> None:
    """As `touch` makes it, or a disk that was full, or power that failed between the rename and the data."""
    log_path().parent.mkdir()
    log_path().touch()
    with Log() as log:
        assert log.append(event("a")).seq == 1


def test_somebody_who_holds_the_creation_lock_is_waited_for_with_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stopped at the wrong moment does not hang everybody for ever."""
    log_path().parent.mkdir()
    monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.2)
    holder = python(
        "import fcntl, sys\nfile = open(sys.argv[1], 'w')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\nsys.stdin.read()",
        log_path().with_name("events.lock"),
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with Log() as log, pytest.raises(LogBusy) as caught:
        log.append(event())
    assert caught.value.message == f"another process holds {log_path().with_name('events.lock')} for more than 0.2 s"
    finish([holder])
    with Log() as log:
        assert log.append(event()).seq == 1


# -- a link in the log's place -----------------------------------------------------------------------------------------

LOST = ["its folder is there", "its folder is missing", "an empty file", "a link to itself"]


@pytest.fixture(params=LOST)
def lost(request: pytest.FixtureRequest, home: Path) -> Path:
    """The usual log's path, a link that leads to no log."""
    path, disk = log_path(), home / "disk"
    path.parent.mkdir(mode=0o700)
    if request.param != "its folder is missing":
        disk.mkdir()
    if request.param == "an empty file":
        (disk / "events.db").touch()
    path.symlink_to(path if request.param == "a link to itself" else disk / "events.db")
    return path


def test_a_link_that_leads_to_no_log_is_not_replaced(lost: Path, home: Path, call: Callable[..., Result]) -> None:
    """Nor is a log made where it leads, which a disk that is mounted later would hide. Every command says so."""
    leads, before = os.readlink(lost), sorted(home.rglob("*"))
    for argv in ("emit x", "cursor", "replay", "init", "init --dry-run", "wait x --timeout 1ms", "db info", "serve"):
        done = call(*argv.split())
        assert (done.code, done.out) == (74, "") or argv.startswith("init"), (argv, done)
        assert done.err.startswith("error: "), (argv, done)
        if "Too many" not in done.err:
            assert f"{lost} is a link to {leads}, and no log is there" in done.err, (argv, done)
            assert "hint: mount the disk that it leads to, or remove the link" in done.err, (argv, done)
        assert os.readlink(lost) == leads
    made = {"s/bells", "s/cursors", "r", "c", "s/events.lock", "s/daemon.lock", "r/daemon.lock"}
    assert {str(one.relative_to(home)) for one in home.rglob("*")} - {
        str(one.relative_to(home)) for one in before
    } <= made
    assert "not there yet" not in call("status").out


def test_a_log_on_a_disk_that_goes_away_and_comes_back_goes_on(home: Path) -> None:
    path, disk = log_path(), home / "disk"
    with Log() as log:
        log.append(event("a"))
    disk.mkdir()
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(f"events.db{suffix}")
        if file.exists():
            file.rename(disk / file.name)
    path.symlink_to(disk / "events.db")
    with Log() as log:
        assert log.append(event("b")).seq == 2
        disk.rename(home / "away")
        with pytest.raises(LogUnavailable, match="is a link to"):
            log.append(event("c"))
        (home / "away").rename(disk)
        assert log.append(event("c")).seq == 3
    assert path.is_symlink()
    assert names(path) == ["a", "b", "c"]
