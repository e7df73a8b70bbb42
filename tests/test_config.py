"""The configuration: every key, what is refused and how, and the environment over the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus import EventInsert, config, emit
from waitbus.config import Config, RetentionTable, load, problems
from waitbus.errors import ConfigError, InvalidValue

DAY = 86400.0


def written(home: Path, text: str) -> Path:
    path = home / "c" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_are_in_force() -> None:
    assert load(environment={}) == Config()
    assert attrs.asdict(Config()) == {
        "log_level": "INFO",
        "heartbeat_sec": 60.0,
        "stall_timeout": 300.0,
        "drain_timeout": 5.0,
        "synchronous": "NORMAL",
        "retention": {"max_age": 30 * DAY, "max_size": 1024**3, "payload_days": None},
        "sources": {},
        "plugins": {},
        "mcp": {},
        "prometheus": {},
    }


LEGAL: list[tuple[str, str, Any]] = [
    ('log_level = "debug"', "log_level", "DEBUG"),
    ('log_level = "ERROR"', "log_level", "ERROR"),
    ("heartbeat_sec = 5", "heartbeat_sec", 5.0),
    ("heartbeat_sec = 0.25", "heartbeat_sec", 0.25),
    ("heartbeat_sec = 0.05", "heartbeat_sec", 0.05),
    ('stall_timeout = "2m"', "stall_timeout", 120.0),
    ("stall_timeout = 30", "stall_timeout", 30.0),
    ('drain_timeout = "1.5s"', "drain_timeout", 1.5),
    ('synchronous = "full"', "synchronous", "FULL"),
    ('[retention]\nmax_age = "7d"', "retention", RetentionTable(max_age=7 * DAY)),  # type: ignore[arg-type]
    ("[retention]\nmax_age = 3600", "retention", RetentionTable(max_age=3600.0)),  # type: ignore[arg-type]
    ('[retention]\nmax_age = "none"', "retention", RetentionTable(max_age=None)),
    ('[retention]\nmax_size = "64MiB"', "retention", RetentionTable(max_size=64 * 1024**2)),  # type: ignore[arg-type]
    ("[retention]\nmax_size = 1000000", "retention", RetentionTable(max_size=1_000_000)),  # type: ignore[arg-type]
    ('[retention]\nmax_size = "none"', "retention", RetentionTable(max_size=None)),
    ("[retention]\npayload_days = 3.5", "retention", RetentionTable(payload_days=3.5)),
    ("[retention]", "retention", RetentionTable()),
    ('[sources.docker]\nsocket = "/x"', "sources", {"docker": {"socket": "/x"}}),
    ("[plugins]\ntrust = true", "plugins", {"trust": True}),
    ("[mcp]\nx = 1", "mcp", {"x": 1}),
    ("[prometheus]\nowner = 'x'", "prometheus", {"owner": "x"}),
    ("[sources.no_such_source]\nanything = 1", "sources", {"no_such_source": {"anything": 1}}),
]


@pytest.mark.parametrize(("text", "key", "value"), LEGAL, ids=[text.replace("\n", " ") for text, _, _ in LEGAL])
def test_every_key_is_read(home: Path, text: str, key: str, value: Any) -> None:
    found = load(written(home, text), {})
    assert getattr(found, key) == value
    assert attrs.evolve(found, **{key: getattr(Config(), key)}) == Config(), "and nothing else changed"


def test_every_setting_has_a_test_and_a_sentence() -> None:
    tried = {key for _, key, _ in LEGAL}
    assert tried == {field.name for field in attrs.fields(Config)}
    for table in (Config, RetentionTable):
        assert all(field.metadata["about"].endswith(".") for field in attrs.fields(table))


REFUSED: list[tuple[str, str, str]] = [
    ("heartbeat_secs = 5", "unknown key 'heartbeat_secs'", "did you mean 'heartbeat_sec'?"),
    ("zzz = 5", "unknown key 'zzz'", "log_level"),
    ('[retention]\nmax_aeg = "1d"', "unknown key 'retention.max_aeg'", "did you mean 'max_age'?"),
    ("[retentoin]\nmax_age = 1", "unknown key 'retentoin'", "did you mean 'retention'?"),
    ("heartbeat_sec = 0", "heartbeat_sec: 0 is below 0.05", "write 0.05 or more"),
    ("heartbeat_sec = -5", "heartbeat_sec: -5 is below 0.05", "write 0.05 or more"),
    ("heartbeat_sec = 1e-9", "heartbeat_sec: 1e-09 is below 0.05", "write 0.05 or more"),
    ('heartbeat_sec = "often"', "heartbeat_sec: 'often' is not a number", "write a number"),
    ("heartbeat_sec = true", "heartbeat_sec: true is not a number", "write a number"),
    ("heartbeat_sec = nan", "heartbeat_sec: nan is not a number", "write a number"),
    ("heartbeat_sec = inf", "heartbeat_sec: inf is not a number", "write a number"),
    ('log_level = "LOUD"', "log_level: 'LOUD' is none of DEBUG, INFO, WARNING, ERROR", "write one of them"),
    ("log_level = 3", "log_level: 3 is not a text", "quotes"),
    ('synchronous = "OFF"', "synchronous: 'OFF' is none of NORMAL, FULL", "write one of them"),
    ('stall_timeout = "none"', "stall_timeout: 'none' is not possible here", "write 500ms, 30s, 10m or 1h30m"),
    ('drain_timeout = " None"', "drain_timeout: ' None' is not possible here", "write 500ms, 30s, 10m or 1h30m"),
    ('heartbeat_sec = "none"', "heartbeat_sec: 'none' is not possible here", "write a number"),
    ('drain_timeout = "soon"', "drain_timeout: 'soon' is not a duration", "write 500ms"),
    ("drain_timeout = 0", "drain_timeout", "write 500ms"),
    ("drain_timeout = [1]", "drain_timeout: [1] is not a number", "write a number"),
    ("[retention]\nmax_age = -1", "retention.max_age", "write 500ms"),
    ('[retention]\nmax_size = "big"', "retention.max_size: 'big' is not a size", "write 500k"),
    ("[retention]\nmax_size = 0", "retention.max_size", "write 500k"),
    ("[retention]\nmax_size = false", "retention.max_size: false is not a number", "write a number"),
    ("[retention]\npayload_days = 0", "retention.payload_days", "larger"),
    ("[retention]\npayload_days = '1d'", "retention.payload_days: '1d' is not a number", "write a number"),
    ("retention = 5", "retention: 5 is not a table", "[retention]"),
    ("sources = 5", "sources: 5 is not a table", ""),
    ("[sources]\ndocker = 5", "sources", ""),
    ("heartbeat_sec = ", "is not TOML", "config schema"),
    ("[retention\n", "is not TOML", "config schema"),
]


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED, ids=[text.replace("\n", " ") for text, _, _ in REFUSED])
def test_what_is_not_legal_is_refused_with_file_place_value_and_remedy(
    home: Path, text: str, message: str, hint: str
) -> None:
    path = written(home, text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.message.startswith(str(path))
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_all_that_is_wrong_is_known_at_once() -> None:
    """`config validate` names everything, not the first thing."""
    found = problems({"heartbeat_sec": 0, "typo": 1, "retention": {"max_age": "x", "oops": 2}})
    assert [one.place for one in found] == ["heartbeat_sec", "typo", "retention.max_age", "retention.oops"]
    assert problems({}) == []


def test_a_file_that_cannot_be_read_is_named(home: Path) -> None:
    path = written(home, "")
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=f"{path} cannot be read: Is a directory"):
        load(path, {})
    path.rmdir()
    path.write_bytes(b"log_level = '\xff'")
    with pytest.raises(ConfigError, match=f"{path} is not UTF-8"):
        load(path, {})


@pytest.mark.parametrize("text", ["heartbeat_sec = " + "9" * 5000, "x = " + "[" * 50_000], ids=["digits", "brackets"])
def test_what_python_does_not_read_is_no_bug(home: Path, text: str) -> None:
    """Nor is it in the way of an emit, which looks at one key only."""
    path = written(home, text)
    with pytest.raises(ConfigError, match=f"{path} has a number or a nesting that is longer than anybody reads"):
        load(path, {})
    assert emit(EventInsert(source="agent", event_type="x")).inserted


def test_the_file_is_the_one_of_the_configuration_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(home, "heartbeat_sec = 7")
    assert load(environment={}).heartbeat_sec == 7.0
    monkeypatch.setenv("WAITBUS_CONFIG_DIR", str(home / "elsewhere"))
    assert load(environment={}).heartbeat_sec == 60.0


def test_keys_of_0_2_are_left_aside(home: Path) -> None:
    """A file that both programs read is no reason to fail."""
    text = "".join(f"{key} = 1\n" for key in sorted(config.OF_OLD)) + "heartbeat_sec = 7\n"
    assert load(written(home, text), {}).heartbeat_sec == 7.0


# -- the environment ---------------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file(home: Path) -> None:
    path = written(home, 'heartbeat_sec = 7\nlog_level = "ERROR"\nsynchronous = "FULL"')
    found = load(path, {"WAITBUS_HEARTBEAT_SEC": "0.5", "WAITBUS_LOG_LEVEL": "debug"})
    assert (found.heartbeat_sec, found.log_level, found.synchronous) == (0.5, "DEBUG", "FULL")
    assert load(path, {"WAITBUS_HEARTBEAT_SEC": "", "WAITBUS_LOG_LEVEL": ""}).heartbeat_sec == 7.0


def test_the_environment_is_read_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_HEARTBEAT_SEC", "3")
    assert load().heartbeat_sec == 3.0
    monkeypatch.delenv("WAITBUS_HEARTBEAT_SEC")
    assert load().heartbeat_sec == 60.0


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WAITBUS_HEARTBEAT_SEC", value) for value in ("soon", "0", "0.049", "-1", "nan", "inf", "1e999", "60s", " ")]
    + [("WAITBUS_LOG_LEVEL", value) for value in ("LOUD", "3", " ")],
)
def test_a_variable_that_is_not_legal_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Path(os.devnull), {variable: value})
    assert caught.value.message.startswith(variable)
    assert value.strip() in caught.value.message
    assert caught.value.hint


def test_every_variable_has_a_setting() -> None:
    names = {field.name for field in attrs.fields(Config)}
    assert set(config.ENVIRONMENT.values()) <= names


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([field.name for field in attrs.fields(Config)]) | st.text(max_size=8)


@given(st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=3), max_size=4))
def test_no_table_gets_another_error_than_a_typed_one(table: dict[str, Any]) -> None:
    """Whatever TOML can say is either legal or a problem with a place and a remedy."""
    found = problems(table)
    if not found:
        assert isinstance(config.structured(table, "file"), Config)
        return
    with pytest.raises(ConfigError, match=r"^file: ") as caught:
        config.structured(table, "file")
    assert caught.value.hint
    assert all(one.message and one.hint for one in found)


# -- tables of others --------------------------------------------------------------------------------------------------


def _not_negative(_: object, __: object, value: float) -> None:
    if value < 0:
        raise InvalidValue("below nothing", hint="write more")


@attrs.frozen(kw_only=True)
class Everything:
    """A setting of each kind that a source may have."""

    needed: str = attrs.field(metadata={"about": "What it needs."})
    flag: bool = False
    whole: int = 0
    whole_or_none: int | None = None
    text_or_none: str | None = None
    texts: tuple[str, ...] = ()
    words: dict[str, str] = attrs.field(factory=dict)
    wait: config.Seconds = attrs.field(default=config.Seconds(1.0))
    pause: config.Seconds = attrs.field(default=config.Seconds(1.0), validator=_not_negative)
    mode: str = attrs.field(default="fast", validator=attrs.validators.in_(("fast", "slow")))
    odd: set[int] = attrs.field(factory=set)


OTHERS: list[tuple[dict[str, Any], Any]] = [
    ({"flag": True}, True),
    ({"whole": 3}, 3),
    ({"whole_or_none": "none"}, None),
    ({"text_or_none": "a"}, "a"),
    ({"text_or_none": "none"}, None),
    ({"texts": ["a", "b"]}, ("a", "b")),
    ({"texts": "a"}, ("a",)),
    ({"words": {"a": "b"}}, {"a": "b"}),
    ({"wait": "2m"}, 120.0),
    ({"pause": 0}, 0.0),
    ({"pause": "0s"}, 0.0),
    ({"mode": "SLOW"}, "slow"),
]


@pytest.mark.parametrize(("given_", "value"), OTHERS, ids=[str(row[0]) for row in OTHERS])
def test_a_setting_of_each_kind_is_read(given_: dict[str, Any], value: Any) -> None:
    found: list[config.Problem] = []
    made = config.table_of(Everything, {"needed": "x", **given_}, "sources.x", found)
    assert (getattr(made, next(iter(given_))), found) == (value, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"flag": "true"}, {"flag": 1}, {"whole": 1.5}, {"whole": True}, {"whole": "1"}, {"whole_or_none": "no"},
        {"text_or_none": 3}, {"texts": [1]}, {"texts": {}}, {"texts": 1}, {"words": {"a": 1}}, {"words": []},
        {"wait": 0}, {"wait": "none"}, {"pause": -1}, {"pause": False}, {"mode": "medium"}, {"odd": 3}, {"needed": []},
        {"needed": "x", "nothing": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_of_each_kind_is_refused_with_its_place(wrong: dict[str, Any]) -> None:
    found: list[config.Problem] = []
    assert config.table_of(Everything, {"needed": "x", **wrong}, "sources.x", found) is None
    (problem,) = found
    assert problem.place == f"sources.x.{list(wrong)[-1]}"
    assert problem.place in problem.message
    assert problem.hint


def test_a_setting_that_is_needed_is_missed() -> None:
    found: list[config.Problem] = []
    assert config.table_of(Everything, {}, "sources.x", found) is None
    assert found == [("sources.x.needed", "sources.x.needed is not given", "write needed = ..., what it needs")]
