"""`--pid N`: a clause about one process, and the source that a wait runs for it: whoever knows of its end writes the row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitbus.client.plan import Answer
from waitbus.client.steps import Note
from waitbus.errors import LogError, PathError
from waitbus.predicate import Clause, Predicate
from waitbus.sources.pidfd import Process, check_pid
from waitbus.sources.process import exit_terms
from waitbus.verdict import verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.client.beside import Beside, Tell
    from waitbus.client.plan import State
    from waitbus.client.session import Session
    from waitbus.client.waits import Meet, Source
    from waitbus.document import Document
    from waitbus.events import EventFrame, EventInsert
    from waitbus.predicate import Wanted
    from waitbus.sources.pidwatch import Gone
    from waitbus.store import Log


class PidClause:
    """The end of the process that has this pid now (`client.beside.Beside`). Which one that is, is known when it is held.

    Raises:
      InvalidPid: the number cannot be a process.
    """

    wake_at = None
    missing = ""
    predicate = None

    def __init__(self, pid: int) -> None:
        check_pid(pid)
        self.pid = pid
        self.clause = Clause(f"--pid {pid}", Predicate(), "process")
        self._its_own: tuple[Predicate, ...] = ()
        self._tell: Tell = _nobody

    # -- what it is in a plan ------------------------------------------------------------------------------------------

    @property
    def clauses(self) -> tuple[tuple[Clause, State], ...]:
        return ((self.clause, self),)

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
            self._tell(Note("process", f"nobody here can tell the exit code of process {self.pid}"))
        return Answer(verdict_of(document), frame)

    def tick(self, _now: float) -> Answer | None:
        return None

    # -- what watches it -----------------------------------------------------------------------------------------------

    def source(self, wanted: Wanted, tell: Tell, session: Session | None = None) -> Source:
        self._tell = tell

        async def watch(meet: Meet, /, *, task_status: Any) -> None:
            from waitbus.sources.pidwatch import Gone, Recorded, watch_pid

            end = await watch_pid(self.pid, recorded=_recorded, task_status=_Held(self, tell, task_status))
            if isinstance(end, Gone):
                tell(Note("process", f"process {end.pid} is already gone; how it ended is not known"))
                meet(self.clause, Answer("none"))
            elif not isinstance(end, Recorded):
                await _write(end, tell, lambda verdict: meet(self.clause, Answer(verdict)))

        return watch


class _Held:
    """The task status of `watch_pid`: hands the process on to the clause before it says that it has begun."""

    def __init__(self, clause: PidClause, tell: Tell, outer: Any) -> None:
        self._clause = clause
        self._tell = tell
        self._outer = outer

    def started(self, found: Process | Gone | None = None) -> None:
        if isinstance(found, Process):
            self._clause.hold(found)
            said = f"no daemon watches process {found.pid}; watching it here while this command waits"
            self._tell(Note("embedded", said))
        self._outer.started()


async def _write(end: EventInsert, tell: Tell, meet: Callable[[Any], None]) -> None:
    from waitbus.producer import aemit

    try:
        await aemit(end)
    except (LogError, PathError) as error:
        tell(Note("odd", f"the end of the process is not in the log: {error.message}"))
        meet("failure" if end.conclusion == "failure" else "success" if end.conclusion else "none")


def _recorded(delivery_id: str) -> bool:
    from waitbus.store import shared

    try:
        return shared().by_delivery_id(delivery_id) is not None
    except (LogError, PathError):
        # A sandbox that has only the socket: nobody can look, and the end is known all the same.
        return False


def _nobody(_: Note) -> None:
    pass


if TYPE_CHECKING:
    _: type[Beside] = PidClause
