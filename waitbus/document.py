"""What a predicate sees of an event: columns at top level, `fields`, and the payload, each read only if asked for.

A row of the log has `fields` as JSON text, a frame has them as a dict; both become a `Document`, so that the daemon and its
clients evaluate with the same code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from waitbus.events import COLUMN_FIELDS

if TYPE_CHECKING:
    from waitbus.events import EventFrame, EventInsert

Payload = str | bytes | None

ROOT_KEYS = frozenset({"event_id", "seq", "received_at", "delivery_id", "summary", "kind", *COLUMN_FIELDS})
"""Keys that name a column; the seven of `COLUMN_FIELDS` are named by `fields.KEY` as well."""
PAYLOAD_MAX = 1024 * 1024
"""Bytes; a larger payload is not parsed for a predicate."""


class Path(NamedTuple):
    """Where a key leads: `column`, `fields` or `payload`, and the name below it."""

    root: Literal["column", "fields", "payload", "special"]
    name: str


def resolve(key: str) -> Path:
    """The path a key names: a column, else `payload.`, else `fields`, with or without that prefix."""
    if key in ROOT_KEYS:
        return Path("column", key)
    root, dot, name = key.partition(".")
    if dot and root == "payload":
        return Path("payload", name)
    if not dot or root != "fields":
        name = key
    return Path("column", name) if name in COLUMN_FIELDS else Path("fields", name)


class Document:
    """One event, as predicates see it.

    `fields` is a mapping, JSON text, or a function that gives one of them; `payload` JSON text or a function that gives it.
    Both are read at most once, however many predicates look. `doubts` collects what a person should be told about an
    evaluation: for each thing that is doubted (a term, the payload) a sentence.
    """

    tells = True
    """Whether somebody hears of doubts. Where nobody does, what is doubtful is let through to where somebody will."""

    __slots__ = ("_fields", "_payload", "_unread", "columns", "doubts")

    def __init__(
        self,
        columns: Mapping[str, Any],
        fields: Mapping[str, Any] | str | Callable[[], Mapping[str, Any] | str],
        payload: Payload | Callable[[], Payload] = None,
    ) -> None:
        self.columns = columns
        self.doubts: dict[str, str] = {}
        self._unread = fields
        self._fields: Mapping[str, Any] | None = None
        self._payload: Any = payload if callable(payload) else lambda: payload

    @classmethod
    def of_frame(cls, frame: EventFrame, payload: Payload | Callable[[], Payload] = None) -> Document:
        """The document of a frame; its payload does not travel and is read from the log through `payload`."""
        return cls(_FrameColumns(frame), frame.fields, payload)

    @classmethod
    def of_insert(cls, event: EventInsert) -> Document:
        """The document of an event that is still to be written: all but `event_id` and `seq` is known."""
        return cls(_InsertColumns(event), event.fields, event.payload_json)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The event's fields; the seven that are columns may be missing here, so ask `get`."""
        if self._fields is None:
            unread = self._unread() if callable(self._unread) else self._unread
            self._fields = unread if isinstance(unread, Mapping) else _object(unread)
        return self._fields

    @property
    def payload(self) -> Any:
        """The parsed payload; None if it is no JSON or larger than `PAYLOAD_MAX`."""
        if callable(self._payload):
            self._payload = self._parsed(self._payload())
        return self._payload

    def get(self, path: Path) -> Any:
        """The value at a path; None if it is null or absent, which are the same."""
        root, name = path
        if root == "column":
            return self.columns.get(name)
        if root == "payload":
            return walk(self.payload, name)
        fields = self.fields if self._fields is None else self._fields
        if name in fields:
            return fields[name]
        return walk(fields, name) if "." in name else None

    def lookup(self, key: str) -> Any:
        """The value of a key as a person writes it (`conclusion`, `fields.exit_code`, `payload.action`)."""
        return self.get(resolve(key))

    def as_dict(self) -> dict[str, Any]:
        """The whole document, payload included, for evaluators that want to walk it themselves."""
        columns = {key: self.columns.get(key) for key in ROOT_KEYS}
        fields = {**self.fields, **{key: columns[key] for key in COLUMN_FIELDS}}
        return {**columns, "fields": fields, "payload": self.payload}

    def _parsed(self, text: Payload) -> Any:
        if text is None:
            return None
        if len(text) > PAYLOAD_MAX or (isinstance(text, str) and not text.isascii() and _size(text) > PAYLOAD_MAX):
            event_id = self.columns.get("event_id")
            self.doubts["payload"] = f"the payload of event {event_id} is larger than 1 MiB; payload.* does not see it"
            return None
        return _json(text)


class Columns(Mapping[str, Any]):
    """The columns of an event by name. None is copied: a predicate looks at one or two of thirteen."""

    __slots__ = ()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a column; `default` for what is none."""
        raise NotImplementedError

    def __getitem__(self, key: str) -> Any:
        if key not in ROOT_KEYS:
            raise KeyError(key)
        return self.get(key)

    def __iter__(self) -> Iterator[str]:
        return iter(ROOT_KEYS)

    def __len__(self) -> int:
        return len(ROOT_KEYS)


class _FrameColumns(Columns):
    __slots__ = ("_frame",)

    def __init__(self, frame: EventFrame) -> None:
        self._frame = frame

    def get(self, key: str, default: Any = None) -> Any:
        if key == "source":
            return self._frame.source or self._frame.fields.get(key)
        if key == "ingest_method":
            return self._frame.fields.get(key)
        return getattr(self._frame, key) if key in ROOT_KEYS else default


class _InsertColumns(Columns):
    __slots__ = ("_event",)

    def __init__(self, event: EventInsert) -> None:
        self._event = event

    def get(self, key: str, default: Any = None) -> Any:
        if key == "kind":
            return "event"
        return getattr(self._event, key, default) if key in ROOT_KEYS else default


def walk(value: Any, name: str) -> Any:
    """What a dotted name leads to: at each step the whole rest as one key first (`com.docker.compose.project`)."""
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        head, dot, rest = name.partition(".")
        return walk(value[head], rest) if dot and head in value else None
    if isinstance(value, list):
        head, dot, rest = name.partition(".")
        item = _item(value, head)
        return walk(item, rest) if dot else item
    return None


def _item(items: list[Any], index: str) -> Any:
    digits = index.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        return None
    try:
        return items[int(index)]
    except IndexError:
        return None


def _object(text: str) -> Mapping[str, Any]:
    value = _json(text)
    return value if isinstance(value, dict) else {}


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
