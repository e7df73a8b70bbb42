"""The session alone, by a clock of ours."""

from __future__ import annotations

import waitbus
from tests.client.faces import event
from waitbus.client.session import PAGE_PAUSE, Session
from waitbus.client.start import Start
from waitbus.client.steps import Wait
from waitbus.events import EventFrame
from waitbus.store import PAGE_ROWS


def test_full_pages_of_the_log_have_a_pause_between_them() -> None:
    """Readers that page without one keep the WAL from being reset; with one they cost a replay next to nothing."""
    waitbus.emit_batch(event(n) for n in range(PAGE_ROWS + 44))
    now = 1000.0
    session = Session(None, Start(at_ns=1), clock=lambda: now)

    def events() -> tuple[int, Wait]:
        count = 0
        while not isinstance(step := session.step(), Wait):
            count += isinstance(step, EventFrame)
        return count, step

    count, pause = events()
    assert (count, pause.fd, pause.bell) == (PAGE_ROWS, None, None)
    assert pause.deadline == now + PAGE_PAUSE
    assert not session.caught_up
    now += PAGE_PAUSE
    count, rest = events()
    assert (count, session.caught_up) == (44, True)
    assert rest.bell is not None
    session.close()
