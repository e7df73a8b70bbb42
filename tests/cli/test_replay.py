"""`waitbus replay`, `cursor` and `bookmark`: what is in the log, up to its end, and why where that is nothing."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import bus, logs, schemas, support
from tests.logs import prune
from waitbus import bell
from waitbus.client import bookmarks
from waitbus.store import Log

Call = Callable[..., support.Result]

OTHER = "01M7XJ614PK8CHXM5935SQP1H1"
PLACE_HINT = "write now, 10m, a time as in 2025-01-31T12:00:00Z, or an event id as `waitbus cursor` prints"


def tell(*event_types: str, **keywords: Any) -> list[str]:
    """Emit one event of each type; their ids."""
    return [logs.tell(name, **keywords) for name in event_types]


def types(text: str) -> list[str]:
    return [json.loads(line)["event_type"] for line in text.splitlines()]


# -- the place to begin ------------------------------------------------------------------------------------------------


def test_it_prints_what_is_behind_a_cursor_and_ends_at_once(cli: Call) -> None:
    """As a process: without a daemon, and without 0.2's 30 idle seconds."""
    a, _, c = tell("a", "b", "c")
    done = cli("replay", a)
    assert [frame["event_type"] for frame in schemas.lines("replay", done.out)] == ["b", "c"]
    assert (done.code, done.err) == (0, f"caught up at {c}\n")


def test_without_a_place_it_begins_at_the_beginning(call: Call) -> None:
    tell("a", "b")
    assert types(call("replay").out) == ["a", "b"]


@pytest.mark.parametrize("argv", [["1h"], ["--since", "1h"], ["2001-01-01"], ["--since", "2001-01-01T00:00:00Z"]])
def test_a_place_is_a_duration_or_a_time_too(call: Call, argv: list[str]) -> None:
    tell("a", "b")
    assert types(call("replay", *argv).out) == ["a", "b"]


def test_a_time_is_that_of_the_commit(call: Call) -> None:
    """`received_at` is the writer's word (ARCHITECTURE B16)."""
    tell("a", received_at=10**18)
    assert types(call("replay", "1h").out) == ["a"]


def test_what_comes_while_it_reads_is_not_waited_for(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at the end as of its start, however busy the log is."""
    tell("a", "b")
    page = Log.page

    def page_and_tell(log: Log, after: int, limit: int = 256) -> Any:
        tell("later")
        return page(log, after, limit)

    monkeypatch.setattr(Log, "page", page_and_tell)
    assert types(call("replay").out) == ["a", "b"]


def test_text_is_the_id_and_the_line(call: Call) -> None:
    (a,) = tell("deploy_finished", conclusion="success", fields={"env": "staging"})
    assert call("replay", "--text").out == f"{a}  deploy_finished  success  env=staging\n"
    assert call("replay", "--format", "text").out == f"{a}  deploy_finished  success  env=staging\n"


def test_a_cloudevent_carries_the_payload(call: Call) -> None:
    tell("a", payload_json='{"x": 1}')
    (event,) = schemas.lines("cloudevent", call("replay", "--format", "cloudevent").out)
    assert event["data"]["payload_json"] == '{"x": 1}'


def test_hostile_text_is_neutral_for_people_and_faithful_in_json(call: Call) -> None:
    evil = "a\x1b[2J\u202eb\nc"
    tell("a", summary=evil, fields={"k": evil})
    assert call("replay", "--text").out.rstrip("\n").isprintable()
    assert json.loads(call("replay").out)["fields"]["k"] == evil


# -- why nothing -------------------------------------------------------------------------------------------------------


def test_an_empty_answer_says_why(call: Call) -> None:
    """caught_up, filtered, gap, unknown_consumer: on stderr, and exit 0."""
    empty = call("cursor").out.strip()
    done = call("replay", "--bookmark", "new")
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "no bookmark 'new' yet (unknown_consumer); beginning with the first event that is kept\n"
        f"caught up at {empty}: unknown_consumer, and the log is empty\n"
    )
    assert call("replay").err == f"caught up at {empty}: caught_up, nothing is behind SINCE\n"
    a, b = tell("a", "b")
    assert call("replay", b).err == f"caught up at {b}: caught_up, nothing is behind SINCE\n"
    assert call("replay", "--source", "ci").err == f"caught up at {b}: filtered, 2 other events passed by\n"
    c, d = tell("c", "d")
    prune(4)
    assert call("replay", a, "--source", "ci").err == (
        "warning: events 2 to 3 were pruned; going on with event 4 (gap)\n"
        f"caught up at {d}: filtered, 1 other event passed by\n"
    )
    assert c < d


def test_pruned_events_are_told_and_the_rest_is_printed(call: Call) -> None:
    a, *_ = tell("a", "b", "c", "d")
    prune(3)
    done = call("replay", a)
    assert (done.code, types(done.out)) == (0, ["c", "d"])
    assert done.err.startswith("warning: events 2 to 2 were pruned; going on with event 3 (gap)\n")
    assert call("replay", "--text").err.count("\n") == 1, "who names no place misses nothing"


def test_strict_since_makes_a_gap_an_error(call: Call) -> None:
    a, *_ = tell("a", "b", "c", "d")
    prune(3)
    done = call("replay", a, "--strict-since")
    assert (done.code, done.out) == (75, "")
    assert done.err.startswith("error: events 2 to 2 were pruned")


def test_a_cursor_of_another_log_or_of_no_event_is_refused(call: Call) -> None:
    """Never a silent jump to either end."""
    (a,) = tell("a")
    done = call("replay", OTHER)
    assert (done.code, done.out) == (2, "")
    assert (
        done.err == f"error: the cursor {OTHER} belongs to another log\nhint: `waitbus cursor` prints one of this log\n"
    )
    done = call("replay", a[:-1] + "9")
    assert done.err == (
        f"error: the cursor {a[:-1]}9 names an event that this log never had\nhint: `waitbus cursor` prints one of this log\n"
    )


# -- which -------------------------------------------------------------------------------------------------------------


def test_filters_choose_repositories_types_sources_and_terms(call: Call) -> None:
    tell("run", source="github", owner="Octo", repo="hello", conclusion="failure")
    tell("run", source="github", owner="octo", repo="world", conclusion="success")
    tell("job", source="github", owner="other", repo="hello")
    tell("note")

    def shown(*argv: str) -> list[int]:
        return [json.loads(line)["seq"] for line in call("replay", *argv).out.splitlines()]

    assert shown("--filters", "octo/hello") == [1]
    assert shown("--filters", "octo/*") == [1, 2]
    assert shown("--filters", "octo/hello", "--filters", "other/*") == [1, 3]
    assert shown("--filters", "octo/hello,octo/world") == [1, 2]
    assert shown("--filters", "octo/hello", "--filters", "*") == [1, 2, 3, 4]
    assert shown("--event-types", "run", "--event-types", "note") == [1, 2, 4]
    assert shown("--event-types", "run,note") == [1, 2, 4]
    assert shown("--event-types", "never_heard_of") == []
    assert shown("--source", "github", "--match", "conclusion=failure") == [1]
    assert shown("--source", "github", "--source", "agent", "--match", "conclusion!=failure") == [2, 3, 4]
    assert shown("--limit", "2") == [1, 2]


def test_a_limit_says_where_it_stopped(call: Call) -> None:
    a, _ = tell("a", "b")
    assert call("replay", "--limit", "1").err == f"stopped at {a}: --limit 1 reached\n"
    assert types(call("replay", a).out) == ["b"]


def test_coalesced_only_the_newest_of_each_thing_is_printed(call: Call) -> None:
    """A run by its id; what is about nothing in particular as it is; in the order of the log."""
    for run, status in ((7, "queued"), (8, "queued"), (7, "in_progress"), (7, "completed")):
        tell("workflow_run", source="github", owner="o", repo="r", run_id=run, status=status)
        tell("note")
    done = call("replay", "--coalesce")
    assert [json.loads(line)["seq"] for line in done.out.splitlines()] == [2, 3, 4, 6, 7, 8]
    assert len(call("replay", "--faithful").out.splitlines()) == 8


def test_a_slip_of_the_hand_in_a_source_is_told(call: Call) -> None:
    assert (
        "warning: no source 'pytset' is known here; did you mean 'pytest'?\n"
        in call("replay", "--source", "pytset").err
    )


# -- bookmarks ---------------------------------------------------------------------------------------------------------


def test_a_bookmark_makes_each_event_come_once(call: Call) -> None:
    """It need not exist before, and moves with every event that is printed."""
    a, b = tell("a", "b")
    assert types(call("replay", "--bookmark", "ci", "--limit", "1").out) == ["a"]
    assert bookmarks.read("ci") == a
    assert types(call("replay", "--bookmark", "ci").out) == ["b"]
    assert types(call("replay", "--bookmark", "ci").out) == []
    tell("c")
    assert types(call("replay", "--bookmark", "ci").out) == ["c"]
    assert a < b


def test_a_place_beside_a_bookmark_wins_and_the_bookmark_is_written(call: Call) -> None:
    """0.2 left it where it was."""
    a, b, c = tell("a", "b", "c")
    bookmarks.write("ci", c)
    assert types(call("replay", a, "--bookmark", "ci", "--limit", "1").out) == ["b"]
    assert bookmarks.read("ci") == b


def test_what_was_filtered_out_is_behind_the_bookmark(call: Call) -> None:
    """Else the log would have to keep it, and each replay to read it, for ever."""
    _, b = tell("a", "b")
    call("replay", "--bookmark", "ci", "--event-types", "a")
    assert bookmarks.read("ci") == b


def test_a_bookmark_moves_after_the_line_was_written_and_not_before(spawn: Callable[..., Any]) -> None:
    """At least once: whoever dies with an unread line in the pipe gets it again."""
    for _ in range(20):
        tell("a", fields={"k": "x" * 10_000})
    reader = spawn("replay", "--bookmark", "ci")
    first = json.loads(reader.stdout.readline())
    os.kill(reader.pid, signal.SIGSTOP)
    # It stopped in the middle of a write to a full pipe, or shortly behind; no line was counted that it had not begun.
    kept = bookmarks.read("ci")
    reader.kill()
    rest = reader.stdout.read().splitlines()
    complete = [first["event_id"], *(json.loads(line)["event_id"] for line in rest if line.endswith("}"))]
    assert kept is None or kept in complete


def test_a_bookmark_of_another_log_says_what_to_do(call: Call) -> None:
    tell("a")
    bookmarks.write("ci", OTHER)
    done = call("replay", "--bookmark", "ci")
    assert (done.code, done.err) == (
        2,
        "error: the bookmark 'ci' belongs to another log\n"
        "hint: `waitbus bookmark set ci` moves it to the end of this log\n",
    )
    assert call("replay", "1h", "--bookmark", "ci").code == 0, "a place was given"
    assert call("replay", "--bookmark", "ci").code == 0


def test_a_damaged_bookmark_is_an_error_unless_a_place_is_given(call: Call, home: Path) -> None:
    tell("a")
    bookmarks.write("ci", OTHER)
    (home / "s" / "cursors" / "bookmark-ci.txt").write_text("\x00what")
    done = call("replay", "--bookmark", "ci")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: the bookmark 'ci' holds '\\x00what', which is no event id\n")
    assert types(call("replay", "1h", "--bookmark", "ci").out) == ["a"]


def test_bookmarks_are_listed_with_how_far_they_are(call: Call, home: Path) -> None:
    assert call("bookmark", "list") == (0, "", "no bookmarks; `waitbus bookmark set NAME` makes one\n")
    assert call("bookmark", "list", "--json").out == ""
    a, _, c = tell("a", "b", "c")
    for name, cursor in (("b1", a), ("longer", c), ("old", OTHER), ("unknown", c[:-1] + "9")):
        bookmarks.write(name, cursor)
    (home / "s" / "cursors" / "bookmark-bad.txt").write_text("?")
    assert call("bookmark", "list").out.splitlines() == [
        f"b1       {a}  2 events to come",
        "bad      -                           no cursor in its file (damaged)",
        f"longer   {c}  up to date",
        f"old      {OTHER}  of another log (other_log)",
        f"unknown  {c[:-1]}9  at no event of this log (unknown)",
    ]
    listed = {mark["name"]: mark for mark in schemas.lines("bookmark-list", call("bookmark", "list", "--json").out)}
    assert {name: mark["state"] for name, mark in listed.items()} == {
        "b1": "ok", "bad": "damaged", "longer": "ok", "old": "other_log", "unknown": "unknown",
    }  # fmt: skip
    assert (listed["b1"]["seq"], listed["b1"]["behind"]) == (1, 2)
    prune(3)
    assert call("bookmark", "list").out.startswith(
        f"b1       {a}  1 event to come; events behind it were pruned (gap)\n"
    )


def test_a_bookmark_is_set_to_now_to_an_event_or_to_a_moment(call: Call) -> None:
    a, b = tell("a", "b")
    assert call("bookmark", "set", "ci") == (0, f"ci  {b}  up to date\n", "")
    assert bookmarks.read("ci") == b
    assert call("bookmark", "set", "ci", a.lower()).out == f"ci  {a}  1 event to come\n"
    said = schemas.checked("bookmark-set", call("bookmark", "set", "ci", "1h", "--json").out)
    assert (said["seq"], said["behind"]) == (0, 2)
    assert types(call("replay", "--bookmark", "ci").out) == ["a", "b"]


def test_a_bookmark_is_deleted_once(call: Call) -> None:
    call("bookmark", "set", "ci")
    assert call("bookmark", "delete", "ci") == (0, "", "deleted ci\n")
    assert call("bookmark", "delete", "ci") == (
        1,
        "",
        "error: no bookmark 'ci'\nhint: `waitbus bookmark list` lists them\n",
    )
    done = call("bookmark", "delete", "ci", "--json")
    assert (done.code, done.err, schemas.checked("bookmark-delete", done.out)) == (
        1,
        "",
        {"name": "ci", "deleted": False},
    )


# -- cursor ------------------------------------------------------------------------------------------------------------


def test_the_cursor_of_now_is_the_newest_event(call: Call, home: Path) -> None:
    """The log is made if it is not there, so that what comes first is behind its cursor."""
    empty = call("cursor").out.strip()
    assert (home / "s" / "events.db").exists()
    (a,) = tell("a")
    assert types(call("replay", empty).out) == ["a"]
    assert call("cursor").out == f"{a}\n"
    said = schemas.checked("cursor", call("cursor", "--json").out)
    assert said == {"cursor": a, "seq": 1, "log_id": a[10:16]}


# -- and what comes ----------------------------------------------------------------------------------------------------


def test_followed_it_goes_on_live_and_ends_after_a_silence(spawn: Callable[..., Any]) -> None:
    (a,) = tell("a")
    reader = spawn("replay", "--follow", "--bookmark", "ci", "--text", "--timeout", "500ms")
    assert reader.stdout.readline() == f"{a}  a\n"
    support.read_until(reader.stderr, f"caught up at {a}")
    (b,) = tell("b")
    assert reader.stdout.readline() == f"{b}  b\n"
    assert support.read_until(reader.stderr, "no event") == "no event for 500 ms\n"
    assert reader.wait(timeout=10) == 0
    assert bookmarks.read("ci") == b


def test_a_limit_counts_over_the_end_of_the_history(spawn: Callable[..., Any]) -> None:
    tell("a")
    reader = spawn("replay", "--follow", "--limit", "2", "--text")
    support.read_until(reader.stderr, "caught up")
    tell("b", "c")
    out, _ = reader.communicate(timeout=10)
    assert re.findall(r"  (\w)", out) == ["a", "b"]
    assert reader.returncode == 0


@pytest.mark.parametrize("timeout", ["0", "0.05", ".05", "5e-2", "50ms"])
def test_the_silence_is_a_duration_or_the_float_of_0_2(call: Call, timeout: str) -> None:
    tell("a")
    assert call("replay", "--follow", "--timeout", timeout).code == 0
    assert call("replay", "--timeout", timeout).code == 0, "without --follow there is no silence to wait for"


def test_a_reader_that_leaves_is_the_end(cli: Call) -> None:
    for _ in range(2):
        tell("a", fields={"k": "x" * 100_000})
    done = support.run(["bash", "-c", f"{' '.join(support.WAITBUS)} replay | head -c 1; echo ${{PIPESTATUS[0]}}"],
                       env={"PYTHONPATH": str(Path(__file__).parents[2])})  # fmt: skip
    assert (done.out, done.err) == ("{141\n", "")


# -- refused -----------------------------------------------------------------------------------------------------------

TYPE_HINT = "a name is a-z, then a-z, 0-9 and _, as in workflow_run"
REPOSITORY_HINT = "write owner/repo, owner/*, or * for all"
NAME_HINT = "write letters, digits, _ . and -, at most 100"
DURATION_HINT = "write 500ms, 30s, 10m, 1h30m, or none"
GRAMMAR = "write KEY=VALUE, as in conclusion=failure; the operators are = != < <= > >= ^= *= ~= and KEY? (exists)"
BAD: list[tuple[list[str], str, str]] = [
    (["replay", "yesterday"], "SINCE 'yesterday' is neither a cursor nor a time", PLACE_HINT),
    (["replay", "--since", "yesterday"], "--since 'yesterday' is neither a cursor nor a time", PLACE_HINT),
    (["replay", ""], "SINCE '' is neither a cursor nor a time", PLACE_HINT),
    (["replay", "01JZABC123"], "SINCE '01JZABC123' is neither a cursor nor a time", PLACE_HINT),
    (["replay", "1h", "--since", "1h"], "SINCE and --since are both given", "leave one of them out"),
    (["replay", "--limit", "0"], "--limit '0' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["replay", "--limit", "x"], "--limit 'x' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["replay", "--timeout", "soon"], "--timeout 'soon' is not a duration", DURATION_HINT),
    (["replay", "--timeout", "nan"], "--timeout 'nan' is not a duration", DURATION_HINT),
    (["replay", "--timeout", "1e99"], "--timeout '1e99' is not a duration", DURATION_HINT),
    (["replay", "--timeout", "-1"], "--timeout '-1' is not a duration", DURATION_HINT),
    (["replay", "--filters", "octo"], "--filters 'octo' is not a repository", REPOSITORY_HINT),
    (["replay", "--filters", "a/b/c"], "--filters 'a/b/c' is not a repository", REPOSITORY_HINT),
    (["replay", "--filters", "*/b"], "--filters '*/b' is not a repository", REPOSITORY_HINT),
    (["replay", "--filters", "o/r,"], "--filters '' is not a repository", REPOSITORY_HINT),
    (["replay", "--filters", "o r/x"], "--filters 'o r/x' is not a repository", REPOSITORY_HINT),
    (["replay", "--event-types", "Run"], "--event-types 'Run' is not an event type", TYPE_HINT),
    (["replay", "--event-types", ""], "--event-types '' is not an event type", TYPE_HINT),
    (["replay", "--match", "conclusion"], "--match 'conclusion' is not a term", GRAMMAR),
    (["replay", "--source", ""], "--source '' is not a name", "a name is a-z, then a-z, 0-9 and _, as in pytest"),
    (["replay", "--bookmark", "a/b"], "'a/b' cannot be a bookmark", NAME_HINT),
    (["replay", "--bookmark", ".."], "'..' cannot be a bookmark", NAME_HINT),
    (["replay", "1h", "--bookmark", "a b"], "'a b' cannot be a bookmark", NAME_HINT),
    (["replay", "--json", "--text"], "--json and --text are two forms", "leave one of them out"),
    (["bookmark"], "`waitbus bookmark` needs a command: list, set, delete", "see `waitbus bookmark --help`"),
    (["bookmark", "set"], "missing argument NAME", "see `waitbus bookmark set --help`"),
    (["bookmark", "set", ""], "'' cannot be a bookmark", NAME_HINT),
    (["bookmark", "set", "x", "never"], "SINCE 'never' is neither a cursor nor a time", PLACE_HINT),
    (["bookmark", "delete", "a\n"], "'a\\n' cannot be a bookmark", NAME_HINT),
    (["cursor", "now"], "'now' is one word too many", "write waitbus cursor [OPTIONS]; quote what has blanks in it"),
    (["broadcast", "tap", "--count", "0"], "--count '0' is not a number from 1 on", "write 1, 2, 3, ..."),
    (["broadcast", "tap", "--bookmark", "a/b"], "'a/b' cannot be a bookmark", NAME_HINT),
    (["broadcast", "tap", "--since", "x"], "--since 'x' is neither a cursor nor a time", PLACE_HINT),
    (["broadcast", "tap", "--event-types", "X"], "--event-types 'X' is not an event type", TYPE_HINT),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "error", "hint"), BAD, ids=[repr(argv)[:60] for argv, _, _ in BAD])
def test_bad_input_is_two_lines(call: Call, home: Path, argv: list[str], error: str, hint: str) -> None:
    done = call(*argv)
    if "--json" in argv:
        assert json.loads(done.err) == {"error": error, "hint": hint, "exit_code": 2}
    else:
        assert done.err == f"error: {error}\nhint: {hint}\n"
    assert (done.code, done.out) == (2, "")
    assert not list(home.glob("s/cursors/*"))


# -- live --------------------------------------------------------------------------------------------------------------


def test_tap_prints_what_comes_until_it_has_enough(spawn: Callable[..., Any]) -> None:
    tell("before")
    tap = spawn("broadcast", "tap", "--count", "2")
    support.read_until(tap.stderr, "armed")
    tell("a", "b", "c")
    out, err = tap.communicate(timeout=10)
    assert [frame["event_type"] for frame in schemas.lines("broadcast-tap", out)] == ["a", "b"]
    assert (tap.returncode, err) == (0, "")


def test_tap_ends_after_a_silence(call: Call) -> None:
    """Exit 0 where that is all that was asked for, 124 where events were."""
    done = call("broadcast", "tap", "--timeout", "20ms")
    assert (done.code, done.out, done.err) == (0, "", "armed\nno event for 20 ms\n")
    tell("a")
    done = call("broadcast", "tap", "--since", "1h", "--count", "2", "--timeout", "20ms", "--text")
    assert (done.code, done.out.count("\n"), done.err) == (124, 1, "armed\nno event for 20 ms (1 of 2)\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_tap_ends_on_a_signal(spawn: Callable[..., Any], number: int, code: int) -> None:
    tap = spawn("broadcast", "tap")
    support.read_until(tap.stderr, "armed")
    tap.send_signal(number)
    assert tap.communicate(timeout=10) == ("", "")
    assert tap.returncode in (code, 128 + number)


def test_tap_moves_a_bookmark_and_begins_there_the_next_time(call: Call) -> None:
    """A bookmark that is not there yet begins now, as in 0.2."""
    tell("before")
    assert call("broadcast", "tap", "--bookmark", "ci", "--timeout", "20ms").out == ""
    assert bookmarks.read("ci") is None
    a, *_ = tell("a", "b", "c")
    assert types(call("broadcast", "tap", "--bookmark", "ci", "--since", a, "--count", "1").out) == ["b"]
    assert types(call("broadcast", "tap", "--bookmark", "ci", "--count", "1").out) == ["c"]
    assert call("broadcast", "tap", "--bookmark", "ci", "--since", "now", "--timeout", "20ms").out == ""


def test_tap_filters(call: Call) -> None:
    tell("run", source="github", owner="octo", repo="hello", conclusion="failure")
    tell("note")
    for which in (
        ["--filters", "octo/*"],
        ["--event-types", "run"],
        ["--source", "github"],
        ["--match", "conclusion=failure"],
    ):
        assert types(call("broadcast", "tap", "--since", "1h", "--timeout", "20ms", *which).out) == ["run"]


def test_tap_refuses_and_tells_gaps(call: Call) -> None:
    a, *_ = tell("a", "b", "c")
    prune(3)
    done = call("broadcast", "tap", "--since", a, "--count", "1")
    assert types(done.out) == ["c"]
    assert "warning: events 2 to 2 were pruned; going on with event 3 (gap)\n" in done.err
    assert call("broadcast", "tap", "--since", a, "--strict-since").code == 75
    assert call("broadcast", "tap", "--since", OTHER).err.startswith(
        f"error: the cursor {OTHER} belongs to another log\n"
    )


def test_tap_leaves_no_bell(call: Call, home: Path) -> None:
    call("broadcast", "tap", "--timeout", "1ms")
    assert bell.ring(home / "s" / "bells") == 0


def test_tap_on_a_daemon_gets_large_events_whole_and_outlives_it(home: Path, spawn: Callable[..., Any]) -> None:
    """A restart is invisible: nothing is said of it, nothing is lost, nothing comes twice."""
    with bus.daemon(home) as daemon:
        tap = spawn("broadcast", "tap", "--count", "4")
        support.read_until(tap.stderr, "armed")
        tell("a")
        tell("large", fields={"k": "x" * 100_000})
        seen = [json.loads(tap.stdout.readline()) for _ in range(2)]
        assert [len(frame["fields"].get("k", "")) for frame in seen] == [0, 100_000]
        daemon.kill()
    tell("without")
    assert json.loads(tap.stdout.readline())["event_type"] == "without"
    with bus.daemon(home):
        tell("with")
        out, err = tap.communicate(timeout=10)
    assert (types(out), err, tap.returncode) == (["with"], "", 0)
