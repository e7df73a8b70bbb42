"""The names of the built-in sources, to tell a slip of the hand from a source of somebody's own."""

from __future__ import annotations

BUILT_IN = ("agent", "alertmanager", "docker", "fs", "github", "http", "process", "pytest", "waitbus")
"""Here by name, so that `emit` need not import their declarations (10 ms). A test compares the two."""
EMBEDDED = ("docker", "fs")
"""Those of them that a wait may run by itself for what it names."""


def near_source(name: str) -> str | None:
    """The built-in source that was probably meant by a name that is none of them, and that no plugin has."""
    if name in BUILT_IN:
        return None
    from waitbus.cli.command import near

    meant = near(name, BUILT_IN)
    if meant is None:
        return None
    from waitbus.sources import known_sources

    return None if name in known_sources() else meant
