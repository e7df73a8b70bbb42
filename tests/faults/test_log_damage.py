"""A4, F5: a damaged log is set aside and a new one begun; a whole one never is; and everybody goes over to the new one."""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import waitbus
from tests.logs import event, finish, is_sound, look, names, python, rows
from waitbus.errors import LogCorrupt, LogUnavailable, LogVersionError
from waitbus.paths import log_path
from waitbus.producer import emit, emit_batch
from waitbus.store import Log, files, shared


def filled(count: int = 3000) -> Path:
    """A log that lies in its file, its WAL empty, with nobody attached."""
    with Log() as log:
        log.append_many(event(f"old {number}", fields={"text": "x" * 100}) for number in range(count))
    with look(log_path()) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return log_path()


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def asides() -> list[str]:
    """The logs that were set aside, without their WALs."""
    return [name for name in all_aside() if not name.endswith(("-wal", "-shm"))]


def all_aside() -> list[str]:
    return sorted(file.name for file in log_path().parent.iterdir() if ".corrupt-" in file.name)


@pytest.mark.parametrize(
    ("at", "data"),
    [(0, b"garbage " * 20), (0, b"\0" * 4096), (16, b"\xff\xff"), (100, b"\xff" * 60)],
    ids=["no header", "zeroes", "page size", "schema page"],
)
def test_a_log_with_a_damaged_beginning_is_set_aside(at: int, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(50)
    overwrite(path, at, data)
    content = path.read_bytes()
    with Log() as log:
        placed = log.append(event("new"))
    assert placed.seq == 1
    assert names(path) == ["new"]
    (aside,) = asides()
    assert (path.parent / aside).read_bytes() == content, "nothing that was there is thrown away"
    assert aside.startswith("events.db.corrupt-20"), "the time is in its name"
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        record.getMessage()
        == f"the log {path} was damaged; it was moved to {path.parent / aside} and a new one is begun"
    )


def test_a_log_with_a_damaged_middle_is_set_aside_by_whoever_meets_it() -> None:
    path = filled()
    size = path.stat().st_size
    noise = random.Random(1)
    for at in range(8 * 2048, size - 2048, 2048):
        overwrite(path, at, noise.randbytes(200))
    with Log() as log:
        log.append_many([event("new")])
        rows(log)
        assert log.append(event("newer")).inserted
    assert len(asides()) == 1
    assert names(path)[-1] == "newer"
    assert is_sound(path)


def test_a_log_that_was_cut_off_is_set_aside() -> None:
    path = filled()
    os.truncate(path, path.stat().st_size // 2)
    with Log() as log:
        rows(log)
        assert log.append(event("new")).seq == 1
    assert asides()


def test_a_text_file_is_no_log() -> None:
    log_path().parent.mkdir()
    log_path().write_text("dear diary\n" * 1000)
    with Log() as log:
        assert log.append(event("new")).seq == 1
    assert len(asides()) == 1


def a_database(path: Path) -> bytes:
    with look(path) as db:
        db.executescript("CREATE TABLE t(x); INSERT INTO t VALUES (randomblob(9000));")
    return path.read_bytes()


FOREIGN = {
    "a text": b"dear diary\n" * 1000,
    "a short one": b"x",
    "SQLite's header and nothing behind it": b"SQLite format 3\0",
    "SQLite's header and noise": b"SQLite format 3\0" + random.Random(2).randbytes(8000),
    "a database of others": None,
    "a damaged database of others": None,
}
EMITS: dict[str, Callable[[Path], object]] = {
    "emit": lambda path: emit(event("a"), db_path=path),
    "emit_batch": lambda path: emit_batch([event("a"), event("b")], db_path=str(path)),
    "request": lambda path: waitbus.request("bob", "?", sender="al", timeout=0.01, db_path=path),
}


@pytest.mark.parametrize("how", EMITS)
@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_that_never_was_a_log_is_refused_and_left_as_it_is(home: Path, what: str, how: str) -> None:
    """What a caller names by mistake is not ours to move: no byte of it changes, and nothing is put beside it."""
    path = home / "notes"
    content = FOREIGN[what] or a_database(path)
    if "damaged" in what:
        content = content[:100] + b"\xff" * 400 + content[500:]
    path.write_bytes(content)
    before = sorted(os.listdir(home))
    for _ in range(2):
        with pytest.raises(LogCorrupt) as caught:
            EMITS[how](path)
        assert str(path) in caught.value.message
        assert caught.value.hint
    assert path.read_bytes() == content
    assert sorted(os.listdir(home)) == before


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_refused(home: Path, kind: str) -> None:
    path = home / "odd"
    with socket.socket(socket.AF_UNIX) as peer:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            peer.bind(os.fspath(path))
        else:
            path.symlink_to(os.devnull)
        before = sorted(os.listdir(home))
        with pytest.raises(LogCorrupt, match=f"{path} is not a log"):
            emit(event("a"), db_path=path)
        assert sorted(os.listdir(home)) == before


def test_a_log_of_ours_is_set_aside_wherever_it_stands(home: Path) -> None:
    """One that was written to before is known by its lock file, however it looks now."""
    path = home / "other.db"
    emit(event("old"), db_path=path)
    shared(path).close()
    overwrite(path, 0, b"garbage " * 20)
    assert emit(event("new"), db_path=path).event.seq == 1
    assert names(path) == ["new"]
    assert len([name for name in os.listdir(home) if ".corrupt-" in name and not name.endswith(("-wal", "-shm"))]) == 1


def test_a_copy_of_a_damaged_log_is_refused(home: Path) -> None:
    """Nobody has used it as a log: it may be the backup that somebody wants to look at."""
    copy = home / "copy.db"
    copy.write_bytes(filled(50).read_bytes())
    overwrite(copy, 100, b"\xff" * 60)
    content = copy.read_bytes()
    with pytest.raises(LogCorrupt, match=f"the log {copy} is damaged"):
        emit(event("new"), db_path=copy)
    assert copy.read_bytes() == content


def test_a_folder_in_its_place_is_left_alone() -> None:
    log_path().mkdir(parents=True)
    with Log() as log, pytest.raises(LogUnavailable, match=f"the log {log_path()} cannot be opened"):
        log.append(event("new"))
    assert asides() == []


def test_a_schema_of_a_newer_sqlite_is_not_taken_for_damage() -> None:
    """A word that this library does not know is `malformed database schema`, SQLITE_CORRUPT, the same code as real damage:
    two Pythons on one machine would set a good log aside in turn."""
    path = filled(50)
    with look(path) as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute("UPDATE sqlite_master SET sql = sql || ' FROBNICATED' WHERE name = 'events'")
    content = path.read_bytes()
    for _ in range(2):
        with Log() as log, pytest.raises(LogVersionError) as caught:
            log.append(event("new"))
        assert f"the log {path} has tables that SQLite" in caught.value.message
        assert "FROBNICATED" in caught.value.message
        assert "newer SQLite" in caught.value.hint
    assert asides() == []
    assert path.read_bytes() == content


LONG_LIVED = """
import sys
from waitbus.events import EventInsert
from waitbus.store import Log
log = Log()
for line in sys.stdin:
    placed = log.append(EventInsert(source="agent", event_type="x", delivery_id=line.strip()))
    print(placed.inserted, placed.seq, log.page(0).rows[0].delivery_id, flush=True)
"""


def ask(child: Any, name: str) -> str:
    child.stdin.write(name + "\n")
    child.stdin.flush()
    return str(child.stdout.readline().strip())


def test_a_producer_with_an_open_connection_goes_over_to_the_new_log() -> None:
    """After the rename its connection would go on writing into the moved file without an error."""
    path = filled(50)
    child = python(LONG_LIVED)
    assert ask(child, "early") == "True 51 old 0"
    wal = Path(f"{path}-wal").stat().st_ino
    overwrite(path, 0, b"garbage " * 20)
    with Log() as log:
        assert log.append(event("finder")).seq == 1
    assert ask(child, "late") == "True 2 finder"
    finish([child])
    assert names(path) == ["finder", "late"]
    assert {name.rpartition("-")[2] for name in all_aside()} >= {"wal", "shm"}, "its WAL went with it"
    (moved,) = [file for file in path.parent.iterdir() if file.stat().st_ino == wal]
    assert moved.name == f"{asides()[0]}-wal"


def test_many_who_meet_the_damage_at_once_set_it_aside_once() -> None:
    """Nobody takes the new log for the old one: 8 events, one log, one file set aside."""
    path = filled(50)
    overwrite(path, 0, b"garbage " * 20)
    children = [python(LONG_LIVED) for _ in range(8)]
    for number, child in enumerate(children):
        assert child.stdin is not None
        child.stdin.write(f"{number}\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("True ")
    finish(children)
    assert sorted(names(path)) == sorted(map(str, range(8)))
    assert len(asides()) == 1
    assert is_sound(path)


def test_a_log_that_is_replaced_while_it_is_opened_gets_the_event_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the file and its opening: the event is in the new one, and is no duplicate of itself."""
    path = filled(3)
    part = files.part_from_foreign_wal
    replaced: list[Path] = []

    def replace(log: Path) -> None:
        if not replaced:
            replaced.append(log.rename(log.with_name("moved.db")))
            files.create(log)
        part(log)

    monkeypatch.setattr(files, "part_from_foreign_wal", replace)
    with Log() as log:
        assert log.append(event("x")).inserted
    assert names(path) == ["x"]


def test_damage_that_somebody_else_sets_aside_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw it; the second finds a whole log when its turn comes."""
    path = filled(3)
    overwrite(path, 0, b"garbage " * 20)
    ours = files.set_aside_if_damaged

    def too_late(log: Path) -> bool:
        assert ours(log)
        return ours(log)

    monkeypatch.setattr(files, "set_aside_if_damaged", too_late)
    with Log() as log:
        assert log.append(event("x")).inserted
    assert names(path) == ["x"]


def test_damage_in_the_index_alone_does_not_lose_what_is_committed_later() -> None:
    """Whatever is done with the old file: what append answers for is in the log that stands there."""
    path = filled(500)
    with look(path) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name LIKE 'sqlite_autoindex_events%'").fetchall()[
            0
        ][0]
    overwrite(path, (root - 1) * 2048, b"\xff" * 2048)
    with Log() as log:
        log.append(event("new"))
        assert log.by_delivery_id("new") is not None
    assert "new" in names(path)
