"""Where things are: three variables, their defaults, and folders that nobody else may change."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from pathlib import Path

import pytest

from tests.support import run
from waitbus import paths
from waitbus.errors import LogReadOnly, LogUnavailable, PathError

ROOT = os.geteuid() == 0
linux = pytest.mark.skipif(sys.platform != "linux", reason="the defaults of Linux")
as_root = pytest.mark.skipif(not ROOT, reason="needs root: a folder of another user's")

VARIABLES = {
    "WAITBUS_STATE_DIR": paths.state_dir,
    "WAITBUS_RUNTIME_DIR": paths.runtime_dir,
    "WAITBUS_CONFIG_DIR": paths.config_dir,
}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Path:
    """No variable set but HOME; returns it."""
    for name in [*os.environ]:
        if name.startswith(("WAITBUS_", "XDG_")):
            monkeypatch.delenv(name)
    return Path(os.environ["HOME"])


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_variable_wins_and_is_read_at_every_call(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("/a/b", "/c d/é"):
        monkeypatch.setenv(variable, value)
        assert VARIABLES[variable]() == Path(value)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(("value", "below"), [("~", ""), ("~/x/y", "x/y"), ("~/", "")])
def test_a_tilde_is_the_home(
    variable: str, value: str, below: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert VARIABLES[variable]() == home / below


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("value", ["x", "./x", "../x", "~nobody-such/x", " /x", "$HOME/x"])
def test_a_relative_path_is_refused_by_name_and_value(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(PathError) as caught:
        VARIABLES[variable]()
    assert caught.value.message == f"{variable} {value!r} is not an absolute path"
    assert caught.value.hint == "write it from / or from ~/"


@linux
def test_the_defaults_lie_in_the_home(bare: Path) -> None:
    assert paths.state_dir() == bare / ".local/state/waitbus"
    assert paths.config_dir() == bare / ".config/waitbus"
    assert paths.runtime_dir() == bare / ".local/state/waitbus/run", "never below /tmp"


@linux
def test_an_empty_variable_is_an_absent_one(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [*VARIABLES, "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"]:
        monkeypatch.setenv(variable, "")
    assert paths.state_dir() == bare / ".local/state/waitbus"
    assert paths.config_dir() == bare / ".config/waitbus"
    assert paths.runtime_dir() == bare / ".local/state/waitbus/run"


@linux
@pytest.mark.usefixtures("bare")
def test_the_base_directories_of_the_desktop_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert paths.state_dir() == Path("/state/waitbus")
    assert paths.config_dir() == Path("/config/waitbus")
    assert paths.runtime_dir() == Path("/run/user/7/waitbus")
    assert paths.socket_path() == Path("/run/user/7/waitbus/broadcast.sock")


@linux
def test_a_relative_base_directory_is_ignored_as_its_specification_says(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, "relative")
    assert paths.state_dir() == bare / ".local/state/waitbus"
    assert paths.runtime_dir() == bare / ".local/state/waitbus/run"
    assert paths.config_path() == bare / ".config/waitbus/config.toml"


@linux
@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("home", [None, ""])
def test_without_a_home_the_user_data_base_says_where(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron and `env -i` set none; an empty one is not the root directory."""
    monkeypatch.delenv("HOME")
    if home is not None:
        monkeypatch.setenv("HOME", home)
    expected = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert paths.state_dir() == expected / ".local/state/waitbus"


@linux
@pytest.mark.usefixtures("bare")
def test_a_home_that_is_not_absolute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "here")
    with pytest.raises(PathError, match="the home directory 'here' is not an absolute path") as caught:
        paths.state_dir()
    assert "WAITBUS_STATE_DIR" in caught.value.hint


@as_root
@linux
def test_a_user_without_entry_and_home_is_told_so() -> None:
    """As in a container that runs under a number."""
    code = "import os, pwd; from waitbus import paths; os.setuid(54321); paths.state_dir()"
    done = run([sys.executable, "-c", code], env={"HOME": "", "WAITBUS_STATE_DIR": "", "XDG_STATE_HOME": ""})
    assert "PathError: the home directory '' is not an absolute path" in done.err


def test_files_of_the_state_folder(home: Path) -> None:
    assert paths.log_path() == home / "s/events.db"
    assert paths.bells_dir() == home / "s/bells"
    assert paths.cursors_dir() == home / "s/cursors"


# -- folders of our own ------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_every_folder_that_is_made_is_ours_alone(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert paths.own_directory(home / "a/b/c") == home / "a/b/c"
    finally:
        os.umask(before)
    assert [mode(home / one) for one in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_a_folder_of_ours_is_taken_as_it_is(home: Path) -> None:
    (home / "a").mkdir(mode=0o755)
    paths.own_directory(home / "a")
    assert mode(home / "a") == 0o755


def test_a_link_of_ours_to_a_folder_of_ours_is_taken(home: Path) -> None:
    """For a larger disk."""
    (home / "real").mkdir()
    (home / "link").symlink_to(home / "real")
    paths.own_directory(home / "link")
    paths.own_directory(home / "link/below")
    assert (home / "real/below").is_dir()


@pytest.mark.parametrize("bits", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_is_refused(home: Path, bits: int) -> None:
    (home / "a").mkdir()
    (home / "a").chmod(bits)
    with pytest.raises(PathError) as caught:
        paths.own_directory(home / "a")
    assert caught.value.message == f"{home / 'a'} may be written by others"
    assert caught.value.hint == f"chmod go-w {home / 'a'}"


@as_root
def test_a_folder_of_another_user_is_refused(home: Path) -> None:
    (home / "a").mkdir(mode=0o700)
    os.chown(home / "a", 54321, -1)
    with pytest.raises(PathError, match=f"{home / 'a'} belongs to another user") as caught:
        paths.own_directory(home / "a")
    assert "WAITBUS_STATE_DIR" in caught.value.hint


@as_root
def test_a_link_that_another_user_laid_is_refused_wherever_it_leads(home: Path) -> None:
    """Even to a folder of ours: whoever laid it may lay it anew."""
    (home / "a").mkdir(mode=0o700)
    (home / "link").symlink_to(home / "a")
    os.lchown(home / "link", 54321, -1)
    with pytest.raises(PathError, match=f"{home / 'link'} belongs to another user"):
        paths.own_directory(home / "link")


def test_a_file_in_the_way_is_named(home: Path) -> None:
    (home / "a").write_text("")
    with pytest.raises(PathError, match=f"{home / 'a'} is a file") as caught:
        paths.own_directory(home / "a")
    assert "move it away" in caught.value.hint
    with pytest.raises(LogUnavailable, match=f"cannot make {home / 'a/b'}: Not a directory"):
        paths.own_directory(home / "a/b")


def test_a_link_to_nowhere_is_an_error_with_its_name(home: Path) -> None:
    (home / "a").symlink_to(home / "gone")
    with pytest.raises(LogUnavailable, match=f"cannot make {home / 'a'}: No such file"):
        paths.own_directory(home / "a")


def test_a_name_too_long_for_the_disk_is_an_error_with_a_remedy(home: Path) -> None:
    with pytest.raises(LogUnavailable, match="File name too long") as caught:
        paths.own_directory(home / ("x" * 300))
    assert "WAITBUS_STATE_DIR" in caught.value.hint


@as_root
def test_a_folder_that_may_not_be_made_is_said_to_be_read_only(home: Path) -> None:
    home.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from waitbus import paths; os.setuid(54321)\n"
        "try: paths.own_directory(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error, '|', error.hint)"
    )
    done = run([sys.executable, "-c", code, str(home / "new")])
    assert done.out.startswith(
        f"{LogReadOnly.__name__} cannot make {home / 'new'}: Permission denied | set WAITBUS_STATE_DIR"
    )


@pytest.mark.parametrize("name", ["x" * 107, "é" * 53 + "x"])
def test_a_socket_path_is_measured_in_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SOCKET_PATH_MAX", 107)
    assert paths.check_socket_path(Path(name)) == Path(name)
    with pytest.raises(PathError) as caught:
        paths.check_socket_path(Path(name + "y"))
    assert "has 108 bytes; the kernel takes 107" in caught.value.message
    assert "WAITBUS_RUNTIME_DIR" in caught.value.hint
