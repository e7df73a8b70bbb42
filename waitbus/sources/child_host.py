"""`python -m waitbus.sources.child_host NAME`: the child in which a plugin's source runs, under limits that it cannot raise.

On its standard input: a line `{"implementation", "settings_class", "settings", "memory"}`, then an answer
`{"number", "new"}` for each transaction. On its standard output, a line each: `{"event", "number", "last"}`,
`{"up"}`, `{"down", "retry_s"}`, `{"started"}`, `{"heartbeat"}`, `{"failed"}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs
import trio

from waitbus.errors import ConfigError, InvalidEvent, WaitbusError
from waitbus.events import EventInsert
from waitbus.sources.child_lines import BATCH_MAX, LINE_MAX
from waitbus.sources.surroundings import limit

if TYPE_CHECKING:
    from waitbus.store.rows import Keys, Unless

HEARTBEAT = 20.0
"""s between two signs of life; three of them lost are a hang."""


@attrs.define(eq=False)
class Host:
    """The plugin's `Emitter`, and the task status of its run: what it says goes out as lines, in that order."""

    out: trio.abc.SendStream
    _lines: list[bytes] = attrs.field(factory=list, init=False)
    _has_lines: trio.Event = attrs.field(factory=trio.Event, init=False)
    _all_out: trio.Event = attrs.field(factory=trio.Event, init=False)
    _number: int = attrs.field(default=0, init=False)
    _answers: dict[int, Answer] = attrs.field(factory=dict, init=False)
    _state: tuple[str, str] = attrs.field(default=("", ""), init=False)

    # -- what the plugin says ----------------------------------------------------------------------------------------------

    async def emit(self, *events: EventInsert, unless: Unless | None = None) -> int:
        if not events:
            return 0
        if len(events) > BATCH_MAX:
            raise InvalidEvent(f"{len(events)} events in one emit", hint=f"emit {BATCH_MAX:,} at most")
        self._number += 1
        number, answer = self._number, Answer()
        known = unless or {}
        lines = [_event_line(one, number, one is events[-1], known.get(one.delivery_id)) for one in events]
        self._answers[number] = answer
        self._say(*lines)
        await answer.came.wait()
        return answer.new

    def up(self, detail: str = "") -> None:
        self._say_state("up", detail)

    def down(self, reason: str, retry_s: float | None = None) -> None:
        self._say_state("down", reason, retry_s=retry_s)

    def started(self, value: None = None) -> None:
        self._say(_line({"started": True}))

    def _say_state(self, kind: str, text: str, **more: Any) -> None:
        if (kind, text) != self._state:  # said once: a plugin may say it for each thing that it hears
            self._state = (kind, text)
            self._say(_line({kind: text[:400], **more}))

    def _say(self, *lines: bytes) -> None:
        self._lines += lines
        self._has_lines.set()

    # -- the pipes -----------------------------------------------------------------------------------------------------------

    async def write(self) -> None:
        while True:
            await self._has_lines.wait()
            self._has_lines = trio.Event()
            while self._lines:
                lines, self._lines = self._lines, []
                await self.out.send_all(b"".join(lines))
            self._all_out.set()

    async def beat(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT)
            self._say(_line({"heartbeat": True}))

    async def hear(self, answers: trio.abc.ReceiveStream, rest: bytes) -> None:
        while True:
            *whole, rest = rest.split(b"\n")
            for line in whole:
                self._answered(json.loads(line))
            data = await answers.receive_some()
            if not data:
                _end_all()  # whoever started us is gone
            rest += bytes(data)

    def _answered(self, value: dict[str, int]) -> None:
        answer = self._answers.pop(value["number"])
        answer.new = value["new"]
        answer.came.set()

    async def farewell(self, said: bytes) -> None:
        """Wait until everything is out, a last line too, for 1 s at most."""
        self._all_out = trio.Event()
        self._say(said)
        with trio.move_on_after(1):
            await self._all_out.wait()


@attrs.define(eq=False)
class Answer:
    """How many events of a transaction were new, once that is known."""

    came: trio.Event = attrs.field(factory=trio.Event)
    new: int = 0


def _event_line(event: EventInsert, number: int, last: bool, unless: Keys | None) -> bytes:
    given = {
        field.name: getattr(event, field.name) for field in attrs.fields(EventInsert) if field.name != "fields_json"
    }
    line = _line({"event": given, "number": number, "last": last, "unless": unless})
    if len(line) > LINE_MAX + 1:
        raise InvalidEvent(
            f"an event has {len(line):,} bytes as a line", hint=f"an event of a plugin has {LINE_MAX:,} bytes at most"
        )
    return line


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


# -- the program ---------------------------------------------------------------------------------------------------------


def main() -> None:
    # The pipes are ours: what the plugin prints goes to standard error, and it has nothing to read.
    inward, outward = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
    sys.exit(trio.run(_main, inward, outward))


async def _main(inward: int, outward: int) -> int:
    async with trio.lowlevel.FdStream(inward) as answers, trio.lowlevel.FdStream(outward) as out:
        first, rest = await _first_line(answers)
        given = json.loads(first)
        limit(given.get("memory"))
        return await _run(Host(out), given, answers, rest)


async def _run(host: Host, given: dict[str, Any], answers: trio.abc.ReceiveStream, rest: bytes) -> int:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.hear, answers, rest)
        nursery.start_soon(host.write)
        nursery.start_soon(host.beat)
        try:
            await _made(given).run(host, task_status=host)
            said, code = b"", 0
        except Exception as error:  # the boundary: the reason goes to whoever supervises us
            traceback.print_exception(error)
            said, code = _line({"failed": _reason(error)}), 1
        await host.farewell(said)
        nursery.cancel_scope.cancel()
    return code


async def _first_line(stream: trio.abc.ReceiveStream) -> tuple[bytes, bytes]:
    data = b""
    while b"\n" not in data:
        more = await stream.receive_some()
        if not more:
            _end_all()
        data += bytes(more)
    first, _, rest = data.partition(b"\n")
    return first, rest


def _made(given: dict[str, Any]) -> Any:
    """The plugin's source, from its settings."""
    settings = _settings(given["settings_class"], given["settings"]) if given["settings_class"] else given["settings"]
    return _named(given["implementation"])(settings)


def _settings(name: str, table: dict[str, Any]) -> Any:
    kind = _named(name)
    known = {field.name for field in attrs.fields(kind)} if attrs.has(kind) else set(table)
    for key in table:
        if key not in known:
            raise ConfigError(f"unknown key {key!r} in its settings", hint=f"known here: {', '.join(sorted(known))}")
    from waitbus.events import converter

    try:
        return converter().structure(table, kind)
    except Exception as error:
        leaves = getattr(error, "exceptions", (error,))
        raise ConfigError(f"its settings are not legal: {_reason(leaves[0])}", hint="see its documentation") from error


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _reason(error: BaseException) -> str:
    if isinstance(error, WaitbusError):
        return error.message
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _end_all() -> None:
    """End this process and all that it started."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
