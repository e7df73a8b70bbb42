"""`--pid N`: a clause about one process, and the source that a wait runs for it: whoever knows of its end writes the row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waitbus.cli import output
from waitbus.client.plan import Answer
from waitbus.errors import LogError, PathError
from waitbus.predicate import Predicate
from waitbus.sources.pidfd import Process, check_pid
from waitbus.sources.process import exit_terms
from waitbus.verdict import verdict_of

if TYPE_CHECKING:
    from waitbus.client.plan import State
    from waitbus.client.waits import Source
    from waitbus.document import Document
    from waitbus.events import EventFrame, EventInsert
    from waitbus.predicate import Clause
    from waitbus.sources.pidwatch import Gone
    from waitbus.store import Log


class PidState:
    """The end of the process that has this pid now. Which one that is, is known when `process` is set."""

    wake_at = None

    def __init__(self, pid: int) -> None:
        check_pid(pid)
        self.pid = pid
        self._its_own: tuple[Predicate, ...] = ()

    @property
    def alternatives(self) -> tuple[Predicate, ...]:
        """Any process with that pid: which one it is, is only known when the subscription stands."""
        return tuple(Predicate.parse(terms) for terms in exit_terms(Process(self.pid, 0)))

    def hold(self, process: Process) -> None:
        """From now on it is this process, and no other with its pid."""
        self._its_own = tuple(Predicate.parse(terms) for terms in exit_terms(process))

    def begin(self, log: Log, now: float) -> None:
        """Nothing: a process that is there has not ended."""

    def feed(self, frame: EventFrame, document: Document, _now: float) -> Answer | None:
        if not any(predicate.matches(document) for predicate in self._its_own):
            return None
        if frame.fields.get("exit_code") is None:
            output.talk(f"waitbus: nobody here can tell the exit code of process {self.pid}")
        return Answer(verdict_of(document), frame)

    def tick(self, _now: float) -> Answer | None:
        return None


def source_of(clause: Clause, state: PidState) -> Source:
    """The source that watches the process of a clause."""

    async def watch(meet: Callable[[Clause, Answer], None], /, *, task_status: Any) -> None:
        from waitbus.sources.pidwatch import Gone, Recorded, watch_pid

        end = await watch_pid(state.pid, recorded=_recorded, task_status=_Held(state, task_status))
        if isinstance(end, Gone):
            output.talk(f"waitbus: process {end.pid} is already gone; how it ended is not known")
            meet(clause, Answer("none"))
        elif not isinstance(end, Recorded):
            await _write(end, lambda verdict: meet(clause, Answer(verdict)))

    return watch


class _Held:
    """The task status of `watch_pid`: hands the process on to the state before it says that it has begun."""

    def __init__(self, state: PidState, outer: Any) -> None:
        self._state = state
        self._outer = outer

    def started(self, found: Process | Gone | None = None) -> None:
        if isinstance(found, Process):
            self._state.hold(found)
            output.talk(
                f"waitbus: no daemon watches process {found.pid}; watching it here while this command waits", dim=True
            )
        self._outer.started()


async def _write(end: EventInsert, meet: Callable[[Any], None]) -> None:
    from waitbus.producer import aemit

    try:
        await aemit(end)
    except (LogError, PathError) as error:
        output.warn(f"the end of the process is not in the log: {error.message}")
        meet("failure" if end.conclusion == "failure" else "success" if end.conclusion else "none")


def _recorded(delivery_id: str) -> bool:
    from waitbus.store import shared

    try:
        return shared().by_delivery_id(delivery_id) is not None
    except (LogError, PathError):
        # A sandbox that has only the socket: nobody can look, and the end is known all the same.
        return False


if TYPE_CHECKING:
    _: type[State] = PidState
