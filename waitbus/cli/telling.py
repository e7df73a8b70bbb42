"""What a wait says: armed, each clause as it is met, the event, and in one last line how it ended."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from waitbus import render
from waitbus.cli import output
from waitbus.client.aside import health_of
from waitbus.client.beside import states_of
from waitbus.client.steps import Gap
from waitbus.errors import LogError, PathError
from waitbus.events import EventFrame
from waitbus.paths import here
from waitbus.quantities import say_count, say_duration

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from waitbus.cli.asking import Asked
    from waitbus.cli.forms import Form
    from waitbus.client.plan import Met, Outcome, Plan
    from waitbus.client.session import Session
    from waitbus.client.steps import Note
    from waitbus.predicate import Clause
    from waitbus.sources.watched import Watched

SAY_NO_DAEMON_EVERY = 86_400
"""s"""


class Teller:
    """Says what goes on in one wait. `begun` is when it began (s, `time.monotonic`)."""

    def __init__(self, asked: Asked, form: Form, *, agent: bool = False) -> None:
        self.asked = asked
        self.form = form
        self.agent = agent
        self.begun = time.monotonic()
        self.armed = False
        self.session: Session | None = None
        self.watched: Sequence[Watched] = ()
        """Sources that this wait may run itself: what the log says of them then is about somebody else's."""
        self.handled: int | None = None
        """Of `on`: the seq up to which events were reacted to. The session may have read further."""
        self._from = 0
        self._told = 0
        self._base = here()
        self._first_met: int | None = None
        """The seq of the first event that met a clause."""
        self._states = {clause for clause, _ in (*asked.states, *states_of(asked.beside))}
        self._begun_ns = time.time_ns()
        self._down: set[str] = set()
        """The sources that were said to be down."""

    def attach(self, session: Session) -> None:
        """What can be said before it is armed: doubtful names, and that nothing delivers what is waited for."""
        from waitbus.cli import doubting

        self.session = session
        for sentence in doubting.of_names(self.asked.predicates, session):
            output.doubt(sentence)
        note = doubting.of_delivery(self.asked, session)
        if note:
            output.talk(f"waitbus: {note}", dim=True)

    # -- while it goes on ----------------------------------------------------------------------------------------------

    def notice(self, notice: Note | Gap) -> None:
        """A gap is a warning; a daemon that went away or is back is nobody's business."""
        from waitbus.client.feed import describe

        if isinstance(notice, Gap):
            output.warn(describe(notice))
        elif notice.kind == "doubt":
            output.doubt(notice.text)
        elif notice.kind in ("down", "odd"):
            output.warn(notice.text)
        elif notice.kind == "no_daemon":
            if _not_said_today():
                output.talk(f"waitbus: {notice.text} (start one with `waitbus serve`)", dim=True)
        elif notice.kind not in ("lost", "back"):
            output.talk(f"waitbus: {notice.text}", dim=True)

    def watch(self, plan: Plan) -> None:
        """Armed, the first time; then the clauses that were met since the last call."""
        if not self.armed:
            self.armed = True
            self._from = self.session.seq if self.session else 0
            output.talk("armed")
            self._doubt()
            self._tell_who_is_down()
        self._tell_health(plan)
        self._progress(plan, plan.met_count)

    def _progress(self, plan: Plan, upto: int) -> None:
        """Tell what was met since the last time, up to the one of that number; the plan keeps the last ones."""
        forgotten = plan.met_count - len(plan.met)
        for number in range(max(self._told, forgotten) + 1, upto + 1):
            self._tell(plan.met[number - forgotten - 1], f"{number}/{plan.total}")
        self._told = upto

    def _tell(self, one: Met, place: str) -> None:
        if self._first_met is None and one.frame is not None and one.clause not in self._states:
            self._first_met = one.frame.seq
        if self.form == "json" and one.frame is not None:
            output.record(self._object(one.frame, one.verdict, one.clause.text))
        elif self.agent and one.frame is not None:
            self._agent(f"{place} {self._line(one.frame)}", one.frame.event_id)
        elif self.agent and one.said:
            self._agent(f"{place} {_state_line(one.clause, one.said)}", None)
        else:
            output.talk(f"  {place}  {self._met(one)}")

    def _met(self, one: Met) -> str:
        if one.frame is None:
            return f"{one.clause.source:<8}  {one.said}" if one.said else one.clause.text
        said = render.parts(one.frame, base=self._base)
        return "  ".join(
            filter(None, (f"{one.frame.source:<8}", said.about or said.event_type, said.verdict, said.detail))
        )

    def _tell_who_is_down(self) -> None:
        from waitbus.cli import doubting

        if self.session is not None:
            for name, reason in doubting.of_health(self.asked.heard_of, self.session).items():
                self.health(name, reason)

    def _tell_health(self, plan: Plan) -> None:
        for frame in plan.take_aside():
            # With --since the past comes by as well, and how a source was then is no news.
            if frame.received_at >= self._begun_ns:
                self.health(*health_of(frame))

    def health(self, name: str, reason: str | None) -> None:
        """A source that this wait depends on went down, for a reason, or (None) is up; said when it is news."""
        if any(one.runs for one in self.watched if one.spec.name == name):
            return
        if reason is not None and name not in self._down:
            self._down.add(name)
            output.warn(f"{name} is down{': ' if reason else ''}{reason}; waiting on")
        elif reason is None and name in self._down:
            self._down.discard(name)
            output.talk(f"waitbus: {name} is up again")

    def _doubt(self) -> None:
        from waitbus.cli import doubting

        if self.session is not None:
            for sentence in doubting.of_keys(self.asked.predicates, self.session):
                output.doubt(sentence)

    # -- how it ended --------------------------------------------------------------------------------------------------

    def end(self, outcome: Outcome, plan: Plan) -> int:
        """Print the event and how it ended; gives the exit code."""
        frame, clause = outcome.frame, outcome.clause
        self._progress(plan, plan.met_count - (outcome.kind == "matched"))  # what decided is printed by itself
        ending = {
            "outcome": outcome.kind,
            "exit_code": outcome.exit_code,
            "cursor": self._cursor(outcome),
            "waited_s": round(time.monotonic() - self.begun, 3),
        }
        if self.form == "json":
            shown = self._shown(outcome)
            output.record({**shown, **ending})
        elif self.form == "cloudevent" and frame is not None:
            output.record(self._cloudevent(frame))
        elif frame is not None:
            line = self._line(frame, paint=not self.agent)
            self._agent(line, frame.event_id) if self.agent else output.data(line)
        elif outcome.said and clause is not None and self.form == "text":
            line = _state_line(clause, outcome.said)
            self._agent(line, None) if self.agent else output.data(line)
        self._last_line(outcome, plan, ending)
        return outcome.exit_code

    def ended(self, outcome: Outcome, plan: Plan) -> int:
        """Say how it ended where the event is not what was asked for; gives the exit code."""
        self._say(self._how(outcome, plan, self._cursor(outcome)), outcome.exit_code)
        return outcome.exit_code

    def again(self) -> None:
        """The same wait begins once more."""
        self.begun = time.monotonic()
        self._told, self._first_met = 0, None
        if self.session is not None:
            self._from = self.session.seq

    def stopped(self, word: str, exit_code: int) -> int:
        """It was interrupted or terminated from outside."""
        cursor = self._cursor(None) if self.armed else None
        said = f"{word} after {self._waited()}{_to_go_on(cursor)}"
        if self.form == "json":
            waited = round(time.monotonic() - self.begun, 3)
            output.record({"outcome": word, "exit_code": exit_code, "cursor": cursor, "waited_s": waited})
        self._say(said, exit_code)
        return exit_code

    def _last_line(self, outcome: Outcome, plan: Plan, ending: dict[str, Any]) -> None:
        how = self._how(outcome, plan, ending["cursor"])
        if how:
            self._say(how, outcome.exit_code)
        elif self.agent:
            text = f"{outcome.kind} after {self._waited()}, exit {outcome.exit_code}"
            output.ending(_with_id(text, ending["cursor"]))

    def _say(self, text: str, exit_code: int) -> None:
        if self.agent:
            output.ending(f"{text}, exit {exit_code}")
        else:
            output.talk(text)

    def _how(self, outcome: Outcome, plan: Plan, cursor: str | None) -> str:
        from waitbus.cli.endings import how

        said = how(outcome, plan, self.asked.predicate, self._waited(), self._passed_by)
        return said + _to_go_on(cursor) if outcome.kind == "timed_out" else said

    def _passed_by(self, sources: Collection[str]) -> str:
        from waitbus.store import seen

        session = self.session
        # In a long log, time may be up before all of it was looked at; the cursor to go on from says where.
        upto = None if session is None or session.caught_up else session.seq
        try:
            count = seen.count_since(session.log, self._from, sources, upto) if session else 0
        except (LogError, PathError):
            return ""
        of = f"{' or '.join(sources)} " if sources else ""
        return f" ({say_count(count, f'{of}event')} passed by)"

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _waited(self) -> str:
        return say_duration(time.monotonic() - self.begun)

    def _cursor(self, outcome: Outcome | None) -> str | None:
        """Where to go on from: behind the event that decided; else so that what was met already is found again."""
        session = self.session
        if session is None or not session.armed:
            return None
        if self.handled is not None:
            return _cursor_of(session, self.handled)
        if outcome is not None and outcome.frame is not None:
            # What a state points to may be older than this wait.
            is_old = outcome.frame.seq <= self._from and outcome.clause in self._states
            return _cursor_of(session, self._from) if is_old else outcome.frame.event_id
        return _cursor_of(session, session.seq if self._first_met is None else self._first_met - 1)

    def _shown(self, outcome: Outcome) -> dict[str, Any]:
        """The event that decided; the clause alone where the state of things did."""
        clause = outcome.clause.text if outcome.clause else None
        if outcome.frame is not None:
            return self._object(outcome.frame, outcome.verdict, clause)
        return {"clause": clause} if outcome.said else {}

    def _object(self, frame: EventFrame, verdict: str, clause: str | None) -> dict[str, Any]:
        return {**frame.to_dict(), "verdict": verdict, "clause": clause}

    def _line(self, frame: EventFrame, *, paint: bool = False) -> str:
        return render.line(frame, paint=output.verdict if paint else None, base=self._base)

    def _agent(self, line: str, event_id: str | None) -> None:
        output.data(_cut(_with_id(line, event_id)))

    def _cloudevent(self, frame: EventFrame) -> dict[str, Any]:
        from waitbus.cloudevents import cloudevent

        try:
            payload = self.session.log.payload(frame.seq) if self.session else None
        except (LogError, PathError):
            payload = None
        return cloudevent(frame, payload)


def _state_line(clause: Clause, said: str) -> str:
    return render.neutral(f"{clause.source}  {said}")


def _with_id(line: str, event_id: str | None) -> str:
    return f"{event_id}  {line}" if event_id else line


def _cut(line: str) -> str:
    return line if len(line) <= output.AGENT_LINE_MAX else line[: output.AGENT_LINE_MAX - 1] + "…"


def _to_go_on(cursor: str | None) -> str:
    return f"; to go on: --since {cursor}" if cursor else ""


def _cursor_of(session: Session, seq: int) -> str | None:
    """The cursor of a position. The log knows its time of commit; who cannot read the log cannot name it."""
    from waitbus.events import make_event_id

    try:
        row = session.log.row(seq) if seq else None
        return make_event_id(row.at_ms if row else 0, session.log.tag, seq)
    except (LogError, PathError):
        return None


def _not_said_today() -> bool:
    """Whether nobody was told for a day that there is no daemon; from now on somebody was."""
    from waitbus.paths import state_dir

    # Where nothing can be noted it is said each time: better than never.
    with contextlib.suppress(OSError, PathError):
        stamp = state_dir() / "no-daemon-said"
        with contextlib.suppress(FileNotFoundError):
            if time.time() - stamp.stat().st_mtime < SAY_NO_DAEMON_EVERY:
                return False
        os.close(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o600))
        os.utime(stamp)
    return True
