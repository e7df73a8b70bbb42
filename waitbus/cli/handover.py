"""What the child of `on` is given of an event: a file with all of it, and eleven variables; nothing in its arguments.

Values are somebody else's words. In the file they are JSON, faithful to the letter; in the environment, where a shell's
`echo` may show them, whatever moves, hides or reorders letters is written out, and they are cut: the kernel takes 128 KiB a
variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from waitbus.errors import FileUnwritable
from waitbus.render import json_line, neutral

if TYPE_CHECKING:
    from waitbus.events import EventFrame

VALUE_MAX = 4096
"""Characters of a variable."""

NAMES = (
    "EVENT_FILE",
    "EVENT_ID",
    "EVENT_TYPE",
    "SOURCE",
    "OWNER",
    "REPO",
    "HEAD_SHA",
    "STATUS",
    "CONCLUSION",
    "VERDICT",
    "SUMMARY",
)
"""The variables, each with WAITBUS_ before it."""


def environment(
    frame: EventFrame | None, verdict: str, file: str | None, inherited: Mapping[str, str]
) -> dict[str, str]:
    """`inherited` with the variables of this event. What the event does not have is unset, even if an outer `on` set it; without
    an event there is the verdict alone."""
    child = dict(inherited)
    for name, value in zip(NAMES, _values(frame, verdict, file), strict=True):
        if value is None or value == "":
            child.pop(f"WAITBUS_{name}", None)
        else:
            child[f"WAITBUS_{name}"] = str(value) if name == "EVENT_FILE" else neutral(str(value)[:VALUE_MAX])
    return child


def _values(frame: EventFrame | None, verdict: str, file: str | None) -> tuple[object, ...]:
    """Those of NAMES, in their order."""
    if frame is None:
        return tuple(verdict if name == "VERDICT" else None for name in NAMES)
    fields = frame.fields
    return (
        file,
        frame.event_id,
        frame.event_type,
        frame.source,
        frame.owner,
        frame.repo,
        fields.get("head_sha"),
        fields.get("status"),
        fields.get("conclusion"),
        verdict,
        frame.summary,
    )


@contextmanager
def event_file(frame: EventFrame) -> Iterator[str]:
    """The path of a file, mode 0600, that holds the frame as JSON for as long as the block runs.

    Raises:
      FileUnwritable: it cannot be written.
    """
    path = _written(json_line(frame.to_dict()) + "\n")
    try:
        yield path
    finally:
        with suppress(OSError):  # the command may have taken it away, or put something else there
            os.unlink(path)


def _written(text: str) -> str:
    import tempfile

    try:
        number, path = tempfile.mkstemp(prefix="waitbus-event-", suffix=".json")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            os.unlink(path)
            raise
    except OSError as error:
        raise FileUnwritable(
            f"the event cannot be written to a file for the command: {error.strerror}",
            hint="make space in the folder for temporary files, or set TMPDIR to another one",
        ) from None
    return path
