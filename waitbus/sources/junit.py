"""JUnit XML, as pytest and most test runners write it, as rows: one for each suite, and one for each test of it that failed.

There is no standard; the elements are those of https://github.com/testmoapp/junitxml. Counts are counted, since the attributes
that say them are often wrong; only of a suite without any test they are believed, where they say that something failed. Some
runners (those of Node and Bun) have tests outside of all suites.

The file is anybody's: expat reads it in one pass, a document type (without which there are no entities) is refused, and so is
what is too large, too deep or too much.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from xml.parsers import expat

import attrs

from waitbus.errors import InvalidValue
from waitbus.events import OWNER_MAX, RECEIVED_AT_MIN, EventInsert
from waitbus.sources.pytest_rows import COUNTS, FAILURES_MAX, OUTCOMES, TEXT_MAX, key_of_test, nth_key

FILE_MAX = 64 * 1024 * 1024
DEPTH_MAX, TESTS_MAX, ROWS_MAX = 64, 1_000_000, 100_000

SECONDS = re.compile(r"[0-9][0-9,]{0,11}(?:\.[0-9]{0,9})?")
"""Some write thousands with a comma."""
SUITES = ("testsuites", "testsuite")
NOT_RUN = ("notrun", "disabled", "skipped")
"""What GoogleTest and CTest say in the attribute `status` of a test that they left out."""


@attrs.define
class _Suite:
    name: str
    began: str
    counts: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(COUNTS, 0))
    bad: list[tuple[str, str, float | None]] = attrs.field(factory=list)
    """(id, outcome, s)."""
    seconds: float = 0.0
    tests: int = 0
    wraps: bool = False
    """Whether there are suites inside."""
    says_bad: bool = False
    """Whether its attributes say that something failed."""
    digest: hashlib._Hash = attrs.field(factory=hashlib.sha256)

    @property
    def conclusion(self) -> str:
        if self.bad or (self.says_bad and not self.tests):
            return "failure"
        return "success" if self.tests else "neutral"


def rows(data: bytes, *, what: str, source: str = "pytest", owner: str = "local", repo: str = "") -> list[EventInsert]:
    """The rows of a JUnit XML document. The same document gives the same delivery ids.

    Raises:
      InvalidValue: it is no such document, or more than is read; the message names `what`.
    """
    suites = _Reader(what).read(data)
    found: list[EventInsert] = []
    for suite in suites:
        found += _rows(suite, source, owner, repo)
        if len(found) > ROWS_MAX:
            raise InvalidValue(f"{what} has more than {ROWS_MAX:,} failures", hint="import it in parts")
    return found


def _rows(suite: _Suite, source: str, owner: str, repo: str) -> Iterator[EventInsert]:
    session = suite.digest.hexdigest()[:16]
    name = (suite.name or source)[:OWNER_MAX]
    common: dict[str, Any] = {
        "source": source,
        "owner": owner,
        "repo": repo or name,
        "workflow_name": name,
        "status": "completed",
    }
    at = _received_at(suite)
    told = Counter[str]()
    for nodeid, outcome, seconds in suite.bad:
        yield EventInsert(
            **common,
            event_type="pytest_test",
            delivery_id=nth_key(key_of_test(session, nodeid, outcome), told),
            conclusion=OUTCOMES[outcome],
            received_at=at,
            fields={
                "nodeid": nodeid,
                "outcome": outcome,
                "duration_ms": None if seconds is None else round(seconds * 1000),
                "session": session,
            },
            ingest_method="junit",
        )
    yield EventInsert(
        **common,
        event_type="pytest_session",
        delivery_id=f"pytest:{session}",
        conclusion=suite.conclusion,
        received_at=at,
        fields={
            **suite.counts,
            "duration_ms": round(suite.seconds * 1000),
            "first_failures": [nodeid for nodeid, *_ in suite.bad[:FAILURES_MAX]] or None,
            "session": session,
        },
        ingest_method="junit",
    )


def _received_at(suite: _Suite) -> int | None:
    """When it ended, in ns, if it says so with an offset: without one it is the time of some machine."""
    try:
        began = datetime.fromisoformat(suite.began)
    except ValueError:
        return None
    if began.tzinfo is None:
        return None
    at = round(began.timestamp() * 1e6) * 1000 + round(suite.seconds * 1000) * 1_000_000
    return at if RECEIVED_AT_MIN <= at < 1 << 62 else None


class _Reader:
    """One pass over one document."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.suites: list[_Suite] = []
        self.open: list[_Suite] = []
        self.depth = self.tests = 0
        self.test: tuple[str, float | None] | None = None
        self.outcome = "passed"

    def read(self, data: bytes) -> list[_Suite]:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(data, True)
        except InvalidValue:
            raise
        except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an encoding that nobody knows
            hint = "JUnit XML is what `pytest --junit-xml=FILE` writes"
            raise InvalidValue(f"{self.what} is not XML: {error}", hint=hint) from None
        return self.suites

    def _refuse_doctype(self, *_: object) -> None:
        raise InvalidValue(
            f"{self.what} has a document type, which may define anything",
            hint="remove <!DOCTYPE ...>; JUnit XML has none",
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise InvalidValue(f"{self.what} is nested too deeply", hint=f"{DEPTH_MAX} elements are read")
        if self.depth == 1 and tag not in SUITES:
            raise InvalidValue(
                f"{self.what} begins with <{tag[:60]}>, not with <testsuites>",
                hint="JUnit XML is what `pytest --junit-xml=FILE` writes",
            )
        if tag in SUITES:
            if self.open:
                self.open[-1].wraps = True
            self.open.append(_suite(attributes))
        elif tag == "testcase":
            self._count_test()
            self.test = _nodeid(attributes), _seconds(attributes.get("time"))
            self.outcome = "skipped" if attributes.get("status") in NOT_RUN else "passed"
        elif self.test is not None:
            self.outcome = _outcome(tag, attributes, self.outcome)

    def _count_test(self) -> None:
        self.tests += 1
        if self.tests > TESTS_MAX:
            raise InvalidValue(f"{self.what} has more than {TESTS_MAX:,} tests", hint="import it in parts")

    def _end(self, tag: str) -> None:
        self.depth -= 1
        if tag == "testcase" and self.test is not None:
            self._close_test(*self.test)
            self.test = None
        elif tag in SUITES:
            suite = self.open.pop()
            suite.digest.update(f"{suite.name}\n{suite.began}".encode())
            if suite.tests or (not suite.wraps and (tag == "testsuite" or suite.says_bad)):
                self.suites.append(suite)

    def _close_test(self, nodeid: str, seconds: float | None) -> None:
        suite = self.open[-1]
        suite.tests += 1
        suite.seconds += seconds or 0.0
        suite.counts["errors" if self.outcome == "error" else self.outcome] += 1
        suite.digest.update(f"{nodeid}\n{self.outcome}\n{seconds}\n".encode())
        if OUTCOMES[self.outcome] == "failure":
            suite.bad.append((nodeid, self.outcome, seconds))


def _suite(attributes: dict[str, str]) -> _Suite:
    bad = any(attributes.get(key, "").strip().lstrip("0").isdigit() for key in ("failures", "errors"))
    return _Suite(attributes.get("name", ""), attributes.get("timestamp", ""), says_bad=bad)


def _nodeid(attributes: dict[str, str]) -> str:
    """`tests/test_a.py::TestB::test_c` where the file is said; what stands before the test's name otherwise."""
    get: Callable[[str, str], str] = attributes.get
    name, place, file = get("name", ""), get("classname", ""), get("file", "")
    module = file.removesuffix(".py").replace("/", ".")
    if file.endswith(".py") and f"{place}.".startswith(f"{module}."):
        place = place[len(module) + 1 :].replace(".", "::")
    return "::".join(part for part in (file, place, name) if part)[:TEXT_MAX] or "?"


def _outcome(tag: str, attributes: dict[str, str], before: str) -> str:
    """What an element inside of a test says of it; the worst is kept."""
    if tag == "error":
        return "error" if before != "failed" else before
    if tag == "failure":
        return "failed"
    if tag == "skipped" and before == "passed":
        return "xfailed" if attributes.get("type") == "pytest.xfail" else "skipped"
    return before


def _seconds(text: str | None) -> float | None:
    return float(text.replace(",", "")) if text is not None and SECONDS.fullmatch(text) else None
