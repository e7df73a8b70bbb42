"""`waitbus emit`: what is written, what is printed, and what is refused without a trace."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import schemas, support
from waitbus import wire
from waitbus.cli import batch, spelling
from waitbus.events import EventFrame
from waitbus.sources import known_sources
from waitbus.store import Log

Call = Callable[..., support.Result]

TIME_HINT = "write now, 2025-01-31T12:00:00Z, 2025-01-31, or seconds or nanoseconds since 1970"
FLAT_HINT = "a field is a string, a number, true, false, or a list of those; deeper things belong in payload_json"
OWN_HINT = 'facts of your own stand in "fields"'
OBJECT_HINT = 'as in {"event_type": "deploy_finished", "conclusion": "success"}'
PAYLOAD_HINT = 'write JSON, as in {"version": "1.4.2"}'
RUN_ID_HINT = "give the number that run_id has upstream, from 1 on"
NS_HINT = "time.time_ns() gives one; seconds and milliseconds are too small"
NO_KEY = "Expecting property name enclosed in double quotes"
NAME_HINT = "a name is a-z, then a-z, 0-9 and _, as in deploy_finished"


def written(log: Log) -> list[EventFrame]:
    return [wire.frame_of_row(row, log.tag) for row in log.page(0).rows]


def masked(text: str) -> str:
    return re.sub(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b", "ID", text)


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_an_emit_is_one_line(call: Call) -> None:
    """The line as people were promised it, but for the facts of the writer's own that the line shows besides."""
    done = call(
        "emit", "deploy_finished", "--conclusion", "success", "--field", "env=staging", "--field", "version=1.4.2"
    )
    assert masked(done.out) == "ID  deploy_finished  success  env=staging version=1.4.2\n"
    assert (done.code, done.err) == (0, "")


def test_the_whole_command_leaves_a_committed_row_and_one_line(cli: Call, log: Log) -> None:
    """As a process of its own, which leaves without closing the log."""
    done = cli("emit", "deploy_finished", "--conclusion", "success")
    assert (masked(done.out), done.err, done.code) == ("ID  deploy_finished  success\n", "", 0)
    (event,) = written(log)
    assert done.out.startswith(event.event_id)
    assert (event.source, event.event_type, event.owner, event.repo) == ("agent", "deploy_finished", "local", "agent")


def test_json_has_the_keys_of_0_2_and_ours(call: Call, log: Log) -> None:
    done = call(
        "emit", "workflow_run", "--source", "github", "--owner", "octo", "--repo", "hello", "--status", "completed",
        "--conclusion", "failure", "--field", "run_id=77", "--field", "head_sha=1234567", "--payload-json", '{"a": [1]}',
        "--json",
    )  # fmt: skip
    said = schemas.checked("emit", done.out)
    event = said["event"]
    assert said["inserted"] is True
    assert [*event][:15] == [
        *("event_id", "delivery_id", "source", "event_type", "owner", "repo", "received_at", "payload_json"),
        *("ingest_method", "run_id", "workflow_name", "head_branch", "head_sha", "status", "conclusion"),
    ]
    assert (event["run_id"], event["head_sha"], event["payload_json"]) == (77, "1234567", '{"a": [1]}')
    assert (event["msg_body"], event["seq"], event["fields"]["conclusion"]) == (None, 1, "failure")
    assert written(log)[0].event_id == event["event_id"]


def test_a_cloudevent_is_one(call: Call) -> None:
    done = call(
        "emit", "deploy", "--received-at", "2025-01-31T12:00:00Z", "--format", "cloudevent", "--payload-json", "[1]"
    )
    event = schemas.checked("cloudevent", done.out)
    assert event["source"] == "urn:waitbus:source:agent"
    assert event["time"] == "2025-01-31T12:00:00.000000Z"
    assert event["data"]["payload_json"] == "[1]"


def test_a_known_delivery_id_prints_the_first_event_and_writes_nothing(call: Call, log: Log) -> None:
    first = call("emit", "a", "--delivery-id", "d", "--payload-json", "[1]")
    again = call("emit", "b", "--delivery-id", "d", "--json")
    said = json.loads(again.out)
    assert (again.code, said["inserted"]) == (0, False)
    assert (said["event"]["event_type"], said["event"]["payload_json"]) == ("a", "[1]")
    assert first.out.startswith(said["event"]["event_id"])
    assert again.err == (
        "delivery id 'd' is in the log already: nothing was written, this is the first event with it\n"
    )
    assert call("emit", "b", "--delivery-id", "d", "-q").err == ""
    assert len(written(log)) == 1


def test_messages_have_their_options(call: Call, log: Log) -> None:
    call(
        "emit", "agent_message", "--to", "bob", "--from", "al", "--body", "hi", "--thread", "t", "--correlation-id", "c"
    )
    assert {key: value for key, value in written(log)[0].fields.items() if key.startswith("msg_")} == {
        "msg_to": "bob", "msg_from": "al", "msg_body": "hi", "msg_thread": "t", "msg_correlation_id": "c",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=1", 1),
        ("n=-1.50", -1.5),
        ("n=1e3", "1e3"),
        ("n=true", True),
        ("n=NaN", "NaN"),
        ('n="1"', "1"),
        ("n=", ""),
        ("n=a=b", "a=b"),
        ("head_sha=1234567", "1234567"),
        ("n={}", "{}"),
    ],
)
def test_the_value_of_a_field_is_read_as_in_a_term(call: Call, log: Log, text: str, value: Any) -> None:
    assert call("emit", "a", "--field", text).code == 0
    stored = written(log)[0].fields[text.partition("=")[0]]
    assert (stored, type(stored)) == (value, type(value))


def test_a_field_that_is_null_is_absent(call: Call, log: Log) -> None:
    call("emit", "a", "--field", "x=null")
    assert "x" not in written(log)[0].fields


@pytest.mark.parametrize("given", ["@body.json", "-", "@-"])
def test_a_payload_comes_from_a_file_or_from_stdin(cli: Call, log: Log, home: Path, given: str) -> None:
    (home / "body.json").write_text('{"big": "ü"}')
    assert cli("emit", "a", "--payload-json", given, input='{"big": "ü"}', cwd=home).code == 0
    assert log.payload(1) == '{"big": "ü"}'


def test_another_log(call: Call, home: Path) -> None:
    (home / "elsewhere").mkdir(mode=0o700)
    assert call("emit", "a", "--db", str(home / "elsewhere" / "e.db"), "--json").code == 0
    assert len(written(Log(home / "elsewhere" / "e.db"))) == 1
    assert not (home / "s").exists()


def test_a_source_that_nobody_declared_is_legal_and_a_near_miss_is_told(call: Call) -> None:
    assert call("emit", "a", "--source", "my_deploys").err == ""
    done = call("emit", "a", "--source", "pytset")
    assert (done.code, done.err) == (
        0,
        "warning: no source 'pytset' is known here; did you mean 'pytest'? Written anyway.\n",
    )


def test_the_names_beside_the_declarations_are_the_declared() -> None:
    assert sorted(spelling.BUILT_IN) == sorted(known_sources())


def test_hostile_text_is_neutral_for_people_and_faithful_in_json(call: Call, log: Log) -> None:
    evil = "a\x1b[2J\u202eb\U000e0041\nc"
    done = call("emit", "a", "--summary", evil, "--field", f"k={evil}")
    assert done.out.count("\n") == 1
    assert all(character.isprintable() for character in done.out.rstrip("\n"))
    said = json.loads(call("emit", "b", "--field", f"k={evil}", "--json").out)
    assert said["event"]["fields"]["k"] == evil
    assert written(log)[0].fields["k"] == evil


def test_bytes_that_are_no_utf_8_are_written_as_replacements(cli: Call, log: Log) -> None:
    done = support.run([*support.WAITBUS, "emit", "a", "--summary", b"x\xff".decode("utf-8", "surrogateescape")])
    assert done.code == 0
    assert written(log)[0].summary.startswith("x")


def test_it_wakes_who_waits(spawn: Callable[..., Any], cli: Call) -> None:
    """Through the log and a bell; no daemon."""
    tap = spawn("broadcast", "tap", "--count", "1", "--text")
    support.read_until(tap.stderr, "armed")
    event_id = cli("emit", "a", "--conclusion", "success").out.split()[0]
    assert tap.stdout.readline() == f"{event_id}  a  success\n"
    assert tap.wait(timeout=10) == 0


def test_a_removed_folder_is_no_bug(cli: Call, home: Path) -> None:
    (home / "gone").mkdir()
    script = f"cd {home}/gone && rmdir ../gone && {' '.join(support.WAITBUS)} emit a"
    done = support.run(["bash", "-c", script], env={"PYTHONPATH": str(Path(__file__).parents[2])})
    assert (done.code, masked(done.out)) == (0, "ID  a\n")


# -- start-up ----------------------------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported(cli: Call) -> None:
    """The one command that a script calls in a loop."""
    script = (
        "import sys; from waitbus.cli import main;"
        "main(['emit', 'a', '--field', 'n=1', '--conclusion', 'failure'], standalone=False);"
        "print(*sorted({'trio', 'anyio', 'cattrs', 'platformdirs', 'tomllib', 'asyncio', 're2', 'difflib', 'logging', 'random',"
        " 'tempfile', 'subprocess', 'waitbus.sources', 'waitbus.client', 'waitbus.wire', 'waitbus.config'} & {*sys.modules}))"
    )
    done = support.run([support.PYTHON, "-c", script])
    assert done.out.splitlines()[1:] == [""]


# -- batch -------------------------------------------------------------------------------------------------------------


def test_a_batch_is_written_whole_and_answered_line_by_line(cli: Call, log: Log) -> None:
    lines = [
        '{"event_type": "a", "conclusion": "success", "fields": {"env": "x"}, "head_sha": "abc"}',
        "",
        '{"event_type": "b", "source": "ci", "delivery_id": "d", "received_at": "2025-01-31", "payload_json": {"x": [1]}}',
        '{"event_type": "c", "delivery_id": "d"}',
    ]
    done = cli("emit", "--batch", "-", "--json", input="\n".join(lines))
    first, second, third = schemas.lines("emit", done.out)
    assert (done.code, done.err) == (0, "2 written, 1 in the log already\n")
    assert (first["event"]["source"], first["event"]["head_sha"], first["event"]["fields"]["env"]) == (
        "agent",
        "abc",
        "x",
    )
    assert (second["event"]["received_at"], second["event"]["payload_json"]) == (1738281600 * 10**9, '{"x": [1]}')
    assert (third["inserted"], third["event"]["event_type"]) == (False, "b")
    assert [event.event_type for event in written(log)] == ["a", "b"]


def test_a_batch_of_many_is_one_transaction_and_one_ring(cli: Call, log: Log, home: Path) -> None:
    (home / "many").write_text('{"event_type": "a"}\n' * 2_000)
    done = cli("emit", "--batch", str(home / "many"), "--source", "ci", "-q")
    assert (done.code, done.out.count("\n"), done.err) == (0, 2_000, "")
    assert (log.head(), {row.source for row in log.page(0).rows}) == (2_000, {"ci"})


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("{", f"is not JSON: {NO_KEY}: line 2 column 1 (char 2)", "a batch has one JSON object on each line"),
        ("[]", "is no JSON object", OBJECT_HINT),
        ("null", "is no JSON object", OBJECT_HINT),
        ("{}", "has no event_type", '{"event_type": "deploy_finished"} is the least of an event'),
        ('{"event_typ": "a"}', "has the unknown key 'event_typ'", f"did you mean 'event_type'? {OWN_HINT}"),
        ('{"event_type": "a", "env": 1}', "has the unknown key 'env'", OWN_HINT),
        ('{"event_type": "A"}', ": event_type 'A' is not a name", NAME_HINT),
        ('{"event_type": 1}', ": event_type 1 is not a name", NAME_HINT),
        ('{"event_type": "a", "run_id": "7"}', ": run_id '7' is not a positive integer", RUN_ID_HINT),
        ('{"event_type": "a", "fields": [1]}', ": fields is no JSON object", 'as in {"env": "staging"}'),
        ('{"event_type": "a", "fields": {"x": {}}}', ": fields.x {} is not flat", FLAT_HINT),
        ('{"event_type": "a", "received_at": "soon"}', ": received_at 'soon' is not a time", TIME_HINT),
        ('{"event_type": "a", "received_at": 5}', ": received_at 5 is not a time in ns since the epoch", NS_HINT),
        ('{"event_type":"a","payload_json":"{"}', f": payload_json is not JSON: {NO_KEY}: line 1 column 2 (char 1)",
         PAYLOAD_HINT),
        ('{"event_type": "a", "summary": 5}', ": summary 5 is not a text", "give summary a string, or leave it away"),
        ("[" * 100_000, "is nested too deeply", "flatten it"),
    ],
)  # fmt: skip
def test_a_line_that_is_wrong_is_named_and_nothing_is_written(
    call: Call, home: Path, line: str, error: str, hint: str
) -> None:
    (home / "batch").write_text('{"event_type": "good"}\n\n' + line + "\n")
    done = call("emit", "--batch", str(home / "batch"))
    where = f"{home}/batch, line 3"
    said = f"{where}{error}" if error.startswith(":") else f"{where} {error}"
    first, second = done.err.splitlines()
    assert (done.code, done.out, second) == (2, "", f"hint: {hint}")
    assert first.split(": line ")[0] == f"error: {said}".split(": line ")[0]
    assert not (home / "s").exists()


def test_bytes_that_are_no_utf_8_are_named(call: Call, home: Path) -> None:
    (home / "batch").write_bytes(b'{"event_type": "\xff"}')
    done = call("emit", "--batch", str(home / "batch"))
    assert done.err == f"error: {home}/batch, line 1 is not UTF-8: invalid start byte\nhint: save it as UTF-8\n"


def test_a_batch_is_bounded(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the bytes of a line, so that a file without an end of line does not fill the memory, and in events."""
    monkeypatch.setattr(batch, "LINE_MAX", 30)
    monkeypatch.setattr(batch, "EVENTS_MAX", 2)
    (home / "long").write_text('{"event_type": "a"}\n' + "x" * 31)
    done = call("emit", "--batch", str(home / "long"))
    assert done.err == f"error: {home}/long, line 2 has more than 30 bytes\nhint: one event a line\n"
    (home / "many").write_text('{"event_type": "a"}\n' * 3)
    done = call("emit", "--batch", str(home / "many"))
    assert done.err == (
        f"error: {home}/many has more than 2 events\nhint: emit it in parts: each batch is one transaction\n"
    )
    assert not (home / "s").exists()


def test_an_empty_batch_is_fine(cli: Call) -> None:
    assert cli("emit", "--batch", "-", input="\n") == (0, "", "0 written\n")


# -- refused -----------------------------------------------------------------------------------------------------------

FILE_HINT = "give the name of a file, or - for stdin"
FIELD_HINT = "write --field KEY=VALUE, as in env=staging"
BATCH_HINT = "each line of a batch says all of its event; only --source is a default"
BAD: list[tuple[list[str], str, str]] = [
    ([], "no event type is given", "write it behind emit: waitbus emit deploy_finished"),
    (["a", "b"], "'b' is one word too many", "write waitbus emit [OPTIONS] [TYPE]; quote what has blanks in it"),
    (["a", "--event-type", "b"], "two event types are given, 'a' and 'b'", "leave --event-type out"),
    ([""], "event_type '' is not a name", NAME_HINT),
    (["Deploy"], "event_type 'Deploy' is not a name", NAME_HINT),
    (["deploy-finished"], "event_type 'deploy-finished' is not a name", NAME_HINT),
    (["a\n"], "event_type 'a\\n' is not a name", NAME_HINT),
    (["a" * 65], f"event_type '{'a' * 65}' has 65 characters", "shorten it to 64"),
    (["a", "--source", ""], "source '' is not a name", NAME_HINT),
    (["a", "--source", "my source"], "source 'my source' is not a name", NAME_HINT),
    (["a", "--owner", ""], "owner is empty", "give owner a value, or leave it out"),
    (["a", "--repo", ""], "repo is empty", "give repo a value, or leave it out"),
    (["a", "--repo", "x" * 201], "repo has 201 characters", "shorten it to 200"),
    (["a", "--status", ""], "status is empty", "give status a value, or leave it out"),
    (["a", "--conclusion", "x" * 65], "conclusion has 65 characters", "shorten it to 64"),
    (["a", "--delivery-id", ""], "delivery_id is empty", "give delivery_id a value, or leave it out"),
    (["a", "--delivery-id", "x" * 513], "delivery_id has 513 characters", "shorten it to 512"),
    (["a", "--ingest-method", ""], "ingest_method is empty", "give ingest_method a value, or leave it out"),
    (["a", "--received-at", "soon"], "--received-at 'soon' is not a time", TIME_HINT),
    (["a", "--received-at", "nan"], "--received-at 'nan' is not a time", TIME_HINT),
    (["a", "--received-at", "-1"], "--received-at '-1' is not a time", TIME_HINT),
    (["a", "--received-at", "5"], "--received-at '5' lies outside of 1970 to 2262", TIME_HINT),
    (["a", "--received-at", "2025-02-30"], "--received-at '2025-02-30' is not a time", TIME_HINT),
    (["a", "--field", "env"], "--field 'env' has no =", FIELD_HINT),
    (["a", "--field", "=x"], "--field '=x' has no key", FIELD_HINT),
    (["a", "--field", ""], "--field '' has no key", FIELD_HINT),
    (["a", "--field", "status=x"], "--field 'status=x': status has an option of its own", "write --status x"),
    (["a", "--field", "event_type=x"], "--field 'event_type=x': event_type has an option of its own", "write --event-type x"),
    (["a", "--field", "fields.source=x"], "--field 'fields.source=x': source has an option of its own", "write --source x"),
    (["a", "--field", "fields.env=x"], "--field 'fields.env=x' begins with 'fields.'", "write --field env=x"),
    (["a", "--field", "e=1", "--field", "e=2"], "--field e is given twice", "a field has one value"),
    (["a", "--field", "msg_to=b", "--to", "c"], "--field msg_to and --to are the same", "leave one of them out"),
    (["a", "--field", "run_id=abc"], "run_id 'abc' is not a positive integer", RUN_ID_HINT),
    (["a", "--field", "run_id=-1"], "run_id -1 is not a positive integer", RUN_ID_HINT),
    (["a", "--payload-json", "{"], f"payload_json is not JSON: {NO_KEY}: line 1 column 2 (char 1)", PAYLOAD_HINT),
    (["a", "--payload-json", "NaN"], "payload_json is not JSON: NaN is no JSON number", PAYLOAD_HINT),
    (["a", "--payload-json", "@/nowhere"], "--payload-json '/nowhere' cannot be read: No such file or directory", FILE_HINT),
    (["a", "--payload-json", "@/"], "--payload-json '/' cannot be read: Is a directory", FILE_HINT),
    (["a", "--batch", "f"], "--batch and an event type are given", BATCH_HINT),
    (["--event-type", "a", "--batch", "f"], "--batch and an event type are given", BATCH_HINT),
    (["--batch", "f", "--field", "a=1"], "--batch and --field are given", BATCH_HINT),
    (["--batch", "f", "--to", "bob"], "--batch and --to are given", BATCH_HINT),
    (["--batch", "f", "--delivery-id", "d"], "--batch and --delivery-id are given", BATCH_HINT),
    (["--batch", "/nowhere"], "--batch '/nowhere' cannot be read: No such file or directory", FILE_HINT),
    (["--batch", ""], "--batch '' cannot be read: No such file or directory", FILE_HINT),
    (["a", "--db", ""], "--db '' is not the name of a file", "give the file of a log, or leave it out"),
    (["a", "--format", "xml"], "--format 'xml' is not one of 'text', 'json', 'cloudevent'", "see `waitbus emit --help`"),
    (["a", "--text", "--format", "cloudevent"], "--text and --format cloudevent are two forms", "leave one of them out"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "error", "hint"), BAD, ids=[repr(argv)[:60] for argv, _, _ in BAD])
def test_bad_input_is_two_lines_and_writes_nothing(
    call: Call, home: Path, argv: list[str], error: str, hint: str
) -> None:
    done = call("emit", *argv)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {error}\nhint: {hint}\n"
    assert not (home / "s").exists()


def test_under_json_an_error_is_an_object(call: Call) -> None:
    for asked in (["--json"], ["--format", "json"]):
        done = call("emit", "A", *asked)
        assert json.loads(done.err) == {"error": "event_type 'A' is not a name", "hint": NAME_HINT, "exit_code": 2}


def test_a_log_that_cannot_be_opened_is_74(call: Call, home: Path) -> None:
    (home / "file").touch()
    done = call("emit", "a", "--db", str(home / "file" / "log"))
    assert done.code == 74
    assert done.err.startswith(f"error: the log {home}/file/log ")
