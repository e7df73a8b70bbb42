"""F4: a disk that is full, a folder that may not be written, a folder that is not there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import support
from tests.logs import event, finish, is_sound, names, python, rows
from waitbus.errors import LogFull, LogReadOnly, LogUnavailable
from waitbus.paths import log_path
from waitbus.producer import emit
from waitbus.store import Log
from waitbus.store.shared import shared

Cli = Callable[..., support.Result]
CANNOT = "cannot mount a tmpfs here"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become another user")


@pytest.fixture
def small_disk(home: Path) -> Iterator[Callable[..., Path]]:
    """`small_disk(64)` is a disk of 64 KiB where the state folder stands; `small_disk(options="remount,ro")` changes it."""
    place = home / "s"

    def mount(kib: int = 0, options: str = "") -> Path:
        place.mkdir(exist_ok=True, mode=0o700)
        words = options or f"size={kib}k,mode=0700"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"{CANNOT}: {done.stderr.decode().strip()}")
        return place

    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip(f"{CANNOT}: not root")
    yield mount
    shared().close()
    subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def fill(place: Path, leave: int = 0) -> Path:
    """Use up all space but `leave` bytes."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler


def test_a_full_disk_loses_nothing_and_heals_by_itself(small_disk: Callable[..., Path]) -> None:
    place = small_disk(2048)
    written = [f"{number}" for number in range(200) if emit(event(f"{number}")).inserted]
    filler = fill(place)
    failed: list[LogFull] = []
    for number in range(400):
        name = f"full {number}"
        try:
            emit(event(name, payload_json='"' + "x" * 2000 + '"'))
            written.append(name)
        except LogFull as error:
            failed.append(error)
    assert len(failed) > 300
    assert {error.exit_code for error in failed} == {74}
    assert {error.message.partition(" (")[0] for error in failed} == {f"no space is left for the log {log_path()}"}
    assert {error.hint.partition(";")[0] for error in failed} == {"make space"}
    assert [row.delivery_id for row in rows(shared())] == written, "readers go on"
    filler.unlink()
    written.append("healed")
    assert emit(event("healed")).inserted, "without being told"
    assert names(log_path()) == written
    assert is_sound(log_path())
    assert not [*place.glob("*.corrupt-*")]


@pytest.mark.parametrize("kib", [0, 4, 12, 20, 28, 36, 44, 60])
def test_a_log_that_cannot_be_made_for_want_of_space_says_so(small_disk: Callable[..., Path], kib: int) -> None:
    """At whichever step of making and opening it the space ends: one error, and the next try begins anew."""
    place = small_disk(1024)
    filler = fill(place, leave=kib * 1024)
    with Log() as log:
        written = []
        with contextlib.suppress(LogFull):
            log.append(event("a"))
            written = ["a"]
    filler.unlink()
    with Log() as log:
        log.append(event("b"))
        assert [row.delivery_id for row in rows(log)] == [*written, "b"]
    assert is_sound(log_path())


def test_a_disk_that_becomes_read_only_is_said_to_be(small_disk: Callable[..., Path]) -> None:
    """As a file system does after an error."""
    place = small_disk(2048)
    emit(event("before"))
    with Log() as unopened:
        shared().close()
        small_disk(options="remount,ro")
        with pytest.raises(LogReadOnly) as caught:
            unopened.append(event("during"))
    assert str(log_path()) in caught.value.message
    assert caught.value.hint == "set WAITBUS_STATE_DIR to a directory that can be written"
    small_disk(options=f"remount,rw,size={4096}k")
    assert emit(event("after")).inserted
    assert names(place / "events.db") == ["before", "after"]


def test_no_log_can_be_made_on_a_read_only_disk(small_disk: Callable[..., Path]) -> None:
    small_disk(1024)
    small_disk(options="remount,ro")
    with Log() as log, pytest.raises(LogReadOnly, match="Read-only file system"):
        log.append(event())


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_whoever_only_tells_says_it_once_and_goes_on(small_disk: Callable[..., Path], cli: Cli, how: str) -> None:
    """`run`, which has a folder to make besides, and pytest's plugin."""
    place = small_disk(512)
    assert cli("emit", "before").code == 0  # a command leaves the log's own files there, so that it can still be opened
    fill(place) if how == "full" else small_disk(options="remount,ro")
    told = cli("run", "--", "sh", "-c", "echo out; exit 7")
    assert (told.code, told.out, told.err.count("\n")) == (7, "out\n", 1)
    assert told.err.startswith("warning: the start and end of sh are not in the log: ")
    (place.parent / "test_a.py").write_text("def test_x(): pass\n")
    tests = support.run(
        [support.PYTHON, "-m", "pytest", "--waitbus", "-q", "-c", "/dev/null", "--rootdir", "."], cwd=place.parent
    )
    assert (tests.code, (tests.out + tests.err).count("waitbus:")) == (0, 1)
    assert "1 passed" in tests.out


AS_SOMEBODY = """
import os, sys
from waitbus.bell import Bell, ring
from waitbus.errors import LogError
from waitbus.events import EventInsert
from waitbus.store import Log
from waitbus.store.query import query        # whatever is imported lazily: the libraries may be root's alone
import difflib, logging, tomllib, pwd
from pathlib import Path
event = EventInsert(source="agent", event_type="x", delivery_id="theirs")
os.setgid(54321); os.setuid(54321)
log = Log(Path(sys.argv[1]))
try:
    print("inserted", log.append(event).inserted)
except LogError as error:
    print(f"{type(error).__name__}|{error.message}|{error.hint}|{error.exit_code}")
log.close()
"""


def as_somebody(path: Path) -> list[str]:
    (said,) = finish([python(AS_SOMEBODY, path)])
    return said.strip().split("|")


@as_root
@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o644), (0o755, 0o600), (0o700, 0o600)])
def test_a_log_that_may_not_be_written_is_a_typed_error(home: Path, folder: int, file: int) -> None:
    home.chmod(0o755)
    with Log() as log:
        log.append(event("ours"))
    log_path().parent.chmod(folder)
    for one in log_path().parent.iterdir():
        one.chmod(file)
    kind, message, hint, code = as_somebody(log_path())
    assert kind in {LogReadOnly.__name__, LogUnavailable.__name__}
    assert (kind, folder) != (LogUnavailable.__name__, 0o755), "it is there, and may not be written"
    assert str(log_path()) in message
    assert "WAITBUS_STATE_DIR" in hint
    assert code == "74"
    assert names(log_path()) == ["ours"]


@as_root
def test_a_state_folder_that_cannot_be_made_is_a_typed_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.chmod(0o755)
    monkeypatch.setenv("WAITBUS_STATE_DIR", str(home / "new"))
    kind, message, hint, code = as_somebody(log_path())
    assert (kind, code) == (LogReadOnly.__name__, "74")
    assert message == f"cannot make {home / 'new'}: Permission denied"
    assert "WAITBUS_STATE_DIR" in hint


def test_a_state_folder_that_is_not_there_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_STATE_DIR", str(home / "deep" / "er"))
    assert emit(event("a")).inserted
    assert names(home / "deep/er/events.db") == ["a"]


@pytest.mark.parametrize("missing", ["typo", "typo/deeper"])
def test_the_folder_of_a_log_that_the_caller_named_is_not_made(home: Path, missing: str) -> None:
    """As with any file: a folder that is not there is a slip of the hand, and the event would be found by nobody."""
    with pytest.raises(LogUnavailable) as caught:
        emit(event("a"), db_path=home / missing / "other.db")
    assert caught.value.message == f"there is no folder {home / missing} for the log other.db"
    assert caught.value.hint == "correct the path, or make the folder"
    assert not (home / "typo").exists()
    (home / missing).mkdir(parents=True, mode=0o700)
    assert emit(event("a"), db_path=home / missing / "other.db").inserted


def test_the_usual_log_may_be_named_before_it_is_there() -> None:
    assert emit(event("a"), db_path=log_path()).inserted


def test_a_state_folder_that_goes_away_is_made_again(home: Path) -> None:
    """`rm -rf` under a long-lived producer."""
    import shutil

    emit(event("a"))
    shutil.rmtree(home / "s")
    assert emit(event("b")).event.seq == 1
    assert names(log_path()) == ["b"]


def test_a_file_where_the_folder_should_be_is_a_typed_error(home: Path) -> None:
    (home / "s").write_text("")
    with pytest.raises(LogUnavailable) as caught:
        emit(event())
    assert str(home / "s") in caught.value.message


def test_no_file_handle_left_is_said(home: Path) -> None:
    import resource

    emit(event("a"))
    shared().close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        with pytest.raises(LogUnavailable) as caught:
            emit(event("b"))
    finally:
        for handle in taken:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(log_path()) in caught.value.message
    assert emit(event("c")).inserted
    assert names(log_path()) == ["a", "c"]


# -- other files that commands write -----------------------------------------------------------------------------------


def test_a_file_that_a_full_disk_does_not_take_is_not_there_by_half(small_disk: Callable[..., Path], cli: Cli) -> None:
    place = small_disk(64)
    cli("config", "schema")  # whatever the state folder has to have, it has
    fill(place, leave=0)
    before = sorted(place.iterdir())
    done = cli("config", "schema", "--out", str(place / "new.json"))
    assert done == (
        74,
        "",
        f"error: {place}/new.json cannot be written: No space left on device\nhint: leave --out away to print it\n",
    )
    assert sorted(place.iterdir()) == before


def test_a_file_that_was_there_outlives_a_full_disk(small_disk: Callable[..., Path], cli: Cli) -> None:
    place = small_disk(64)
    (place / "old.json").write_text("mine")
    cli("config", "schema")
    fill(place)
    before = sorted(place.iterdir())
    done = cli("config", "schema", "--out", str(place / "old.json"))
    assert done.code == 74
    assert (place / "old.json").read_text() == "mine"
    assert sorted(place.iterdir()) == before


def test_a_configuration_that_a_full_disk_does_not_take_is_not_there(
    small_disk: Callable[..., Path], cli: Cli, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    place = small_disk(64)
    monkeypatch.setenv("WAITBUS_CONFIG_DIR", str(place / "c"))
    monkeypatch.setenv("WAITBUS_STATE_DIR", str(home / "elsewhere"))
    (place / "c").mkdir(mode=0o700)
    fill(place)
    done = cli("init")
    assert done.code == 74
    assert done.err == (
        f"error: {place}/c/config.toml cannot be written: No space left on device\n"
        "hint: make space, or set WAITBUS_CONFIG_DIR\n"
    )
    assert list((place / "c").iterdir()) == []
