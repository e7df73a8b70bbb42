"""A small real source for tests of what runs sources: it listens on a socket, and does what it is told there.

`knock NAME` becomes an event, `down WHY` and `up` are its health, `fail WHY` ends a run by an error, `end` without one.
`python -c 'from tests.sources.doorbell import program; program()' serve` is a `waitbus` that knows it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import attrs
import trio

from waitbus import sources
from waitbus.errors import WaitbusError
from waitbus.events import EventInsert
from waitbus.sources import builtin
from waitbus.sources.contract import Emitter, SourceSettings
from waitbus.sources.spec import SourceSpec

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-c", "from tests.sources.doorbell import program; program()")
"""A `waitbus` whose built-in sources are one more."""

ENVIRONMENT = {"PYTHONPATH": str(ROOT)}


@attrs.frozen(kw_only=True)
class DoorbellSettings(SourceSettings):
    path: str = attrs.field(metadata={"about": "The socket on which it is told."})
    names: tuple[str, ...] = attrs.field(default=(), metadata={"about": "Whose knocks count; all, if nobody is named."})
    loud: bool = attrs.field(default=False, metadata={"about": "Whether it shouts."})


class Doorbell:
    """The source. A folder that is missing is the other side that is not there."""

    def __init__(self, settings: DoorbellSettings) -> None:
        self.settings = settings
        self.scope = (settings.path,)

    async def probe(self) -> str:
        if not Path(self.settings.path).parent.is_dir():
            raise WaitbusError(f"there is no folder for {self.settings.path}", hint="make it")
        return "the folder is there"

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.probe()
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.settings.path)
            await listening.bind(self.settings.path)
            task_status.started()
            while True:
                word, _, rest = (await listening.recv(4096)).decode().partition(" ")
                if word == "end":
                    return
                await self.obey(word, rest, bus)

    async def obey(self, word: str, rest: str, bus: Emitter) -> None:
        if word == "knock" and (not self.settings.names or rest in self.settings.names):
            await bus.emit(EventInsert(source="doorbell", event_type="knock", delivery_id=rest, fields={"name": rest}))
        elif word == "down":
            bus.down(rest, retry_s=20)
        elif word == "up":
            bus.up()
        elif word == "fail":
            raise WaitbusError(rest)


SPEC = SourceSpec(
    name="doorbell",
    event_types=("knock",),
    about="Whoever knocks.",
    fields={"name": "who it is"},
    natural_key="doorbell:<name>",
    example={"event_type": "knock", "fields": {"name": "alice"}},
    matches=("name=alice",),
    implementation="tests.sources.doorbell:Doorbell",
    settings="tests.sources.doorbell:DoorbellSettings",
)


def tell(path: Path | str, *words: str) -> None:
    """Tell the doorbell on `path` something. It has to listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
        speaking.sendto(" ".join(words).encode(), os.fspath(path))


def program() -> None:
    """`waitbus` with the arguments of this process, in which the doorbell is a source of our own."""
    from waitbus.cli import main

    several = (*builtin.BUILT_IN, SPEC)
    for module in (builtin, sources):
        vars(module)["BUILT_IN"] = several
    main(sys.argv[1:])
