"""What a child says: cut into lines, counted, and read; whatever is none of ours is a failure with a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus.errors import ChildFailed
from waitbus.sources.child_lines import LINE_MAX, Lines, Rate, of_command, of_plugin
from waitbus.sources.crashes import CRASHES, WITHIN, Crashes


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")), max_size=20), st.data())
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"\n".join([*lines, b"rest"])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    made = Lines()
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += made.fed(whole[start:end])
    assert [*found, *made.last()] == [*lines, b"rest"]
    assert list(made.last()) == []


def test_a_line_of_64_kib_is_one_and_a_longer_one_is_refused_before_its_end() -> None:
    assert [len(line) for line in Lines().fed(b"x" * LINE_MAX + b"\n")] == [LINE_MAX]
    for data in (b"x" * (LINE_MAX + 1), b"x" * (LINE_MAX + 1) + b"\n"):
        with pytest.raises(ChildFailed, match="a line of more than 65,536 bytes"):
            list(Lines().fed(data))


def test_who_says_little_is_never_held_up() -> None:
    rate = Rate()
    for at in range(100):
        assert rate.taken(900, at) == 0.0
        rate.paused()


def test_who_says_more_is_held_to_the_rate() -> None:
    """3,000 lines at once take 2 s: the first 1,000 are in reserve."""
    rate = Rate()
    assert rate.taken(3000, 0.0) == pytest.approx(2.0)
    assert rate.taken(0, 2.0) == pytest.approx(0.0)
    assert rate.taken(500, 2.0) == pytest.approx(0.5)


def test_who_floods_for_longer_than_10_s_is_refused() -> None:
    rate, now, refused, lines = Rate(), 0.0, "", 0
    while not refused:
        try:
            now += rate.taken(200, now)
            lines += 200
        except ChildFailed as error:
            refused = error.message
    assert (refused, lines) == ("it said more than 10,000 lines without a pause", 10_000)
    assert now == pytest.approx(9.0)


def test_a_pause_makes_a_flood_a_burst() -> None:
    rate, now = Rate(), 0.0
    for _ in range(20):
        for _ in range(40):
            now += rate.taken(200, now)
        rate.paused()
    assert now == pytest.approx(159.0)


EVENT = {"event_type": "tick", "fields": {"n": 1}}


def test_what_a_plugin_may_say() -> None:
    said = of_plugin(json.dumps({"event": EVENT, "number": 3, "last": False}).encode(), "timer")
    assert said.event is not None
    assert (said.kind, said.event.source, said.event.fields, said.number, said.last) == (
        "event",
        "timer",
        {"n": 1},
        3,
        False,
    )
    known = {"event": EVENT, "number": 3, "unless": ["timer:1", "timer:2"]}
    assert of_plugin(json.dumps(known).encode(), "timer").unless == ("timer:1", "timer:2")
    assert of_plugin(b'{"started": true}', "timer").kind == "started"
    assert of_plugin(b'{"heartbeat": true}', "timer").kind == "heartbeat"
    down = of_plugin(b'{"down": "nobody there", "retry_s": 2.5}', "timer")
    assert (down.kind, down.text, down.seconds) == ("down", "nobody there", 2.5)
    assert of_plugin(b'{"down": "x", "retry_s": NaN}', "timer").seconds is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello", "'hello', which is no JSON object"),
        (b"\xff\xfe\x00", "which is no JSON object"),
        (b"[1]", "which is no JSON object"),
        (b"[" * 60_000, "which is no JSON object"),
        (b"{}", "has no key of ours"),
        (b'{"event": 1, "number": 1}', "no event"),
        (b'{"event": {}, "number": 1}', "no event"),
        (b'{"event": {"event_type": "A b"}, "number": 1}', "event_type 'A b' is not a name"),
        (b'{"event": {"event_type": "a", "self": 1}, "number": 1}', "no event"),
        (b'{"event": {"event_type": "a"}, "number": "1"}', "no number"),
        (b'{"event": {"event_type": "a"}, "number": true}', "no number"),
        (b'{"event": {"event_type": "a"}, "number": -1}', "no number"),
        (b'{"event": {"event_type": "a"}}', "no event"),
        (b'{"event": {"event_type": "a"}, "number": 1, "unless": ["a"]}', "no range of delivery ids"),
        (
            b'{"event": {"event_type": "a", "source": "github"}, "number": 1}',
            "source 'timer' and said an event of 'github'",
        ),
    ],
)
def test_what_a_plugin_may_not_say(line: bytes, said: str) -> None:
    with pytest.raises(ChildFailed) as caught:
        of_plugin(line, "timer")
    assert said in caught.value.message
    assert len(caught.value.message) <= 400


@given(st.binary(max_size=200))
def test_garbage_is_a_failure_or_a_line_and_never_another_error(line: bytes) -> None:
    for read in (lambda data: of_plugin(data, "timer"), lambda data: of_command(data, "timer", "tick")):
        try:
            said = read(line)
        except ChildFailed:
            continue
        assert said is None or said.kind


@pytest.mark.parametrize(
    ("line", "event_type", "summary", "fields"),
    [
        (b"disk almost full\r", "syslog_line", "disk almost full", {"line": "disk almost full"}),
        (b"\xff\xfe", "syslog_line", "\ufffd\ufffd", {"line": "\ufffd\ufffd"}),
        (b"[1, 2]", "syslog_line", "[1, 2]", {"line": "[1, 2]"}),
        (b'{"summary": "hi", "fields": {"a": 1}}', "syslog_line", "hi", {"a": 1}),
        (b'{"event_type": "boot", "summary": "up", "payload_json": {"x": 1}}', "boot", "up", {}),
    ],
)
def test_a_line_of_a_command_is_an_event(line: bytes, event_type: str, summary: str, fields: dict[str, object]) -> None:
    said = of_command(line, "syslog", "syslog_line")
    assert said is not None
    assert said.event is not None
    assert (said.event.source, said.event.event_type, said.event.summary, said.event.fields) == (
        "syslog",
        event_type,
        summary,
        fields,
    )


def test_an_empty_line_is_none() -> None:
    assert [of_command(line, "syslog", "syslog_line") for line in (b"", b"  \r")] == [None, None]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"level": "info"}', "no keyword 'level'"),
        (b'{"conclusion": 1}', "conclusion 1 is not a text"),
        (b'{"source": "github"}', "source 'syslog' and said an event of 'github'"),
        (b'{"a":', "which is no JSON object"),
    ],
)
def test_json_that_is_no_event_is_told(line: bytes, said: str) -> None:
    with pytest.raises(ChildFailed) as caught:
        of_command(line, "syslog", "syslog_line")
    assert said in caught.value.message


def test_the_fifth_crash_within_10_minutes_is_one_too_many() -> None:
    crashes = Crashes()
    assert [crashes.one_more(at) for at in (0, 1, 2, 3, WITHIN)] == [False] * 4 + [True]


def test_crashes_that_are_far_between_are_forgotten() -> None:
    crashes = Crashes()
    apart = WITHIN / (CRASHES - 1) + 1
    assert not any(crashes.one_more(number * apart) for number in range(50))
