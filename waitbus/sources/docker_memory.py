"""What is remembered of containers between two of their events: bounded, and lost without harm."""

from __future__ import annotations

from typing import TypeVar

import attrs

from waitbus.sources.docker_events import Message, is_sigkill

EXEC_PER_HOUR = 60
"""How many exec_* events of one container are written in an hour: a health check makes three every few seconds."""

REMEMBERED = 4096
"""How many containers, and how many events, are kept in mind."""

_HOUR = 3600 * 10**9

T = TypeVar("T")


@attrs.define
class Run:
    """A container's run: when it started (ns by the engine's clock; None: nobody told), whether an `oom` came, and whether the
    engine was told to kill it."""

    started_ns: int | None = None
    oom: bool = False
    killed: bool = False


@attrs.define
class Exec:
    """The exec_* events of a container in an hour (its number since the epoch): how many came, how many went unwritten."""

    hour: int = -1
    count: int = 0
    skipped: int = 0


class Memory:
    """The containers that were heard of last."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._execs: dict[str, Exec] = {}
        self._told: dict[str, None] = {}

    def note(self, message: Message) -> None:
        """Hear an action that is no end."""
        if message.action == "start":
            _put(self._runs, message.id, Run(started_ns=message.time_ns))
        elif message.action == "oom" or is_sigkill(message):
            run = self.run_of(message.id)
            run.oom |= message.action == "oom"
            run.killed |= message.action == "kill"
            _put(self._runs, message.id, run)
        elif message.action in ("destroy", "remove"):
            self._runs.pop(message.id, None)
            self._execs.pop(message.id, None)

    def learn(self, container: str, started_ns: int) -> None:
        """Hear of a container that it runs since then."""
        known = self.run_of(container).started_ns
        if known is None or known < started_ns:
            _put(self._runs, container, Run(started_ns))

    def run_of(self, container: str) -> Run:
        """What is known of the run that goes on."""
        return self._runs.get(container, Run())

    def ended(self, container: str) -> None:
        """That run is over: what was known of it is forgotten."""
        self._runs.pop(container, None)

    def admit(self, message: Message) -> int | None:
        """None: an exec_* event too many. Else how many of them were left out since the last that was not.

        By the hours of the engine's clock, so that two watchers leave out the same.
        """
        if not message.action.startswith("exec"):
            return 0
        seen = self._execs.get(message.id, Exec())
        hour = message.time_ns // _HOUR
        if hour != seen.hour:
            seen = Exec(hour, skipped=seen.skipped)
        _put(self._execs, message.id, seen)
        seen.count += 1
        if seen.count > EXEC_PER_HOUR:
            seen.skipped += 1
            return None
        skipped, seen.skipped = seen.skipped, 0
        return skipped

    def is_told(self, message: Message) -> bool:
        """Whether its row was written by this very source: a stream begins a little before the end of the last one."""
        return _key(message) in self._told

    def told(self, message: Message) -> None:
        """Its row is written, or is not to be."""
        _put(self._told, _key(message), None)


def _key(message: Message) -> str:
    return f"{message.id}:{message.action}:{message.time_ns}"


def _put(memory: dict[str, T], key: str, value: T) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > REMEMBERED:
        del memory[next(iter(memory))]
