"""Every row of tests/bad_input.toml: the two sentences it gives, its exit code, and that it leaves nothing behind."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import socket
import struct
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

import waitbus
from tests import bus, support
from waitbus.cli import lazy, main
from waitbus.config import Config, RetentionTable, settings
from waitbus.events import make_event_id
from waitbus.store import Log, shared

TABLE = tomllib.loads((Path(__file__).parents[1] / "bad_input.toml").read_text(encoding="utf-8"))
ROWS: list[dict[str, Any]] = TABLE["input"]
FRAMES: list[dict[str, Any]] = TABLE["frame"]
CODES = {2, 69, 74, 126, 127}
"""Those of docs/CONTRACTS.md that bad input can have."""
OWN_FILES = re.compile(
    r"s/(events\.(db(-wal|-shm)?|lock)|no-daemon-said|declared/[0-9a-f]{8}\.json)|(s|r+)/(daemon|events)\.lock|[cw]/plugins\.lock"
)
"""What looking at the log makes, and what holds no event."""

Call = Callable[..., support.Result]


def label(row: dict[str, Any]) -> str:
    given = " ".join(f"{name}={value}" for name, value in row.get("env", {}).items())
    asked = row.get("stdin") or next(iter(row.get("files", {}).values()), "")
    return " ".join(part for part in (given, row["argv"], asked) if part)[:90]


# -- the table ---------------------------------------------------------------------------------------------------------


def test_the_table_has_what_was_promised() -> None:
    """Every row once, and no fewer than were promised: 120."""
    assert len(ROWS) + len(FRAMES) >= 450
    keys = [json.dumps({key: row[key] for key in row if key not in ("error", "hint")}, sort_keys=True) for row in ROWS]
    assert sorted(keys) == sorted(set(keys))


ANY_VALUE = {"--summary", "--from", "--body", "--thread", "--correlation-id"}
"""Options that take any text; what is wrong with it is looked at by tests/test_events.py."""
NO_VARIABLE = re.compile("WAITBUS_(EVENT_.*|SOURCE|OWNER|REPO|HEAD_SHA|STATUS|CONCLUSION|VERDICT|SUMMARY|COMPLETE)")
"""What `on` gives its command, and what a shell gives us."""
ANY_WORD = {"WAITBUS_PLUGINS", "WAITBUS_DISABLE_SOURCE_AUTOLOAD", "WAITBUS_PYTEST", "WAITBUS_OFFLINE"}
"""Variables of which no value is wrong."""


def test_nothing_is_left_out() -> None:
    """Each command, each option that takes a value, each variable and each setting is met with something bad."""
    commands = dict(lazy.iter_commands())
    lines = [f"waitbus {row['argv']} " for row in ROWS]
    assert [name for name in commands if not any(line.startswith(f"{name} ") for line in lines)] == []
    params = [param for command in commands.values() for param in command.params if isinstance(param, click.Option)]
    options = {max(param.opts, key=len) for param in params if not param.is_flag and not param.hidden}
    words = {word.partition("=")[0] for line in lines for word in line.split()}
    assert sorted(options - words - ANY_VALUE) == []
    code = " ".join(path.read_text() for path in Path(waitbus.__file__).parent.rglob("*.py"))
    variables = {name for name in re.findall(r"\bWAITBUS_[A-Z_]+[A-Z]", code) if not NO_VARIABLE.fullmatch(name)}
    assert sorted(variables - ANY_WORD - {name for row in ROWS for name in row.get("env", {})}) == []
    files = " ".join(text for row in ROWS for text in row.get("files", {}).values())
    assert [name for name in (*settings(Config), *settings(RetentionTable)) if name not in files] == []


@pytest.mark.parametrize("row", ROWS, ids=map(label, ROWS))
def test_its_sentences_are_of_the_house(row: dict[str, Any]) -> None:
    """What, with the value; then what to do. Both are sentences: one line, lower case, no full stop."""
    for text in (row["error"], row["hint"]):
        assert text == text.strip()
        assert text
        assert "\n" not in text
        assert not text.endswith(".") or text.endswith("..."), text
        assert not re.match(r"[A-Z][a-z]", text) or text.startswith("SQLite says"), text
    for word in (
        "valid integer",
        "illegal",
        "Traceback",
        "NoneType",
        "errno",
        "None ",
        "codec",
        "argument (",
        "range x",
    ):
        assert word not in row["error"], row["error"]


# -- in this process ---------------------------------------------------------------------------------------------------


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, and the process's logging as it was."""
    folder = home / "w"
    folder.mkdir()
    monkeypatch.chdir(folder)
    logger = logging.getLogger("waitbus")
    before = logger.handlers[:], logger.propagate, logger.level
    yield folder
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


@contextmanager
def stdin(data: bytes) -> Iterator[None]:
    """Descriptor 0 reads `data`."""
    kept = os.dup(0)
    try:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            os.dup2(file.fileno(), 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def left(home: Path) -> dict[str, bytes | None]:
    """Everything below `home` that is no folder and no file that looking at the log makes."""
    found = {str(path.relative_to(home)): path for path in home.rglob("*") if not path.is_dir()}
    return {
        name: path.read_bytes() if path.is_file() else None
        for name, path in found.items()
        if not OWN_FILES.fullmatch(name)
    }


def rows(home: Path) -> list[Any]:
    path = home / "s" / "events.db"
    if not path.exists() or not path.read_bytes().startswith(b"SQLite"):
        return []
    with Log(path) as log:
        return list(log.page(0).rows)


def filled(text: str, row: dict[str, Any], home: Path) -> str:
    """`HOME` is the folder of the test, `LONG` what `long` says, `UNKNOWN` an id that the log never had."""
    text = text.replace("HOME", str(home)).replace(
        "LONG", row.get("long", {}).get("text", "") * row.get("long", {}).get("times", 0)
    )
    if "UNKNOWN" in text:
        facts = shared().facts()
        text = text.replace("UNKNOWN", make_event_id(facts.last_at_ms, facts.tag, 99))
    return text


def prepared(row: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if row.get("log"):
        assert main(["emit", "deploy", "-q"], standalone=False) == 0
    for name, text in row.get("files", {}).items():
        file = home / "w" / name
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_bytes(bytes.fromhex(text) if row.get("hex") else filled(text, row, home).encode())
    for name, value in row.get("env", {}).items():
        monkeypatch.setenv(name, filled(value, row, home))


def said(row: dict[str, Any], err: str, home: Path) -> tuple[str, str]:
    """The error and the hint, which are all that is said, besides what is said of the daemon."""
    err = re.sub(
        r"has \d+ bytes; the kernel takes \d+", "has N bytes; the kernel takes N", err.replace(str(home), "HOME")
    )
    lines = [line for line in err.splitlines() if not line.startswith("waitbus: ")]
    if row.get("json"):
        (line,) = lines
        found = json.loads(line)
        assert set(found) == {"error", "hint", "exit_code"}
        return found["error"], found["hint"]
    error, hint = lines
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


@pytest.mark.parametrize("row", ROWS, ids=map(label, ROWS))
@pytest.mark.timeout(20)
def test_bad_input(
    row: dict[str, Any], home: Path, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly these sentences, this exit code, no talk on stdout, no event, and no file that was not there."""
    prepared(row, home, monkeypatch)
    argv = shlex.split(filled(row["argv"], row, home))
    want = tuple(filled(row[key], row, Path("HOME")) for key in ("error", "hint"))
    before, events = left(home), rows(home)
    capfd.readouterr()
    with stdin(filled(row.get("stdin", ""), row, home).encode()):
        code = main(argv, standalone=False)
    out, err = capfd.readouterr()
    assert said(row, err, home) == want
    assert (code, out) == (row.get("exit", 2), row.get("out", ""))
    assert code in CODES
    assert rows(home) == events
    assert left(home) == before


# -- on the socket -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def daemon() -> Iterator[bus.Daemon]:
    with tempfile.TemporaryDirectory(prefix="wb-") as folder, bus.daemon(Path(folder)) as made:
        yield made


def sent(frame: dict[str, Any]) -> bytes:
    """`body`: text that is framed; `bytes`: as they are, in hexadecimal digits; `times` repeats either."""
    times = frame.get("times", 1)
    if "bytes" in frame:
        return bytes.fromhex(frame["bytes"]) * times
    body = (frame["body"] * times).encode()
    return struct.pack(">I", len(body)) + body


@pytest.mark.parametrize("frame", FRAMES, ids=[(frame.get("body") or frame["bytes"])[:60] for frame in FRAMES])
def test_bad_frame(frame: dict[str, Any], daemon: bus.Daemon) -> None:
    """EOF and not a word, or the one refusal of protocol 1; and the daemon serves the next one."""
    with daemon.connect() as wire:
        try:
            wire.socket.sendall(sent(frame))
            wire.socket.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, OSError):
            pass  # refused before all of it was sent
        try:
            answer = wire.rest()
        except ConnectionResetError:
            answer = []  # EOF, with bytes of ours unread
    kinds = [(one["kind"], one.get("reason"), one.get("supported")) for one in answer]
    assert kinds == {"eof": [], "version": [("subscribe_rejected", "version", [1])]}[frame["answer"]]
    with daemon.subscribe() as wire:
        assert wire.frames(1)[0]["kind"] == "subscribe_ack"
