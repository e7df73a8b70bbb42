"""`python -m waitbus.sources.declaring VALUE`: a child that loads the declaration which an entry point names, and prints it.

In a child, since a package's code may do anything when it is imported: `emit` and `wait` only read what it printed, once.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from importlib import import_module
from typing import Any

from waitbus.sources.spec import SourceSpec
from waitbus.sources.surroundings import limit

FILES_MAX = 32
OUTPUT_MAX = 16 << 20
"""Bytes of any file that it writes, what it prints among them."""


def plain(spec: SourceSpec) -> dict[str, Any]:
    """A declaration as JSON has it."""
    return {
        "name": spec.name,
        "event_types": list(spec.event_types),
        "about": spec.about,
        "progress": sorted(spec.progress),
        "concludes": sorted(spec.concludes),
        "fields": dict(spec.fields),
        "types": dict(spec.types),
        "natural_key": spec.natural_key,
        "vocabulary": {key: list(words) for key, words in spec.vocabulary.items()},
        "example": dict(spec.example),
        "matches": list(spec.matches),
        "embeddable": spec.embeddable,
        "implementation": spec.implementation,
        "settings": spec.settings,
    }


def loaded(value: str) -> SourceSpec:
    """The declaration behind `module:attribute`, or behind a `spec` of the module; a factory is called.

    Raises:
      TypeError: that is no declaration.
      Exception: whatever the package raises.
    """
    module, _, attribute = value.partition(":")
    found: Any = import_module(module)
    for name in (attribute or "spec").split("."):
        found = getattr(found, name)
    found = found() if callable(found) and not isinstance(found, SourceSpec) else found
    if not isinstance(found, SourceSpec):
        raise TypeError(f"{value} gives {type(found).__name__}, and a waitbus.SourceSpec was expected")
    return found


def main() -> None:
    value = sys.argv[1]
    limit()
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_MAX, OUTPUT_MAX))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the package prints is not the answer
    try:
        answer = {"spec": plain(loaded(value)), "files": _files(value)}
    except BaseException as error:  # the boundary: sys.exit() too
        answer = {"error": f"{type(error).__name__}: {error}"[:400]}
    try:
        text = json.dumps(answer)
    except (TypeError, ValueError) as error:
        text = json.dumps({"error": f"its declaration cannot be written as JSON: {error}"[:400]})
    out.write(text)
    out.flush()
    os._exit(0)  # threads of the package's do not keep it


def _files(value: str) -> list[str]:
    """The source files of the package that were read for the declaration."""
    package = value.partition(":")[0].partition(".")[0]
    modules = [module for name, module in [*sys.modules.items()] if name.partition(".")[0] == package]
    files = (getattr(module, "__file__", None) for module in modules)
    return [os.path.abspath(file) for file in files if isinstance(file, str)][:FILES_MAX]


if __name__ == "__main__":
    main()
