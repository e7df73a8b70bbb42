"""From rounds to figures: medians, ratios of interleaved pairs, and what the budget says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import attrs

Sample = Mapping[str, float]
"""What one side gave in one round; a key that is absent was not measured."""


@attrs.frozen
class Budget:
    """`most`: a ratio to 0.2 (or, with `absolute`, the figure itself) of at most this; `least`: of at least this."""

    most: float | None = None
    least: float | None = None
    aim: float | None = None
    absolute: bool = False

    def verdict(self, value: float) -> str:
        if self.most is not None:
            return "met" if value <= self.most else f"missed by {(value / max(self.most, 1e-12) - 1) * 100:.0f} %"
        assert self.least is not None
        return "met" if value >= self.least else f"missed by {(self.least / max(value, 1e-12) - 1) * 100:.0f} %"

    def __str__(self) -> str:
        sign, bound = ("<=", self.most) if self.most is not None else (">=", self.least)
        aim = "" if self.aim is None else f", aim {self.aim:.3g}"
        return f"{sign} {bound:.3g}{'' if self.absolute else 'x'}{aim}"


@attrs.frozen
class Wanted:
    """One line of the table: `key` of the samples, in `unit`. `beside`: the key of 0.2's samples that it stands beside, where
    that is another one."""

    key: str
    title: str
    unit: str
    budget: Budget | None = None
    beside: str | None = None


@attrs.frozen
class Figure:
    """A line as it came out. Values are medians over the rounds; `ratio` is the median of the rounds' own ratios."""

    title: str
    unit: str
    ours: float | None
    theirs: float | None
    floor: float | None
    ratio: float | None
    ratios: list[float]
    budget: str
    verdict: str


def figure(wanted: Wanted, rounds: Sequence[Mapping[str, Sample]]) -> Figure:
    """`rounds` have a sample for each of `ours`, `0.2.0` and `floor`, where there is one."""
    beside = wanted.beside or wanted.key
    ours, theirs = _of(rounds, "ours", wanted.key), _of(rounds, "0.2.0", beside)
    # Pairs of one round ran within seconds of each other: their ratio does not see the machine drift.
    pairs = [
        (one["ours"][wanted.key], one["0.2.0"][beside])
        for one in rounds
        if wanted.key in one.get("ours", {}) and beside in one.get("0.2.0", {})
    ]
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    ratio = median(ratios) if ratios else None
    judged = _median(ours) if wanted.budget is not None and wanted.budget.absolute else ratio
    verdict = "" if wanted.budget is None else "not measured" if judged is None else wanted.budget.verdict(judged)
    return Figure(
        wanted.title, wanted.unit, _median(ours), _median(theirs), _median(_of(rounds, "floor", wanted.key)), ratio, ratios,
        str(wanted.budget or ""), verdict,
    )  # fmt: skip


def _of(rounds: Sequence[Mapping[str, Sample]], side: str, key: str) -> list[float]:
    return [one[side][key] for one in rounds if key in one.get(side, {})]


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def markdown(report: Mapping[str, Any]) -> str:
    """The report as a table, with the machine above it and the notes below."""
    machine = report["machine"]
    lines = [
        f"Measured {report['date']} on {machine['cpus']} x {machine['cpu']}, {machine['kernel']}, {machine['file_system']},"
        f" Python {machine['python']}; {report['rounds']} interleaved rounds. Load average before"
        f" {machine['load_before'][0]}, after {machine['load_after'][0]}.",
        "Ours: " + _version(machine, "ours") + "; beside it: " + _version(machine, "0.2.0") + ".",
        "",
        "| row | figure | unit | ours | 0.2.0 | floor | ratio (min..max) | budget | verdict |",
        "|---|---|---|--:|--:|--:|--:|---|---|",
    ]
    for row in report["rows"]:
        for line in row["figures"]:
            spread = f" ({min(line['ratios']):.3g}..{max(line['ratios']):.3g})" if line["ratios"] else ""
            cells = [
                row["key"],
                line["title"],
                line["unit"],
                *(_number(line[key]) for key in ("ours", "theirs", "floor")),
            ]
            cells += [_number(line["ratio"]) + spread, line["budget"], line["verdict"]]
            lines.append("| " + " | ".join(cells) + " |")
    notes = [f"- {row['key']}: {note}" for row in report["rows"] for note in row["notes"]]
    return "\n".join([*lines, "", *notes, ""])


def _version(machine: Mapping[str, Any], side: str) -> str:
    program = machine["programs"].get(side)
    return "nothing" if program is None else f"{program['version']} (SQLite {program['sqlite']})"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
