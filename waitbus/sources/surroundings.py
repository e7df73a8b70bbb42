"""What a child that runs somebody else's code gets: few variables, and limits that it cannot raise."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable, Mapping

import waitbus
from waitbus import paths
from waitbus.declared import folders

MEMORY = 512 << 20
"""Bytes of address space."""
DESCRIPTORS = 256

PASSED_ON = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
        *("WAITBUS_STATE_DIR", "WAITBUS_RUNTIME_DIR", "WAITBUS_CONFIG_DIR"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "VIRTUAL_ENV"),
    }
)
"""No token, no password, no agent's socket: what a plugin needs besides, its table names (`env = ["GITHUB_TOKEN"]`)."""


def environment(besides: Iterable[str] = (), whole: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child; `besides` names variables that it gets too."""
    wanted = {*PASSED_ON, *besides}
    found = {name: value for name, value in whole.items() if name in wanted or name.startswith("LC_")}
    found["MALLOC_ARENA_MAX"] = "2"  # each arena of glibc takes 64 MiB of address space
    root = os.path.dirname(os.path.dirname(os.path.abspath(waitbus.__file__)))
    if (
        root == paths.here() and root not in folders()
    ):  # started from a checkout: the child does not search the current folder
        found["PYTHONPATH"] = os.pathsep.join(part for part in (root, found.get("PYTHONPATH")) if part)
    return found


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs a module of ours, which does not look for modules in the current folder (`-P`)."""
    return (sys.executable, "-P", "-m", module, *arguments)


def limited(command: Iterable[str], name: str, memory: int | None = MEMORY) -> tuple[str, ...]:
    """The command line that runs a command under the limits, by way of the shell, which needs 1 ms and no Python."""
    address_space = "" if memory is None else f"ulimit -v {memory // 1024} 2>/dev/null; "
    return ("/bin/sh", "-c", f'{address_space}ulimit -c 0; ulimit -n {DESCRIPTORS} && exec "$@"', name, *command)


def limit(memory: int | None = MEMORY) -> None:
    """Put this process under the limits; it and its children cannot leave them."""
    _lower(resource.RLIMIT_NOFILE, DESCRIPTORS)
    if memory is not None and sys.platform != "darwin":  # which refuses it
        _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))
