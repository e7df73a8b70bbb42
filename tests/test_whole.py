"""Files that are there whole or not at all."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", ["no/folder/x", "", "x" * 300])
def test_what_cannot_be_written_leaves_nothing(home: Path, name: str) -> None:
    with pytest.raises(OSError):
        whole.write(home / name, b"one")
    assert os.listdir(home) == ["xr"]
