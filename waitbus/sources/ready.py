"""Readiness: a port that answers, a file that is there, a URL that is well. Nobody tells of them: they are asked again and again.

In the manner of wait4x: at once, after 50 ms, and less and less often down to once in a second; an attempt has 2 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from waitbus.client.plan import Answer
from waitbus.client.steps import Note
from waitbus.predicate import Clause, Predicate, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waitbus.client.beside import Beside, Tell
    from waitbus.client.plan import State
    from waitbus.client.session import Session
    from waitbus.client.waits import Meet, Source
    from waitbus.document import Document
    from waitbus.events import EventFrame
    from waitbus.store import Log

FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0
"""s between two attempts, doubling from the one to the other."""

LIMIT = 2.0
"""s for one attempt, whatever the other side does."""

ODD_MAX = 5
"""How many odd answers of one target are told; each once."""


@attrs.frozen
class Look:
    """What one attempt came to, in words that stand behind the name of what was asked: `open`, `connection refused`.

    `odd`: waiting may not cure it (a name that nobody knows, a certificate that nobody trusts), so that a person is told.
    """

    ready: bool
    said: str
    odd: bool = False


class Target(Protocol):
    """What is asked: its kind in a word, its name as a person gave it, the option that says so, and `asking NAME`."""

    kind: str
    name: str
    option: str
    asking: str

    async def look(self) -> Look:
        """One attempt. It is cancelled when its time is over."""


def pauses() -> Iterator[float]:
    """s before the second attempt and every later one."""
    growing, pause = [], FIRST_PAUSE
    while pause < LAST_PAUSE:
        growing.append(pause)
        pause *= 2
    return chain(growing, repeat(LAST_PAUSE))


async def attempt(target: Target) -> Look:
    """One attempt within its limit."""
    with trio.move_on_after(LIMIT):
        return await target.look()
    return Look(False, f"no answer in {LIMIT:g} s")


class Readiness:
    """A clause that is met when its target is ready, and the source that asks (`client.beside.Beside`, `client.plan.State`)."""

    wake_at = None
    alternatives = ()
    predicate = None

    def __init__(self, target: Target) -> None:
        self.target = target
        self.clause = Clause(target.option, Predicate(), target.kind)
        self.missing = ""

    @property
    def clauses(self) -> tuple[tuple[Clause, State], ...]:
        return ((self.clause, self),)

    def begin(self, log: Log, now: float) -> None:
        """Nothing: the log does not know."""

    def feed(self, frame: EventFrame, document: Document, now: float) -> Answer | None:
        return None

    def tick(self, now: float) -> Answer | None:
        return None

    def source(self, wanted: Wanted, tell: Tell, session: Session | None = None) -> Source:
        async def ask(meet: Meet, /, *, task_status: Any) -> None:
            task_status.started()
            look = await self._until_ready(tell)
            meet(self.clause, Answer("success", said=f"{self.target.name} {look.said}"))

        return ask

    async def _until_ready(self, tell: Tell) -> Look:
        told: set[str] = set()
        for pause in pauses():
            look = await attempt(self.target)
            if look.ready:
                break
            self.missing = look.said
            if look.odd and look.said not in told and len(told) < ODD_MAX:
                told.add(look.said)
                tell(Note("odd", f"{self.target.option}: {look.said}; trying on"))
            await trio.sleep(pause)
        return look


def asking(several: Iterable[Beside]) -> str:
    """What is asked again and again, in one sentence; empty where nothing is."""
    words = [one.target.asking for one in several if isinstance(one, Readiness)]
    if not words:
        return ""
    listed = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
    return f"{listed} again and again while this command waits"


if TYPE_CHECKING:
    _: type[Beside] = Readiness
