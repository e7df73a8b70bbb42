"""What a pytest run tells, line by line, as rows. Whoever can connect may have written the lines: each is checked, or left out.

A line is a JSON object with `what`: `start` (session, rootdir, args), `test` (nodeid, outcome, subtest, duration_ms, counts),
`progress` (counts), `ending` and `end` (exit_status, counts, duration_ms, first_failures, interrupted, reason). The plugin,
`waitbus/pytest_plugin.py`, writes them.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from waitbus.events import DELIVERY_ID_MAX, OWNER_MAX, EventInsert

LINE_MAX = 64 * 1024
"""Bytes of a line; a longer one ends its connection."""
TEXT_MAX, PATH_MAX, FAILURES_MAX, COUNT_MAX = 1000, 4096, 20, 10**9

COUNTS = ("passed", "failed", "skipped", "errors", "xfailed", "xpassed")
OUTCOMES = {
    "passed": "success",
    "failed": "failure",
    "error": "failure",
    "skipped": "skipped",
    "xfailed": "neutral",
    "xpassed": "success",
}
"""Outcome of a test -> conclusion of its row."""

SESSION = re.compile(r"[0-9a-f]{16}\Z")


class Nonsense(Exception):
    """What came over the connection is none of ours: nothing more is read from it."""


def conclusion_of(exit_status: int | None, *, interrupted: bool = False) -> str:
    """How a session ended: only pytest's own 0 is a success, so that a run that collected nothing (5) is none."""
    if interrupted:
        return "cancelled"
    return "success" if exit_status == 0 else "failure"


@attrs.define(eq=False)
class Session:
    """One connection: the bytes that came, and the rows that they make."""

    began: float = attrs.field(factory=time.monotonic)
    _rest: bytes = b""
    _key: str = ""
    _about: dict[str, Any] = attrs.field(factory=dict)
    _counts: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(COUNTS, 0))
    _failures: list[str] = attrs.field(factory=list)
    _told: Counter[str] = attrs.field(factory=Counter)
    _ending: Mapping[str, Any] | None = None
    _over: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the last word was said."""
        return self._over

    @property
    def beginning(self) -> dict[str, Any] | None:
        """The line with which it began, as an object; None before it has."""
        if not self._key:
            return None
        return {"what": "start", "session": self._key, **{key: self._about[key] for key in ("rootdir", "args")}}

    def feed(self, data: bytes) -> list[EventInsert]:
        """The rows of what is complete by now.

        Raises:
          Nonsense: a line is too long, or the first one starts no session.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX or any(len(line) > LINE_MAX for line in lines):
            raise Nonsense
        found = (self._row(line) for line in lines)
        return [row for row in found if row is not None]

    def gone(self, exit_status: int | None = None, how: str = "") -> list[EventInsert]:
        """The row of a session whose process is gone without its last word; none if that was said, or it never began."""
        if not self._key or self._over:
            return []
        self._over = True
        if self._ending is not None:
            return [self._end(self._ending)]
        last: dict[str, Any] = {"reason": how or "pytest ended without a word", "first_failures": self._failures}
        if exit_status is not None:
            last["exit_status"] = exit_status
        return [self._end({**last, "duration_ms": round((time.monotonic() - self.began) * 1000)})]

    def forgotten(self, how: str) -> list[EventInsert]:
        """The row of a session of which no more is known than that it began, and is over."""
        self._counts.clear()
        return [self._end({"reason": how})] if self._key else []

    def _row(self, line: bytes) -> EventInsert | None:
        message = _object(line)
        what = message.get("what")
        if not self._key:
            if what != "start":
                raise Nonsense
            self._start(message)
        elif self._over:
            return None
        elif what == "test":
            return self._test(message)
        elif what in ("progress", "ending", "end"):
            self._count(message)
            if what == "ending":
                self._ending = message
            elif what == "end":
                self._over = True
                return self._end(message)
        return None

    def _start(self, message: Mapping[str, Any]) -> None:
        key = message.get("session")
        if not isinstance(key, str) or not SESSION.match(key):
            raise Nonsense
        rootdir = _text(message.get("rootdir"), PATH_MAX)
        name = (os.path.basename(rootdir.rstrip("/")) or "pytest")[:OWNER_MAX]
        self._key = key
        self._about = {
            "session": key,
            "rootdir": rootdir or None,
            "args": _text(message.get("args")) or None,
            "name": name,
        }

    def _test(self, message: Mapping[str, Any]) -> EventInsert | None:
        nodeid, outcome = _text(message.get("nodeid")), message.get("outcome")
        if not isinstance(outcome, str) or outcome not in OUTCOMES or not nodeid:
            return None
        self._count(message)
        if OUTCOMES[outcome] == "failure" and len(self._failures) < FAILURES_MAX:
            self._failures.append(nodeid)
        key = key_of_test(self._key, nodeid + _text(message.get("digest"), 16), outcome)
        return EventInsert(
            source="pytest",
            event_type="pytest_test",
            repo=self._about["name"],
            delivery_id=nth_key(key, self._told),
            status="completed",
            conclusion=OUTCOMES[outcome],
            workflow_name=self._about["name"],
            fields={
                "nodeid": nodeid,
                "outcome": outcome,
                "subtest": _text(message.get("subtest")) or None,
                "duration_ms": _number(message.get("duration_ms")),
                "session": self._key,
                "rootdir": self._about["rootdir"],
            },
            ingest_method="pytest",
        )

    def _count(self, message: Mapping[str, Any]) -> None:
        counts = message.get("counts")
        if isinstance(counts, dict):
            self._counts.update({key: n for key in COUNTS if (n := _number(counts.get(key))) is not None})

    def _end(self, message: Mapping[str, Any]) -> EventInsert:
        status = _number(message.get("exit_status"), -COUNT_MAX)
        failures = message.get("first_failures")
        about = self._about
        return EventInsert(
            source="pytest",
            event_type="pytest_session",
            repo=about["name"],
            delivery_id=f"pytest:{self._key}",
            status="completed",
            conclusion=conclusion_of(status, interrupted=message.get("interrupted") is True),
            workflow_name=about["name"],
            fields={
                **self._counts,
                "exit_status": status,
                "duration_ms": _number(message.get("duration_ms")),
                "rootdir": about["rootdir"],
                "args": about["args"],
                "first_failures": _texts(failures) or None,
                "reason": _text(message.get("reason")) or None,
                "session": self._key,
            },
            ingest_method="pytest",
        )


def key_of_test(session: str, nodeid: str, outcome: str) -> str:
    """`pytest:<session>:<nodeid>:<outcome>`; of an id that is too long for a key the beginning, and a digest of it all."""
    key = f"pytest:{session}:{nodeid}:{outcome}"
    if len(key) <= DELIVERY_ID_MAX // 2:  # what is no text becomes longer where it is kept
        return key
    import hashlib  # 2 ms, and hardly ever needed

    digest = hashlib.sha256(nodeid.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return f"pytest:{session}:{nodeid[:40]}~{digest}:{outcome}"


def nth_key(key: str, told: Counter[str]) -> str:
    """The key of a test's row, numbered from the second one on: it may fail in set-up and tear-down, or in several subtests."""
    told[key] += 1
    return key if told[key] == 1 else f"{key}:{told[key]}"


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object, limit: int = TEXT_MAX) -> str:
    return value[:limit] if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    found = value if isinstance(value, list) else []
    return [_text(item) for item in found[:FAILURES_MAX] if isinstance(item, str)]


def _number(value: object, least: int = 0) -> int | None:
    return value if type(value) is int and least <= value <= COUNT_MAX else None
