"""Durations, sizes and times: what is read, what is refused, how it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus.errors import InvalidDuration, InvalidSize, InvalidTime
from waitbus.quantities import (
    TIME_MIN_NS,
    parse_duration,
    parse_finite_duration,
    parse_size,
    parse_time,
    say_count,
    say_duration,
    say_size,
    say_time,
)

DAY = 86_400
NS = 10**9
AT = 1_738_324_800  # 2025-01-31T12:00:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30", 30),
        ("30s", 30),
        (" 1S ", 1),
        ("0.001", 0.001),
        ("1.5s", 1.5),
        ("0.5ms", 0.0005),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h30m15s250ms", 5415.25),
        ("2d", 2 * DAY),
        ("2d4h", 2 * DAY + 4 * 3600),
        ("1m500ms", 60.5),
        ("90m", 5400),
        ("1.5h", 5400),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    """A duration is a number of seconds, or numbers with units from large to small."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["none", "None", " none "])
def test_none_is_no_duration_at_all(text: str) -> None:
    """`none` is the one way to say "for ever"."""
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "nan",
        "inf",
        "-inf",
        "infinity",
        "1e-1",
        "1e3",
        "1_0s",
        "1_0",
        "-5",
        "-5s",
        "+5",
        "1w",
        "s",
        "30m1h",
        "1h1h",
        "1h 30m",
        "5 s",
        ".5s",
        "5.s",
        "٣s",
        "³",
        "1h30",
        "0x10",
        "1,5s",
        "9" * 400,
        "1.5.5s",
        "none5",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    """Python's exponents, underscores, infinities and other digits are no durations."""
    with pytest.raises(InvalidDuration):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0.0", "0ms", "0h0m", "99999999999", "36501d", "9" * 20 + "d"])
def test_a_duration_is_more_than_nothing_and_less_than_a_century(text: str) -> None:
    """What the grammar allows and no wait could mean is refused with the reason."""
    with pytest.raises(InvalidDuration, match=r"longer than"):
        parse_duration(text)


def test_the_error_is_the_one_people_are_shown() -> None:
    """The words that people are shown."""
    with pytest.raises(InvalidDuration) as caught:
        parse_duration("soon", what="--timeout")
    assert caught.value.message == "--timeout 'soon' is not a duration"
    assert caught.value.hint == "write 500ms, 30s, 10m, 1h30m, or none"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["none", "None", " none "])
def test_what_has_to_end_takes_no_none(text: str) -> None:
    """Where "for ever" means nothing it is refused, and never read as something else."""
    with pytest.raises(InvalidDuration) as caught:
        parse_finite_duration(text, what="--stop-timeout")
    assert caught.value.message == f"--stop-timeout {text!r} is not possible here"
    assert caught.value.hint == "write 500ms, 30s, 10m or 1h30m"


@pytest.mark.parametrize("text", ["soon", "0", "36501d"])
def test_what_has_to_end_is_not_told_to_write_none(text: str) -> None:
    with pytest.raises(InvalidDuration) as caught:
        parse_finite_duration(text)
    assert caught.value.hint == "write 500ms, 30s, 10m or 1h30m"


@given(st.text(max_size=12) | st.from_regex(r"\A[0-9.]{1,4}(ms|s|m|h|d)?([0-9]{1,2}(ms|s|m))?\Z"))
def test_a_duration_is_finite_or_refused(text: str) -> None:
    """No text at all gives a number that no timer could take."""
    try:
        seconds = parse_duration(text)
    except InvalidDuration:
        return
    assert seconds is None or 0 < seconds < 1e10
    assert seconds is None or parse_finite_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4096", 4096),
        ("4096b", 4096),
        ("500k", 500_000),
        ("500kB", 500_000),
        ("500K", 500_000),
        ("64MiB", 64 * 2**20),
        ("64Mi", 64 * 2**20),
        ("1GiB", 2**30),
        ("1 GiB", 2**30),
        ("1gb", 10**9),
        ("1.5GiB", 3 * 2**29),
        ("2TiB", 2**41),
        ("0.5k", 500),
    ],
)
def test_size(text: str, size: int) -> None:
    """Decimal prefixes are powers of a thousand, binary ones of 1024."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "big", "-1", "1ib", "1i", "1e6", "1_000", "nan", "inf", "1PB", "1kk", "0x10", "1,5k", ".5k", "0", "0k"]
)
def test_what_is_no_size(text: str) -> None:
    """Nothing, nonsense and negatives are refused with the same hint."""
    with pytest.raises(InvalidSize) as caught:
        parse_size(text, what="--max-size")
    assert caught.value.message.startswith(f"--max-size {text!r} is ")
    assert caught.value.hint == "write 500k, 64MiB, 1GiB, or a number of bytes"


def test_a_size_fits_a_signed_64_bit_number() -> None:
    """SQLite's integers end there."""
    with pytest.raises(InvalidSize):
        parse_size("9" * 20 + "T")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2025-01-31T12:00:00Z", AT * NS),
        ("2025-01-31t12:00:00z", AT * NS),
        ("2025-01-31 12:00:00Z", AT * NS),
        ("2025-01-31T12:00:00", AT * NS),
        ("2025-01-31T12:00", AT * NS),
        ("2025-01-31T14:30:00+02:30", AT * NS),
        ("2025-01-31T07:00:00-0500", AT * NS),
        ("2025-01-31", (AT - DAY // 2) * NS),
        ("2025-01-31T12:00:00.123456789Z", AT * NS + 123_456_789),
        ("2025-01-31T12:00:00.5Z", AT * NS + NS // 2),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * NS),
        (str(AT), AT * NS),
        (f"{AT}.123456789", AT * NS + 123_456_789),
        (str(AT * NS), AT * NS),
        ("1000000000000000", TIME_MIN_NS),
        (" 2025-01-31 ", (AT - DAY // 2) * NS),
    ],
)
def test_time(text: str, ns: int) -> None:
    """A time is RFC 3339, a date, seconds or nanoseconds since 1970, to the nanosecond."""
    assert parse_time(text) == ns


def test_now() -> None:
    """`now` is the clock's time, or the one that is given."""
    assert parse_time("now", now_ns=AT) == AT
    assert parse_time("NOW") > AT * NS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "nan",
        "inf",
        "1e9",
        "-1",
        "5",
        "1738324800000",
        "2025-13-01",
        "2025-02-30",
        "2025-01-31T25:00:00Z",
        "2025-01-31T12:00:00+25:00",
        "9" * 20,
        "1_738_324_800",
        "2300-01-01",
        "12:00",
        "0000-00-00",
        "٢٠٢٥-01-01",
    ],
)
def test_what_is_no_time(text: str) -> None:
    """Milliseconds and small numbers are refused rather than read as 1970."""
    with pytest.raises(InvalidTime) as caught:
        parse_time(text, what="--received-at")
    assert "nanoseconds since 1970" in caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (0.9999, "1 s"),
        (2.1, "2.1 s"),
        (5, "5 s"),
        (14.2, "14.2 s"),
        (59.96, "1 min"),
        (14 * 60, "14 min"),
        (372, "6 min 12 s"),
        (3599.9, "1 h"),
        (7500, "2 h 5 min"),
        (3 * DAY + 4 * 3600 + 59, "3 d 4 h"),
        (3 * DAY + 59, "3 d"),
        (-5, "-5 s"),
    ],
)
def test_say_duration(seconds: float, said: str) -> None:
    """At most two units, no zeros."""
    assert say_duration(seconds) == said


def test_say_duration_in_one_unit() -> None:
    """Ages are said in one unit."""
    assert say_duration(130, parts=1) == "2 min"


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (31 * 2**20, "31 MiB"),
        (2**20 - 1, "1 MiB"),
        (214 * 2**30, "214 GiB"),
        (5 * 2**50, "5120 TiB"),
    ],
)
def test_say_size(size: int, said: str) -> None:
    """Sizes are said in powers of 1024."""
    assert say_size(size) == said


@given(st.integers(TIME_MIN_NS // 1000, 9 * 10**15).map(lambda us: us * 1000))
def test_a_time_that_is_said_can_be_read(ns: int) -> None:
    """`say_time` and `parse_time` undo each other, to the microsecond."""
    assert parse_time(say_time(ns)) == ns


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 events"), (1, "1 event"), (2, "2 events"), (48_211, "48,211 events")],
)
def test_say_count(count: int, said: str) -> None:
    assert say_count(count, "event") == said
    assert say_count(count, "process", "processes") == said.replace("events", "processes").replace("event", "process")
