"""`waitbus config`: what it says of a file is what a start does with it, and what it explains is what there is."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import support
from tests.schemas import checked
from waitbus.config import OF_OLD, Config, RetentionTable, load, problems, settings, structured
from waitbus.errors import ConfigError
from waitbus.ops.config_schema import json_schema, plain, toml_example, write_duration, write_size
from waitbus.ops.settings import defaults, line_of
from waitbus.quantities import parse_duration, parse_size

Cli = Callable[..., support.Result]

SETTINGS = [*settings(Config), *(f"retention.{name}" for name in settings(RetentionTable))]
KNOWN = f"known here: {', '.join(settings(Config))}"


def write(home: Path, text: str) -> Path:
    """The config file of this test's home."""
    (home / "c").mkdir(exist_ok=True)
    path = home / "c" / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


# -- validate ----------------------------------------------------------------------------------------------------------


def test_what_a_shell_substitutes_is_judged(home: Path) -> None:
    """`<(...)` can be read once."""
    line = f"{shlex.join(support.WAITBUS)} config validate <(echo; echo 'heartbeat_secs = 1')"
    done = support.run(["bash", "-c", line])
    assert done.code == 2
    assert re.match(r"error: /dev/fd/\d+:2: unknown key 'heartbeat_secs'\n", done.err), done


def test_no_file_is_right(cli: Cli) -> None:
    """0.2 called a missing default file invalid, although its defaults are legal."""
    assert cli("config", "validate") == support.Result(
        0, "~/c/config.toml is not there; the defaults are in force\n", ""
    )
    told = checked("config-validate", cli("config", "validate", "--json").out)
    assert (told["exists"], told["valid"]) == (False, True)


def test_a_right_file_is_right(cli: Cli, home: Path) -> None:
    write(home, 'log_level = "debug"\n[retention]\nmax_age = "7d"\n[sources.fs]\nenabled = false\n')
    assert cli("config", "validate") == support.Result(0, "~/c/config.toml is valid\n", "")
    assert cli("config", "validate", "-q") == support.Result(0, "", "")


def test_the_environment_has_no_say(cli: Cli, home: Path) -> None:
    """In 0.2 a bad variable made a good file invalid; and a good one must not hide a bad file."""
    write(home, "heartbeat_sec = 30\n")
    assert cli("config", "validate", env={"WAITBUS_LOG_LEVEL": "bogus"}).code == 0
    write(home, 'log_level = "bogus"\n')
    assert cli("config", "validate", env={"WAITBUS_LOG_LEVEL": "INFO"}).code == 2


NUMBER = 'write a number, or a text such as "30d" where a unit is meant'
PLAIN_NUMBER = "write a number, without quotes"
DURATION = "write 500ms, 30s, 10m, 1h30m, or none"
AN_END = "write 500ms, 30s, 10m or 1h30m"
TABLE = "write its name in brackets above its keys"

WRONG = [
    # the file, the line that is named, what is said of it, the hint
    ('log_level = "loud"', 1, "log_level: 'loud' is none of DEBUG, INFO, WARNING, ERROR", "write one of them"),
    ("log_level = 3", 1, "log_level: 3 is not a text", "put it in quotes"),
    ('synchronous = "off"', 1, "synchronous: 'off' is none of NORMAL, FULL", "write one of them"),
    ('\nheartbeat_sec = "x"', 2, "heartbeat_sec: 'x' is not a number", PLAIN_NUMBER),
    ("heartbeat_sec = true", 1, "heartbeat_sec: true is not a number", PLAIN_NUMBER),
    ("heartbeat_sec = nan", 1, "heartbeat_sec: nan is not a number", PLAIN_NUMBER),
    ("heartbeat_sec = inf", 1, "heartbeat_sec: inf is not a number", PLAIN_NUMBER),
    ("heartbeat_sec = {}", 1, "heartbeat_sec: {} is not a number", PLAIN_NUMBER),
    ("heartbeat_sec = 0", 1, "heartbeat_sec: 0 is below 0.05", "write 0.05 or more"),
    ("heartbeat_sec = -1.5", 1, "heartbeat_sec: -1.5 is below 0.05", "write 0.05 or more"),
    ('stall_timeout = "soon"', 1, "stall_timeout: 'soon' is not a duration", AN_END),
    ("stall_timeout = 0", 1, "stall_timeout: '0' must be longer than nothing", AN_END),
    ('drain_timeout = "none"', 1, "drain_timeout: 'none' is not possible here", AN_END),
    ('heartbeat_sec = "none"', 1, "heartbeat_sec: 'none' is not possible here", "write a number"),
    ("drain_timeout = [1]", 1, "drain_timeout: [1] is not a number", NUMBER),
    ("retention = 3", 1, "retention: 3 is not a table", "write [retention] above its keys"),
    ('[retention]\nmax_age = "1y"', 2, "retention.max_age: '1y' is not a duration", DURATION),
    ('retention.max_age = "1y"', 1, "retention.max_age: '1y' is not a duration", DURATION),
    (
        '[retention]\n# a remark\nmax_size = "much"',
        3,
        "retention.max_size: 'much' is not a size",
        "write 500k, 64MiB, 1GiB, or a number of bytes",
    ),
    ("[retention]\npayload_days = 0", 2, "retention.payload_days: 0 is not above 0", "write a larger one"),
    ('[retention]\nmax_sise = "1GiB"', 2, "unknown key 'retention.max_sise'", "did you mean 'max_size'?"),
    ("[retention.more]", 1, "unknown key 'retention.more'", "known here: max_age, max_size, payload_days"),
    ('loglevel = "INFO"', 1, "unknown key 'loglevel'", "did you mean 'log_level'?"),
    ('"a b" = 1', 1, "unknown key 'a b'", KNOWN),
    ("sources = 1", 1, "sources: 1 is not a table", TABLE),
    ("[sources]\nfs = 1", 1, "sources: fs = 1 is not a table", TABLE),
    ("\nsources.fs = 1", 2, "sources: fs = 1 is not a table", TABLE),
    ("\na.b.c = 1", 2, "unknown key 'a'", KNOWN),
    ("\n[a.b]\nc = 1", 2, "unknown key 'a'", KNOWN),
    ("log_level = 1979-05-27T07:32:00Z", 1, "log_level: 1979-05-27 07:32:00+00:00 is not a text", "put it in quotes"),
    ("synchronous = true", 1, "synchronous: true is not a text", "put it in quotes"),
    ("plugins = 1", 1, "plugins: 1 is not a table", TABLE),
    ("mcp = []", 1, "mcp: [] is not a table", TABLE),
]


@pytest.mark.parametrize(("text", "number", "message", "hint"), WRONG, ids=[row[0] for row in WRONG])
def test_each_error_has_its_line_its_place_and_its_remedy(
    call: Cli, home: Path, text: str, number: int, message: str, hint: str
) -> None:
    """And a start refuses the same file for the same reason."""
    path = write(home, text)
    done = call("config", "validate")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: ~/c/config.toml:{number}: {message}\nhint: {hint}\n"
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    assert refused.value.message == f"{path}: {message}"
    assert refused.value.hint == hint


def test_all_errors_are_told_at_once(cli: Cli, home: Path) -> None:
    write(home, 'log_level = "loud"\nmetrics_port = 1\n[retention]\nmax_age = "soon"\nmax_sise = 4\n')
    done = cli("config", "validate")
    assert done.err.count("error: ") == 3
    assert done.err.count("warning: ") == 1
    told = cli("config", "validate", "--json")
    assert told.code == 2
    judged = checked("config-validate", told.out)
    assert [error["place"] for error in judged["errors"]] == ["log_level", "retention.max_age", "retention.max_sise"]
    assert judged["of_old"] == ["metrics_port"]


@pytest.mark.parametrize("key", sorted(OF_OLD))
def test_keys_of_old_are_named_and_are_no_error(call: Cli, home: Path, key: str) -> None:
    """Somebody's file from 0.2 goes on working."""
    path = write(home, f"{key} = 3\n")
    done = call("config", "validate")
    assert (done.code, done.out) == (0, "~/c/config.toml is valid\n")
    assert done.err == (f"warning: ~/c/config.toml: {key!r} meant something to 0.2 and means nothing here; remove it\n")
    assert load(path, {}) == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = \n", "~/c/config.toml:1: not TOML: Invalid value (at line 1, column 5)"),
        ("x = 1\nx = 2\n", "~/c/config.toml:2: not TOML: Cannot overwrite a value (at line 2, column 6)"),
        ("\x00", "~/c/config.toml:1: not TOML: Invalid statement (at line 1, column 1)"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(call: Cli, home: Path, text: str, said: str) -> None:
    write(home, text)
    done = call("config", "validate")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {said}\nhint: `waitbus config schema --format toml-example` prints a good one\n"


def test_files_that_cannot_be_read(cli: Cli, home: Path) -> None:
    """A folder, bytes that are no text, a name that is wrong: two lines each."""
    done = cli("config", "validate", str(home / "none.toml"))
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: there is no file {home}/none.toml\nhint: without a path, the file that is in force is checked\n"
    )
    (home / "c" / "config.toml").mkdir(parents=True)
    done = cli("config", "validate")
    assert done.err == (
        "error: ~/c/config.toml: cannot be read: Is a directory\nhint: mend its rights, or set WAITBUS_CONFIG_DIR\n"
    )
    (home / "latin.toml").write_bytes(b'log_level = "\xe9"\n')
    done = cli("config", "validate", str(home / "latin.toml"))
    assert done.err.startswith("error: ~/latin.toml: not UTF-8: ")


def test_a_file_that_is_not_in_force_can_be_checked(cli: Cli, home: Path) -> None:
    write(home, "x = 1\n")
    (home / "other.toml").write_text("heartbeat_sec = 5\n")
    assert cli("config", "validate", str(home / "other.toml")).out == "~/other.toml is valid\n"


@pytest.mark.parametrize(
    ("text", "place", "number"),
    [
        ("a = 1", "a", 1),
        ("# a = 1\n a=1", "a", 2),
        ("[t]\na = 1", "t.a", 2),
        ("[t]\na = 1", "a", None),
        ("[ t . u ]\na = 1", "t.u.a", 2),
        ("t.u.a = 1", "t.u.a", 1),
        ('["t"]\n"a" = 1', "t.a", 2),
        ("[t] # why\n", "t", 1),
        ("", "a", None),
    ],
)
def test_where_a_key_stands(text: str, place: str, number: int | None) -> None:
    assert line_of(text, place) == number


# -- schema ------------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_schema_and_in_the_example() -> None:
    """0.2's template left out half of them."""
    schema, example = json_schema(), toml_example()
    for name, setting in {**settings(Config), **settings(RetentionTable)}.items():
        where = schema if name in settings(Config) else schema["properties"]["retention"]
        assert setting.metadata["about"] in where["properties"][name]["description"]
        assert name in example
        folded = " ".join(line.removeprefix("# ") for line in example.splitlines())
        assert setting.metadata["about"] in folded


def test_the_example_changes_nothing() -> None:
    assert structured(tomllib.loads(toml_example()), "example") == Config()


def test_the_example_without_its_marks_is_the_defaults() -> None:
    """What a person uncomments is what was in force."""
    lines = [line[1:] if line.startswith("#") and line[1:2].isalpha() else line for line in toml_example().splitlines()]
    values = tomllib.loads("\n".join(lines))
    assert values == defaults()
    assert structured(values, "example") == Config()


def test_the_schema_takes_the_example_and_every_default() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    judge = jsonschema.Draft202012Validator(schema)
    judge.validate(tomllib.loads(toml_example()))
    judge.validate(defaults())


@pytest.mark.parametrize("text", [row[0] for row in WRONG])
def test_the_schema_takes_nothing_that_a_start_refuses(text: str) -> None:
    """Except for the form of durations and sizes, and numbers JSON does not have."""
    values = tomllib.loads(text)
    told = " ".join(problem.message for problem in problems(values))
    judge = jsonschema.Draft202012Validator(json_schema())
    if any(words in told for words in ("is not a duration", "is not a size", "nan", "inf ")):
        return
    assert not judge.is_valid(values)


def test_the_schema_knows_the_floor_of_the_heartbeat() -> None:
    judge = jsonschema.Draft202012Validator(json_schema())
    assert judge.is_valid({"heartbeat_sec": 0.05})
    assert not judge.is_valid({"heartbeat_sec": 0.049})
    assert "the log itself. At least 0.05." in " ".join(toml_example().replace("#", "").split())


def test_the_schema_is_printed_or_written(cli: Cli, home: Path) -> None:
    printed = cli("config", "schema")
    assert json.loads(printed.out) == json_schema()
    done = cli("config", "schema", "-f", "toml-example", "--out", str(home / "x.toml"))
    assert done == support.Result(0, "", f"wrote {home}/x.toml\n")
    assert (home / "x.toml").read_text() == toml_example()


def test_an_out_that_cannot_be_written(cli: Cli) -> None:
    """A traceback in 0.2."""
    done = cli("config", "schema", "--out", "/nowhere/x")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: /nowhere/x cannot be written: No such file or directory\nhint: leave --out away to print it\n"
    )


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (
            "validate a b",
            "'b' is one word too many",
            "write waitbus config validate [OPTIONS] [PATH]; quote what has blanks in it",
        ),
        (
            "schema -f yaml",
            "--format 'yaml' is not one of 'json', 'toml-example'",
            "see `waitbus config schema --help`",
        ),
        ("schema --josn", "no option '--josn'", "see `waitbus config schema --help`"),
        ("shwo", "no command 'shwo'", "did you mean 'show'? `waitbus config --help` lists them all"),
    ],
)
def test_bad_input(call: Cli, argv: str, error: str, hint: str) -> None:
    done = call("config", *argv.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {error}\nhint: {hint}\n"


@given(st.integers(1, 36_500 * 86_400_000))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    read = parse_duration(write_duration(milliseconds / 1000))
    assert read is not None
    assert math.isclose(read, milliseconds / 1000, rel_tol=1e-12)


@given(st.integers(1, 2**63 - 1))
def test_a_size_is_written_as_it_is_read(size: int) -> None:
    assert parse_size(write_size(size)) == size


def test_a_setting_is_written_as_a_person_would() -> None:
    assert plain(Config().retention, RetentionTable) == {"max_age": "30d", "max_size": "1GiB", "payload_days": "none"}


# -- show --------------------------------------------------------------------------------------------------------------


def test_each_setting_is_shown_with_where_it_came_from(cli: Cli, home: Path) -> None:
    """Environment over file over default."""
    write(home, 'log_level = "debug"\nheartbeat_sec = 30\n[retention]\nmax_age = "7d"\n[mcp]\nfilter = ["*"]\n')
    told = checked("config-show", cli("config", "show", "--json", env={"WAITBUS_HEARTBEAT_SEC": "5"}).out)
    shown = {name: (one["value"], one["origin"]) for name, one in told["settings"].items()}
    assert set(shown) == {name for name in SETTINGS if name != "retention"}
    assert shown["log_level"] == ("DEBUG", "file")
    assert shown["heartbeat_sec"] == (5.0, "WAITBUS_HEARTBEAT_SEC")
    assert shown["retention.max_age"] == ("7d", "file")
    assert shown["retention.max_size"] == ("1GiB", "default")
    assert shown["mcp"] == ({"filter": ["*"]}, "file")


def test_what_is_shown_is_a_config_file(cli: Cli, home: Path) -> None:
    """The same settings again."""
    path = write(
        home, 'heartbeat_sec = 30\n[retention]\nmax_age = "none"\nmax_size = 12345\n[sources.fs]\nroot = "/x"\n'
    )
    shown = cli("config", "show")
    assert shown.err == "~/c/config.toml\n"
    assert structured(tomllib.loads(shown.out), "shown") == load(path, {})


@given(
    st.builds(
        Config,
        heartbeat_sec=st.floats(0.05, 1e6),
        log_level=st.sampled_from(["DEBUG", "ERROR"]),
        retention=st.builds(
            RetentionTable,
            max_age=st.none() | st.integers(1, 10**9).map(lambda ms: ms / 1000),
            max_size=st.none() | st.integers(1, 2**62),
            payload_days=st.none() | st.floats(0.1, 1e5),
        ),
    )
)
def test_every_configuration_can_be_written_and_read(config: Config) -> None:
    values: dict[str, Any] = plain(config, Config)
    again = structured(values, "written")
    assert attrs.evolve(again, heartbeat_sec=1.0, retention=RetentionTable()) == attrs.evolve(
        config, heartbeat_sec=1.0, retention=RetentionTable()
    )
    assert math.isclose(again.heartbeat_sec, config.heartbeat_sec, rel_tol=1e-6)
    assert again.retention.max_size == config.retention.max_size


@pytest.mark.parametrize(
    ("variable", "value", "error", "hint"),
    [
        ("WAITBUS_LOG_LEVEL", "loud", "log_level: 'loud' is none of DEBUG, INFO, WARNING, ERROR", "write one of them"),
        ("WAITBUS_HEARTBEAT_SEC", "-1", "heartbeat_sec: -1 is below 0.05", "write 0.05 or more"),
    ],
)
def test_a_wrong_variable_is_named(cli: Cli, variable: str, value: str, error: str, hint: str) -> None:
    done = cli("config", "show", env={variable: value})
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {variable}: {error}\nhint: {hint}\n"


def test_a_variable_that_is_no_number(cli: Cli) -> None:
    done = cli("config", "show", env={"WAITBUS_HEARTBEAT_SEC": "soon"})
    assert done.err == "error: WAITBUS_HEARTBEAT_SEC 'soon' is not a number of seconds\nhint: write 60 or 0.5\n"


def test_a_relative_config_folder_is_refused(cli: Cli) -> None:
    done = cli("config", "show", env={"WAITBUS_CONFIG_DIR": "here"})
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: WAITBUS_CONFIG_DIR 'here' is not an absolute path\nhint: ")
    assert not os.path.exists("here")
