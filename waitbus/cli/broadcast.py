"""`waitbus broadcast serve|tap`: the daemon, and what it hands out."""

from __future__ import annotations

from waitbus.cli.command import group
from waitbus.cli.serve import serve_command
from waitbus.cli.tap import tap


@group("broadcast")
def broadcast() -> None:
    """Serve the bus, or look at what passes by on it."""


broadcast.add_command(serve_command("waitbus broadcast serve"))
broadcast.add_command(tap)
