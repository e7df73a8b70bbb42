from __future__ import annotations

import pytest

from waitbus.client.start import NOW, Start, parse_since
from waitbus.errors import InvalidCursor
from waitbus.event_checks import shown

HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (None, NOW),
        ("now", NOW),
        (" Now ", NOW),
        ("01M7XJ614PK8CHXM5935SQP1H1", Start(event_id="01M7XJ614PK8CHXM5935SQP1H1")),
        ("01m7xj614pk8chxm5935sqp1h1", Start(event_id="01M7XJ614PK8CHXM5935SQP1H1")),
        ("30", Start(at_ns=2 * HOUR_NS - 30 * 10**9)),
        ("1h30m", Start(at_ns=HOUR_NS // 2)),
        ("3h", Start(at_ns=0)),
        ("1738281600", Start(at_ns=1738281600 * 10**9)),
        ("1738281600000000001", Start(at_ns=1738281600000000001)),
        ("2025-01-31T00:00:00Z", Start(at_ns=1738281600 * 10**9)),
    ],
)
def test_since_takes_a_cursor_a_duration_or_a_time(text: str | None, start: Start) -> None:
    assert parse_since(text, now_ns=2 * HOUR_NS) == start


@pytest.mark.parametrize(
    "text",
    ["none", "U1M7XJ614PK8CHXM5935SQP1H1", "", "-5", "yesterday", "01M7XJ614PK8CHXM5935SQP1H", "9" * 5000],
    ids=lambda text: text[:30],
)
def test_what_is_no_place_in_the_log_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidCursor, match="neither a cursor nor a time") as caught:
        parse_since(text, what="--since")
    assert caught.value.message.startswith(f"--since {shown(text)}")
    assert "an event id as `waitbus cursor` prints" in caught.value.hint
