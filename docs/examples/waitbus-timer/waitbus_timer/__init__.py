"""The declaration of the source `timer`. Keep it free of imports: what runs is in `run`, and is only imported there."""

from waitbus import SourceSpec

spec = SourceSpec(
    name="timer",
    about="A tick each so many seconds, and an alarm with each so many ticks.",
    event_types=("timer_tick", "timer_alarm"),
    progress={"timer_tick"},
    fields={"number": "how many ticks there were", "late_ms": "ms by which it came too late"},
    natural_key="timer:<start, ns>:<number>",
    vocabulary={"conclusion": ("success",)},
    example={"event_type": "timer_alarm", "conclusion": "success", "fields": {"number": 10, "late_ms": 0.4}},
    matches=("event_type=timer_alarm", "number>100"),
    implementation="waitbus_timer.run:Timer",
    settings="waitbus_timer.run:Settings",
)
