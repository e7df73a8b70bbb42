"""Where a figure was measured. Without it a figure is none."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from bench.sides import Side


def describe(root: Path, sides: list[Side]) -> dict[str, Any]:
    """CPU, kernel, file system, governor, load, and the versions of both programs, as JSON."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "virtual": "hypervisor" in cpuinfo,
        "governor": governor.read_text().strip() if governor.exists() else "not told",
        "file_system": file_system(root),
        "python": platform.python_version(),
        "programs": {
            side.name: dict(zip(("version", "sqlite"), side.version().split(), strict=True)) for side in sides
        },
        "load_before": load(),
    }


def load() -> list[float]:
    """The load averages of 1, 5 and 15 minutes: others on the machine make all figures worse, and ratios less sure."""
    return [round(value, 2) for value in os.getloadavg()]


def file_system(path: Path) -> str:
    """Type of the file system that holds the logs."""
    done = subprocess.run(["stat", "-f", "-c", "%T", os.fspath(path)], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
