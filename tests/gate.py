"""The gate of a full run: enough tests ran, and none was skipped but for a reason that is written down.

A pytest plugin, awake only under WAITBUS_GATE=1 (nox sets it when it runs the whole suite). `tests/minimum` holds a
number that only grows; `tests/skips.toml` lists the skips that are in order.
"""

from __future__ import annotations

import fnmatch
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ACTIVE = os.environ.get("WAITBUS_GATE") == "1"


class Gate:
    """Counts the tests that ran and collects the skips."""

    def __init__(self, minimum: int, allowed: list[dict[str, Any]]) -> None:
        self.minimum = minimum
        self.allowed = allowed
        self.ran = 0
        self.skipped: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append((report.nodeid, _reason(report)))
        elif report.when == "call":
            self.ran += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:  # a whole module, by importorskip
            self.skipped.append((report.nodeid, _reason(report)))

    def complaints(self) -> list[tuple[str, str]]:
        """What is wrong, as (where, sentence); empty when the run may pass."""
        wrong = [
            (nodeid, f"skipped for a reason that tests/skips.toml does not list: {reason}")
            for nodeid, reason in self.skipped
            if not any(allows(entry, nodeid, reason) for entry in self.allowed)
        ]
        if self.ran < self.minimum:
            wrong.append(("tests/minimum", f"{self.ran} tests ran, tests/minimum asks for {self.minimum}"))
        return wrong

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        wrong = self.complaints()
        if not wrong:
            return
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        for nodeid, sentence in wrong:
            # As errors, so that the closing line counts them: "900 passed" over a failed run would mislead.
            report = pytest.CollectReport(nodeid, "failed", sentence, [])
            if reporter is not None:
                reporter.stats.setdefault("error", []).append(report)
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def allows(entry: dict[str, Any], nodeid: str, reason: str) -> bool:
    """Whether an entry of skips.toml covers this skip; `tests` and `reason` are shell patterns."""
    return fnmatch.fnmatchcase(nodeid, _literal(entry["tests"])) and fnmatch.fnmatchcase(reason, entry["reason"])


def _literal(pattern: str) -> str:
    return pattern.replace("[", "[[]")  # the brackets of a parametrised id are no character class


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    place = report.longrepr
    text = place[2] if isinstance(place, tuple) else str(place)
    return text.removeprefix("Skipped: ")


def read_gate(folder: Path = HERE) -> Gate:
    """The gate as `minimum` and `skips.toml` in `folder` set it."""
    allowed = tomllib.loads((folder / "skips.toml").read_text(encoding="utf-8")).get("skip", [])
    for entry in allowed:
        if entry.keys() != {"tests", "reason", "why"}:
            raise pytest.UsageError(f"tests/skips.toml: an entry has exactly tests, reason and why: {entry}")
    return Gate(int((folder / "minimum").read_text(encoding="utf-8")), allowed)


def pytest_configure(config: pytest.Config) -> None:
    # Under xdist the workers' reports reach the one process that counts.
    if ACTIVE and not hasattr(config, "workerinput"):
        config.pluginmanager.register(read_gate(), "waitbus-gate")
