"""The rows of the table: what each measures and why so, in the docstring of its module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from bench.figures import Sample, Wanted
from bench.sides import Side


@attrs.frozen
class Scale:
    """How much is measured. A quick run shows that everything runs; its figures are no figures."""

    rounds: int = 5
    paced: int = 1000
    warm_up: int = 100
    rate: float = 100.0
    loop: int = 20_000
    loop_old: int = 3000
    subscribers: int = 100
    burst: int = 10_000
    waiters: int = 10_000
    unwanted: int = 1000
    rows: int = 200_000
    expired: int = 500_000
    idle: float = 60.0
    starts: int = 10


QUICK = Scale(
    rounds=1,
    paced=200,
    warm_up=50,
    loop=2000,
    loop_old=300,
    subscribers=20,
    burst=2000,
    waiters=500,
    unwanted=100,
    rows=20_000,
    expired=10_000,
    idle=5.0,
    starts=3,
)


def _no_notes(rounds: Sequence[Mapping[str, Sample]]) -> list[str]:
    return []


@attrs.frozen
class Row:
    """`measure` runs one side once; `floor` the bare socket pair. `losses` are keys that must be 0 for ours."""

    key: str
    title: str
    measure: Callable[[Side, Scale], Sample]
    figures: tuple[Wanted, ...]
    floor: Callable[[Scale, Path], Sample] | None = None
    losses: tuple[str, ...] = ()
    rounds: int = 5
    notes: Callable[[Sequence[Mapping[str, Sample]]], list[str]] = _no_notes
