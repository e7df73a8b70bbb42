"""The JSON that a command prints, held against its schema in docs/schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parent.parent / "docs" / "schemas"


def checked(name: str, text: str) -> dict[str, Any]:
    """The one object in `text`, which has to be on one line and of the schema `name`."""
    assert text.count("\n") == 1, text
    value: dict[str, Any] = json.loads(text)
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(value)
    return value
