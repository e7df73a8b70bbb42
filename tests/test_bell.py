"""A5: bells. None that lives is ever taken down by a producer, none that is dead stays, and a ring never blocks."""

from __future__ import annotations

import os
import select
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.logs import finish, python
from waitbus import bell as bells
from waitbus.bell import HELLO, RING, Bell, listeners, ring
from waitbus.errors import LogReadOnly, LogUnavailable, PathError

linux = pytest.mark.skipif(sys.platform != "linux", reason="reaches long paths by /proc")


def hung(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def dead(folder: Path, count: int = 1) -> None:
    """Bells whose owner was killed: the name stays."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for _ in range(count):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as owner:
            owner.bind(os.fspath(folder / os.urandom(8).hex()))


def heard(bell: Bell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])


def test_a_ring_is_heard_and_drained(home: Path) -> None:
    bell = Bell(home / "bells")
    assert not heard(bell)
    assert bell.drain() == set()
    assert ring(home / "bells") == 1
    assert heard(bell)
    assert bell.drain() == {RING}
    assert not heard(bell)
    bell.close()


def test_what_is_said_is_told_apart(home: Path) -> None:
    bell = Bell(home / "bells")
    ring(home / "bells")
    ring(home / "bells", HELLO)
    ring(home / "bells")
    assert bell.drain() == {RING, HELLO}
    bell.close()


def test_every_bell_is_rung(home: Path) -> None:
    found = [Bell(home / "bells") for _ in range(20)]
    assert ring(home / "bells") == listeners(home / "bells") == 20
    assert all(bell.drain() for bell in found)
    for bell in found:
        bell.close()
    assert ring(home / "bells") == listeners(home / "bells") == 0


def test_ringing_where_nobody_ever_listened_is_no_error(home: Path) -> None:
    assert ring(home / "none") == 0
    assert listeners(home / "none") == 0
    (home / "file").write_text("")
    assert ring(home / "file") == 0


def test_a_full_queue_was_rung_already(home: Path) -> None:
    """Whoever is stopped, or slow, holds nobody up."""
    bell = Bell(home / "bells")
    assert [ring(home / "bells") for _ in range(200)] == [1] * 200
    assert bell.drain() == {RING}
    assert hung(home / "bells"), "and it is not taken down"
    bell.close()


def test_a_bell_is_for_its_owner_alone(home: Path) -> None:
    bell = Bell(home / "state" / "bells")
    (name,) = hung(home / "state/bells")
    assert stat.S_IMODE((home / "state/bells" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "state/bells").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "state").stat().st_mode) == 0o700
    bell.close()


def test_a_bell_is_taken_down_with_its_owner(home: Path) -> None:
    bell = Bell(home / "bells")
    assert bell.is_hanging()
    assert os.get_inheritable(bell.fileno()) is False
    bell.close()
    assert hung(home / "bells") == []
    assert not bell.is_hanging()


def test_a_forked_child_does_not_take_its_parents_bell_down(home: Path) -> None:
    bell = Bell(home / "bells")
    child = os.fork()
    if not child:
        bell.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert ring(home / "bells") == 1
    bell.close()


def test_a_dead_bell_is_taken_down_by_whoever_finds_it(home: Path) -> None:
    dead(home / "bells", 200)
    bell = Bell(home / "bells")
    assert len(hung(home / "bells")) == 201
    assert listeners(home / "bells") == 1
    assert len(hung(home / "bells")) == 201, "to look is not to clean"
    assert ring(home / "bells") == 1
    assert len(hung(home / "bells")) == 1
    bell.close()


def test_only_what_refuses_is_taken_down(home: Path) -> None:
    """Neither a bell in the making (hidden), nor one of another kind, nor a file that somebody put there."""
    folder = home / "bells"
    dead(folder)
    (dead_one,) = hung(folder)
    (folder / dead_one).rename(folder / f".{dead_one}")
    (folder / "note.txt").write_text("mine")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(os.fspath(folder / "stream"))
        stream.listen()
        before = hung(folder)
        assert ring(folder) == 0
        assert hung(folder) == before


@linux
def test_a_path_too_long_for_the_kernel_is_reached_by_its_folder(home: Path) -> None:
    folder = home / ("x" * 120) / ("y" * 120) / "bells"
    bell = Bell(folder)
    open_before = len(os.listdir("/proc/self/fd"))
    assert ring(folder) == listeners(folder) == 1
    assert bell.drain() == {RING}
    dead_name = hung(folder)[0]
    assert len(os.listdir("/proc/self/fd")) == open_before
    bell.close()
    assert hung(folder) == []
    assert dead_name


@pytest.mark.parametrize("extra", range(-2, 3))
def test_the_longest_path_that_fits_is_used_as_it_is(home: Path, extra: int) -> None:
    """At the boundary, hidden name and all."""
    room = bells._PREFIX_MAX - len(os.fsencode(home)) - 1 + extra
    if extra > 0 and sys.platform != "linux":
        room = bells._PREFIX_MAX
    folder = home / ("z" * room)
    bell = Bell(folder)
    assert ring(folder) == 1
    bell.close()


def test_where_the_kernel_offers_no_way_around_a_waiter_is_told_and_a_producer_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "_DESCRIPTORS", os.fspath(home / "no proc"))
    folder = home / ("x" * 120) / "bells"
    with pytest.raises(PathError) as caught:
        Bell(folder)
    assert f"the path of the doorbells {folder} has {len(os.fspath(folder))} bytes" in caught.value.message
    assert caught.value.hint == "set WAITBUS_STATE_DIR to a shorter directory"
    (folder / "x").touch()
    assert ring(folder) == 0, "where none could be hung, none is missed"


def test_a_folder_that_cannot_be_had_is_a_typed_error(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(LogUnavailable):
        Bell(home / "file" / "bells")
    (home / "bells").mkdir()
    (home / "bells").chmod(0o777)
    with pytest.raises(PathError, match="may be written by others"):
        Bell(home / "bells")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become another user")
def test_a_folder_that_may_not_be_written_is_a_typed_error(home: Path) -> None:
    home.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from waitbus.bell import Bell; os.setuid(54321)\n"
        "try: Bell(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__)"
    )
    (said,) = finish([python(code, home / "bells")])
    assert said.strip() == LogReadOnly.__name__


def test_a_bell_has_its_name_only_once_it_can_be_reached(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window between making the path and being reachable is the kernel's, and too short to be met on purpose."""
    seen: list[list[str]] = []
    rename = os.rename

    def spy(source: str, target: str) -> None:
        seen.append(hung(home / "bells"))
        assert ring(home / "bells") == 0
        rename(source, target)

    monkeypatch.setattr(os, "rename", spy)
    bell = Bell(home / "bells")
    ((hidden,),) = seen
    assert hidden[0] == "."
    assert hung(home / "bells") == [hidden[1:]]
    bell.close()


HAMMER = """
import sys
from pathlib import Path
from waitbus.bell import ring
folder = Path(sys.argv[1])
print("hammering", flush=True)
rings = 0
while not (folder.parent / "stop").exists():
    for _ in range(50): ring(folder)
    rings += 50
print(rings)
"""


@pytest.fixture
def hammers(home: Path) -> Any:
    """Two producers that ring without a pause."""
    (home / "bells").mkdir(mode=0o700)
    children = [python(HAMMER, home / "bells") for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "hammering\n"
    yield
    (home / "stop").touch()
    assert all(int(said) > 0 for said in finish(children))


@pytest.mark.usefixtures("hammers")
def test_no_bell_is_lost_however_the_producers_hammer(home: Path) -> None:
    """Bound in the open, a bell is refused for a moment and taken down for good: three of 200,000 in a prototype."""
    lost = 0
    for _ in range(4000):
        bell = Bell(home / "bells")
        lost += not bell.is_hanging()
        bell.close()
    assert lost == 0
    bell = Bell(home / "bells")
    assert select.select([bell], [], [], 10)[0], "and the last one rings"
    bell.close()
