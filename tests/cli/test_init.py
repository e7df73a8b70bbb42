"""`waitbus init`: what it makes, that it makes nothing twice, and what it says about what lies there."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import old_log, support
from tests.schemas import checked
from waitbus.config import Config, load
from waitbus.ops.config_schema import toml_example

Cli = Callable[..., support.Result]

PLACES = ("s", "s/bells", "s/cursors", "r", "c", "s/events.db", "c/config.toml")


def modes(home: Path) -> dict[str, str]:
    return {name: oct(stat.S_IMODE((home / name).stat().st_mode)) for name in PLACES if (home / name).exists()}


def test_it_makes_everything_and_only_for_you(cli: Cli, home: Path) -> None:
    done = cli("init", env={"HOME": str(home)})
    assert done.code == 0
    assert done.out == "".join(f"made  ~/{name}\n" for name in PLACES)
    assert done.err == (
        "`waitbus wait` and `waitbus emit` work from here on, with nothing running. Next:\n"
        "  waitbus demo      see it at work\n"
        "  waitbus serve     start the daemon, which makes it faster and shared\n"
        "  waitbus status    see what is there\n"
    )
    assert modes(home) == {name: "0o600" if name.endswith((".db", ".toml")) else "0o700" for name in PLACES}


def test_the_config_file_explains_and_changes_nothing(cli: Cli, home: Path) -> None:
    cli("init")
    assert (home / "c" / "config.toml").read_text() == toml_example()
    assert load(home / "c" / "config.toml", {}) == Config()
    assert cli("config", "validate").out == "~/c/config.toml is valid\n"


def test_the_config_file_costs_nothing_to_read(cli: Cli) -> None:
    """Every start reads it; one that changes nothing is not to cost 20 ms."""
    cli("init")
    code = "import sys; from waitbus.config import load; load(); assert 'cattrs' not in sys.modules"
    assert support.run([sys.executable, "-c", code]).code == 0


def test_a_second_time_it_changes_nothing(cli: Cli, home: Path) -> None:
    """Not even a config file that was written since."""
    cli("init")
    (home / "c" / "config.toml").write_text("heartbeat_sec = 5\n")
    cursor = cli("cursor").out
    done = cli("init", "-q")
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"there  ~/{name}\n" for name in PLACES)
    assert (home / "c" / "config.toml").read_text() == "heartbeat_sec = 5\n"
    assert cli("cursor").out == cursor


def test_a_dry_run_makes_nothing(cli: Cli, home: Path) -> None:
    done = cli("init", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"would make  ~/{name}\n" for name in PLACES)
    assert modes(home) == {}


def test_folders_that_others_may_read_are_closed(cli: Cli, home: Path) -> None:
    (home / "s").mkdir(mode=0o755)
    (home / "c").mkdir()
    (home / "c").chmod(0o777)
    assert "would set mode 0700  ~/s\n" in cli("init", "--dry-run").out
    assert stat.S_IMODE((home / "s").stat().st_mode) == 0o755
    done = cli("init")
    assert "mode 0700  ~/s\n" in done.out
    assert "mode 0700  ~/c\n" in done.out
    assert set(modes(home).values()) == {"0o600", "0o700"}


def test_an_old_log_is_found_and_its_import_offered(cli: Cli, home: Path) -> None:
    """It may share the folder: nothing of it is touched."""
    (home / "s").mkdir(mode=0o700)
    old_log.make(home / "s" / "github.db")
    done = cli("init")
    assert "There is a log of 0.2; its events come over by: waitbus db import ~/s/github.db\n" in done.err
    assert checked("init", cli("init", "--json").out)["old_log"] == str(home / "s" / "github.db")


def test_as_json(cli: Cli, home: Path) -> None:
    told = checked("init", cli("init", "--json").out)
    assert [step["path"] for step in told["steps"]] == [str(home / name) for name in PLACES]
    assert {step["action"] for step in told["steps"]} == {"made"}
    assert {step["action"] for step in checked("init", cli("init", "--json").out)["steps"]} == {"there"}


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_file_where_a_folder_is_due(cli: Cli, home: Path, dry: tuple[str, ...]) -> None:
    (home / "r").write_text("mine")
    done = cli("init", *dry)
    assert done.code == 2
    assert done.err.startswith(f"error: {home}/r is a file, and a directory was expected\nhint: move it away")
    assert (home / "r").read_text() == "mine"
    assert stat.S_IMODE((home / "r").stat().st_mode) != 0o700


@pytest.mark.parametrize(
    ("env", "error"),
    [
        ({"WAITBUS_STATE_DIR": "here"}, "WAITBUS_STATE_DIR 'here' is not an absolute path"),
        ({"WAITBUS_RUNTIME_DIR": "./x"}, "WAITBUS_RUNTIME_DIR './x' is not an absolute path"),
        ({"WAITBUS_CONFIG_DIR": "c"}, "WAITBUS_CONFIG_DIR 'c' is not an absolute path"),
    ],
)
def test_a_relative_folder_is_refused_before_anything_is_made(
    cli: Cli, home: Path, env: dict[str, str], error: str
) -> None:
    done = cli("init", env=env)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {error}\nhint: write it from / or from ~/\n"
    assert modes(home) == {}


def test_a_place_that_cannot_be_made(cli: Cli) -> None:
    done = cli("init", env={"WAITBUS_CONFIG_DIR": "/proc/none"})
    assert done.code == 74
    assert done.err.startswith("error: cannot make /proc/none: ")


def test_it_reads_no_secret(cli: Cli, home: Path) -> None:
    """A token in the environment is not asking."""
    cli("init", env={"GITHUB_TOKEN": "ghp_secret"})
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"ghp_secret" not in written
    assert os.environ.get("GITHUB_TOKEN") != "ghp_secret"
