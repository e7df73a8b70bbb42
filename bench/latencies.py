"""Latencies of one round as an HdrHistogram: 1 ns to 60 s, three digits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

from hdrh.histogram import HdrHistogram

LONGEST = 60_000_000_000


def load(path: Path) -> array[int]:
    values = array("q")
    values.frombytes(path.read_bytes())
    return values


def histogram(values: Iterable[int]) -> HdrHistogram:
    """Of latencies in ns. What is longer than 60 s counts as 60 s, and nothing is left away."""
    found = HdrHistogram(1, LONGEST, 3)
    for value in values:
        found.record_value(min(max(value, 1), LONGEST))
    return found


def quantiles(values: Iterable[int], prefix: str) -> dict[str, float]:
    """`{prefix}_p50`, `_p99` and `_max` in ms."""
    found = histogram(values)
    return {
        f"{prefix}_p50": found.get_value_at_percentile(50) / 1e6,
        f"{prefix}_p99": found.get_value_at_percentile(99) / 1e6,
        f"{prefix}_max": found.get_max_value() / 1e6,
    }
