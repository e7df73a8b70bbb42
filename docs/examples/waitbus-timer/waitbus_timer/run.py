"""The source itself: a coroutine that hears of something and says so."""

import time

import attrs
import trio

from waitbus import EventInsert


@attrs.frozen(kw_only=True)
class Settings:
    """What may stand in `[sources.timer]`."""

    every: float = 60.0
    """s between two ticks."""
    alarm_each: int = 10
    """Ticks from one alarm to the next."""


class Timer:
    """Made from its settings; `bus` has `emit`, `up` and `down`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def run(self, bus, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        began, start = time.time_ns(), trio.current_time()
        task_status.started()
        number = 0
        while True:
            number += 1
            due = start + number * self.settings.every
            await trio.sleep_until(due)
            is_alarm = number % self.settings.alarm_each == 0
            event = EventInsert(
                source="timer",
                event_type="timer_alarm" if is_alarm else "timer_tick",
                delivery_id=f"timer:{began}:{number}",
                status="completed" if is_alarm else "in_progress",
                conclusion="success" if is_alarm else None,
                fields={"number": number, "late_ms": round((trio.current_time() - due) * 1000, 3)},
            )
            await bus.emit(event)
