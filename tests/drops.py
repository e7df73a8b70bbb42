"""A source for tests: what is dropped into a folder reaches everybody who watches it, and each writes the same event of it.

`python -c 'from tests.drops import main; main()' wait --source drops` is the command line of a program that knows the source.
"""

from __future__ import annotations

import os
import socket
import sys
from itertools import count
from pathlib import Path

import attrs
import trio

from waitbus.cli import main as command_line
from waitbus.events import EventInsert
from waitbus.sources import SourceSpec, register_source
from waitbus.sources.contract import Emitter, SourceSettings

FOLDER = "DROPS_FOLDER"
MAIN = "from tests.drops import main; main()"
_number = count()


@attrs.frozen(kw_only=True)
class DropSettings(SourceSettings):
    """The folder, by the environment unless it is given."""

    folder: str = attrs.field(factory=lambda: os.environ[FOLDER])


class Drops:
    """Hears datagrams on a socket of its own in the folder. `down ...` and `up` are about itself, `fail` ends a run."""

    def __init__(self, settings: DropSettings) -> None:
        self.folder = Path(settings.folder)

    async def run(self, bus: Emitter, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        path = self.folder / f"{os.getpid()}-{next(_number)}.drop"
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            await ear.bind(str(path))
            try:
                task_status.started()
                while True:
                    await self._heard((await ear.recv(1000)).decode(), bus)
            finally:
                path.unlink()

    async def _heard(self, said: str, bus: Emitter) -> None:
        if said == "fail":
            raise RuntimeError("told to fail")
        if said.startswith("down "):
            bus.down(said.removeprefix("down "))
        elif said == "up":
            bus.up()
        else:
            fields = {"name": said}
            await bus.emit(
                EventInsert(source="drops", event_type="dropped", delivery_id=f"drops:{said}", fields=fields)
            )


SPEC = SourceSpec(
    name="drops",
    event_types=("dropped",),
    about="What is dropped.",
    fields={"name": "what it was"},
    natural_key="drops:<name>",
    embeddable=True,
    implementation="tests.drops:Drops",
    settings="tests.drops:DropSettings",
)


def watchers(folder: Path) -> list[Path]:
    """Who watches the folder."""
    return sorted(folder.glob("*.drop"))


def drop(folder: Path, said: str) -> int:
    """Tell everybody who watches; how many that were."""
    found = watchers(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        for path in found:
            mouth.sendto(said.encode(), str(path))
    return len(found)


def main() -> None:
    """The command line, with this source declared."""
    register_source(SPEC)
    sys.exit(command_line(sys.argv[1:]))
