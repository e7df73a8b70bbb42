"""The JSON that a command prints, held against its schema in docs/schemas."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"


def checked(name: str, text: str) -> dict[str, Any]:
    """The one object in `text`, which has to be on one line and of the schema `name`."""
    assert text.count("\n") == 1, text
    value: dict[str, Any] = conform(name, json.loads(text))
    return value


def lines(name: str, text: str) -> list[Any]:
    """The objects in `text`, one a line, each of the schema `name`."""
    return [conform(name, json.loads(line)) for line in text.splitlines()]


def conform(name: str, value: Any) -> Any:
    """The value, which has to be of the schema `name`."""
    _validator(name).validate(value)
    return value


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)
