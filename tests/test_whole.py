"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from waitbus import whole


def test_a_file_is_made_and_replaced(home: Path) -> None:
    whole.write(home / "x", b"one")
    assert stat.S_IMODE((home / "x").stat().st_mode) == 0o600
    whole.write(home / "x", b"two")
    assert (home / "x").read_bytes() == b"two"


def test_what_is_replaced_keeps_its_mode_and_its_link(home: Path) -> None:
    (home / "there").write_bytes(b"one")
    (home / "there").chmod(0o640)
    (home / "link").symlink_to("there")
    whole.write(home / "link", b"two")
    assert (home / "there").read_bytes() == b"two"
    assert stat.S_IMODE((home / "there").stat().st_mode) == 0o640
    assert (home / "link").is_symlink()


def test_a_pipe_is_written_to_and_stays_one(home: Path) -> None:
    """`--out /dev/null`, as root, is not to make a file of it."""
    os.mkfifo(home / "pipe")
    reader = os.open(home / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    whole.write(home / "pipe", b"one")
    assert os.read(reader, 10) == b"one"
    os.close(reader)
    assert stat.S_ISFIFO((home / "pipe").stat().st_mode)


def test_whoever_came_first_keeps_his_file(home: Path) -> None:
    (home / "x").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        whole.write(home / "x", b"ours", replace=False)
    assert (home / "x").read_bytes() == b"theirs"
    whole.write(home / "y", b"ours", replace=False)
    assert sorted(os.listdir(home)) == ["x", "xr", "y"]


@pytest.mark.parametrize("name", ["no/folder/x", "", "x" * 300, "/", "/tmp"])
def test_what_cannot_be_written_leaves_nothing(home: Path, name: str) -> None:
    with pytest.raises(OSError):
        whole.write(home / name, b"one")
    assert os.listdir(home) == ["xr"]


def test_a_pipe_that_nobody_reads_is_not_waited_for(home: Path) -> None:
    os.mkfifo(home / "pipe")
    with pytest.raises(OSError) as caught:
        whole.write(home / "pipe", b"one")
    assert caught.value.errno == errno.ENXIO


def test_nobody_is_waited_for_where_a_file_is_read(home: Path) -> None:
    """A pipe without a writer is empty, one with a writer (`<(...)` of a shell) is read to its end."""
    os.mkfifo(home / "pipe")
    assert whole.read(home / "pipe") == b""
    read, write = os.pipe()
    os.write(write, b"said")
    os.close(write)
    assert whole.read(f"/dev/fd/{read}") == b"said"
    os.close(read)


def test_more_than_a_small_file_is_refused(home: Path) -> None:
    (home / "x").write_bytes(b"12345")
    assert whole.read(home / "x", 5) == b"12345"
    for place, most in ((home / "x", 4), ("/dev/zero", 1 << 20)):
        with pytest.raises(OSError) as caught:
            whole.read(place, most)
        assert caught.value.errno == errno.EFBIG
