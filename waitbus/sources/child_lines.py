"""What a child says, line by line: cut, counted, and read. Nothing here waits or opens anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import attrs

from waitbus.errors import ChildFailed, InvalidEvent, InvalidValue
from waitbus.event_checks import SUMMARY_MAX, shown
from waitbus.events import EventInsert

if TYPE_CHECKING:
    from waitbus.store.rows import Keys

LINE_MAX = 64 * 1024
"""Bytes of a line, without its end."""
LINES_PER_S = 1000
FLOOD = 10.0
"""s for which a child may say as much as it is allowed to, without a pause; more is a flood."""
BATCH_MAX = 1000
"""Events of one transaction."""


# -- lines -------------------------------------------------------------------------------------------------------------


@attrs.define
class Lines:
    """Bytes as they come, cut into lines."""

    _rest: bytearray = attrs.field(factory=bytearray, init=False)

    def fed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are whole now, without their ends.

        Raises:
          ChildFailed: one is longer than 64 KiB.
        """
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            yield _bounded(line)
        _bounded(self._rest)

    def last(self) -> Iterator[bytes]:
        """At the end of all: a last line that lacks its end."""
        if self._rest:
            yield bytes(self._rest)
            self._rest.clear()


def _bounded(line: bytes | bytearray) -> bytes:
    if len(line) > LINE_MAX:
        raise ChildFailed(f"it said a line of more than {LINE_MAX:,} bytes", hint="a line is one event")
    return bytes(line) if isinstance(line, bytearray) else line


@attrs.define
class Rate:
    """How fast a child may speak: `LINES_PER_S`, and as much in reserve; who is faster waits. Who never pauses meanwhile floods.

    Its pauses count, not the time: how fast it would speak cannot be seen where the log is slower than it.
    """

    per_s: float = LINES_PER_S
    flood: float = FLOOD
    _left: float = attrs.field(init=False)
    _at: float | None = attrs.field(default=None, init=False)
    _since_pause: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._left = self.per_s

    def paused(self) -> None:
        """It had nothing more to say for a moment."""
        self._since_pause = 0

    def taken(self, lines: int, now: float) -> float:
        """So many lines were said; s to wait before the next are read. `now` is in s of any clock.

        Raises:
          ChildFailed: it did not pause for as many lines as it may say in `FLOOD` s.
        """
        self._since_pause += lines
        most = self.per_s * self.flood
        if self._since_pause > most:
            raise ChildFailed(
                f"it said more than {most:,.0f} lines without a pause",
                hint=f"{self.per_s:g} lines a second are what a source may say",
            )
        passed = 0.0 if self._at is None else now - self._at
        self._at = now
        self._left = min(self.per_s, self._left + passed * self.per_s) - lines
        return max(0.0, -self._left / self.per_s)


# -- what a line says --------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """One line. `number` ties an event to the answer that a plugin waits for; `last`: it ends its transaction; `unless`: other
    delivery ids under which it may be known."""

    kind: Literal["event", "up", "down", "started", "heartbeat", "failed"]
    event: EventInsert | None = None
    number: int | None = None
    last: bool = True
    unless: Keys | None = None
    text: str = ""
    seconds: float | None = None


def of_plugin(line: bytes, source: str) -> Said:
    """A line of `child_host`: an object with one of the keys `event up down started heartbeat failed`.

    Raises:
      ChildFailed: it is none of these.
    """
    value = _object(line)
    try:
        return _plugin_said(value, source)
    except (InvalidValue, TypeError, KeyError, ValueError) as error:
        why = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        raise ChildFailed(f"it said something that is no event: {why}"[:400], hint="report it to its author") from None


def _plugin_said(value: dict[str, Any], source: str) -> Said:
    if "event" in value:
        event = EventInsert(**{"source": source, **value["event"]})
        if event.source != source:
            raise InvalidEvent(f"it is source {source!r} and said an event of {event.source!r}")
        unless = _keys(value.get("unless"))
        return Said("event", event, _number(value["number"]), value.get("last") is not False, unless)
    for kind in ("started", "heartbeat"):
        if kind in value:
            return Said(kind)
    for kind in ("up", "down", "failed"):
        if kind in value:
            seconds = value.get("retry_s")
            is_time = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e9
            return Said(kind, text=str(value[kind])[:400], seconds=seconds if is_time else None)  # type: ignore[arg-type]
    raise InvalidEvent(f"{shown(value)} has no key of ours")


def _keys(value: object) -> Keys | None:
    if value is None:
        return None
    match value:
        case [str() as first, str() as beyond]:
            return first, beyond
    raise InvalidEvent(f"{shown(value)} is no range of delivery ids")


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise InvalidEvent(f"{shown(value)} is no number of a transaction")
    return value


def of_command(line: bytes, source: str, event_type: str) -> Said | None:
    """A line of a command: a JSON object with the keywords of `EventInsert`, else text. None for an empty one.

    Raises:
      ChildFailed: it is a JSON object, and no event.
    """
    text = line.decode("utf-8", "replace").strip("\r")
    if not text.strip():
        return None
    if text.lstrip().startswith("{"):
        return Said("event", _json_event(line, source, event_type))
    event = EventInsert(source=source, event_type=event_type, summary=text[:SUMMARY_MAX], fields={"line": text})
    return Said("event", event)


def _json_event(line: bytes, source: str, event_type: str) -> EventInsert:
    value = _object(line)
    payload = value.get("payload_json")
    if isinstance(payload, dict | list):
        value["payload_json"] = json.dumps(payload, ensure_ascii=False)
    try:
        event = EventInsert(**{"source": source, "event_type": event_type, **value})
    except (InvalidValue, TypeError) as error:
        why = getattr(error, "message", "") or str(error).replace("EventInsert()", "an event")
        hint = getattr(error, "hint", "") or 'facts of its own stand in "fields"'
        raise ChildFailed(f"it said a line that is no event: {why}"[:400], hint=hint) from None
    if event.source != source:
        raise ChildFailed(f"it is source {source!r} and said an event of {event.source!r}", hint="leave `source` out")
    return event


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        text = line[:60].decode("utf-8", "replace")
        raise ChildFailed(f"it said {text!r}, which is no JSON object", hint="each of its lines is one")
    return value
