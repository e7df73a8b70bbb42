"""What a source says of itself, as plain values: for `source show`, and for docs/SOURCES.md. Runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from waitbus.config import settings
from waitbus.errors import SourceUnavailable
from waitbus.events import EventFrame, EventInsert, Fields
from waitbus.ops.config_schema import default_of, sentence
from waitbus.sources.loading import settings_class

if TYPE_CHECKING:
    from waitbus.sources.spec import SourceSpec

COLUMNS = ("status", "conclusion")


def facts(spec: SourceSpec) -> dict[str, Any]:
    """The object of `waitbus source show --json` (docs/schemas/source-show.json)."""
    rules = spec.progress_rules()
    return {
        "name": spec.name,
        "about": spec.about,
        "event_types": [{"name": one, "progress": rules.get(one)} for one in spec.event_types],
        "fields": [
            {"name": key, "type": spec.type_of(key), "about": about, "words": list(spec.vocabulary.get(key, ()))}
            for key, about in spec.fields.items()
        ],
        "vocabulary": {key: list(words) for key, words in spec.vocabulary.items()},
        "natural_key": spec.natural_key,
        "runs": bool(spec.implementation),
        "embeddable": spec.embeddable,
        "settings": _settings(spec),
        "example": example_of(spec),
        "matches": list(spec.matches),
    }


def example_of(spec: SourceSpec) -> dict[str, Any] | None:
    """The declaration's example as an event is read, without what only a log can give it; None where it has none."""
    frame = example_frame(spec)
    if frame is None:
        return None
    shown = frame.to_dict()
    for key in ("event_id", "received_at", "seq"):
        del shown[key]
    return shown


def example_frame(spec: SourceSpec) -> EventFrame | None:
    """The example as a frame of no log."""
    if not spec.example:
        return None
    event = EventInsert(source=spec.name, **{"delivery_id": spec.natural_key or spec.name, **spec.example})
    columns = {key: value for key in COLUMNS if (value := getattr(event, key)) is not None}
    return EventFrame(
        event_id="",
        event_type=event.event_type,
        owner=event.owner,
        repo=event.repo,
        received_at=0,
        delivery_id=event.delivery_id,
        summary=event.summary,
        fields=Fields({**event.fields, "source": spec.name, **columns}),
        source=spec.name,
    )


def _settings(spec: SourceSpec) -> list[dict[str, Any]]:
    """What may stand in `[sources.NAME]`; nothing where nothing is run, or where its class cannot be had here."""
    if not spec.implementation:
        return []
    try:
        kind = settings_class(spec)
    except SourceUnavailable:
        return []
    return [
        {"name": name, "about": sentence(setting), "default": default_of(setting), "required": _is_required(setting)}
        for name, setting in settings(kind).items()
    ]


def _is_required(setting: attrs.Attribute[Any]) -> bool:
    return setting.default is attrs.NOTHING
