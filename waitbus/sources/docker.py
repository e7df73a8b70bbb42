"""The docker source: what happens to containers, from the engine's stream of events.

Nothing is polled. A stream that ends is an error for the supervisor, which comes back later each time; the next run begins a
little before the last event that was heard, and what comes twice has the same key. What the engine itself has forgotten by then
(docker keeps 256 events, and none over a restart) is found by asking for the containers that have ended.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import trio

from waitbus.config import AtLeast, Seconds
from waitbus.errors import WaitbusError
from waitbus.sources import docker_rows
from waitbus.sources.contract import Emitter, SourceSettings
from waitbus.sources.docker_endpoint import Endpoint, find
from waitbus.sources.docker_memory import Memory
from waitbus.sources.docker_session import OVERLAP_NS, Place, Session
from waitbus.sources.docker_stream import engine, prepare

if TYPE_CHECKING:
    from typing import Self


@attrs.frozen(kw_only=True)
class DockerSettings(SourceSettings):
    """What may stand in `[sources.docker]`."""

    host: str = attrs.field(
        default="",
        metadata={
            "about": "The engine: unix:///PATH or tcp://HOST:PORT. Empty: DOCKER_HOST, docker's context, or the usual sockets."
        },
    )
    look_back: Seconds = attrs.field(
        default=Seconds(86400.0),
        validator=AtLeast(0),
        metadata={
            "about": "How far back a start makes up for what ended since the last event that was heard; 0: not at all."
        },
    )

    def beginning_now(self) -> Self:
        return attrs.evolve(self, look_back=Seconds(0.0))


class DockerSource:
    """Hears of containers for as long as it runs; each run goes on where the one before ended."""

    def __init__(self, settings: DockerSettings | None = None) -> None:
        self._settings = settings or DockerSettings()
        self._memory = Memory()
        self._first_ns: int | None = None
        self._place = Place()
        self._failure = ""

    def take_over(self, since_ns: int) -> None:
        self._place.floor_ns = since_ns

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hear until the stream breaks.

        Raises:
          ServiceMissing: there is no engine, or its stream ended, or it fell silent.
          ConfigError: what names the engine names none.
        """
        try:
            await self._hear(bus, task_status)
        except WaitbusError as error:
            self._failure = error.message
            raise

    async def probe(self) -> str:
        """Which engine answers.

        Raises:
          ServiceMissing, ConfigError: as `run`.
        """
        endpoint = await trio.to_thread.run_sync(find, self._settings.host)
        async with engine(endpoint) as called:
            await called.ping()
        return f"the engine at {endpoint} answers"

    async def _hear(self, bus: Emitter, task_status: trio.TaskStatus[None]) -> None:
        behind = await self._find_place()
        endpoint = await trio.to_thread.run_sync(self._endpoint)
        since_ns = self._place.since_ns
        async with engine(endpoint) as called, called.events(since_ns) as pieces:
            session = Session(bus, called, pieces, self._place, self._memory)
            await session.run(task_status, since_ns if behind else None, self._failure)

    def _endpoint(self) -> Endpoint:
        prepare()
        return find(self._settings.host)

    async def _find_place(self) -> bool:
        """Where to go on; whether anything may have happened since, that nobody told us."""
        if self._place.floor_ns:
            return True
        now_ns, look_back = time.time_ns(), self._settings.look_back
        heard_ns = await trio.to_thread.run_sync(docker_rows.last_heard, look_back) if look_back else None
        self._place.floor_ns = now_ns if heard_ns is None else min(heard_ns, now_ns) - OVERLAP_NS
        return heard_ns is not None
