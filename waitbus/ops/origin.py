"""The repository of the current directory: where its `origin` is, as `owner/name`."""

from __future__ import annotations

import re
import subprocess

_URL = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/@]*@)?[^/]+/(.*)", re.IGNORECASE)
_SCP = re.compile(r"(?:[^/@:]+@)?[^/@:]+:(?!/)(.*)")
"""`git@host:owner/name`, and with an alias of ~/.ssh/config `alias:owner/name`."""

GIT_TIMEOUT = 5.0
"""s. git only reads its configuration; on a dead network file system not even that ends."""


def origin() -> tuple[str, str] | None:
    """Owner and name; None outside of a repository, without a remote `origin`, or where that is a local path."""
    try:
        # `remote get-url`, not the configuration itself: it has `url.*.insteadOf` applied.
        done = subprocess.run(
            ["git", "remote", "get-url", "origin"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_origin(done.stdout) if done.returncode == 0 else None


def parse_origin(url: str) -> tuple[str, str] | None:
    """Owner and name in the address of a remote (https, ssh, `git@host:`, host aliases), or None."""
    url = url.strip()
    found = _URL.fullmatch(url) or _SCP.fullmatch(url)
    if found is None or url.lower().startswith("file:"):
        return None
    parts = found[1].strip("/").removesuffix(".git").split("/")
    if len(parts) != 2 or not all(re.fullmatch(r"[\w.-]+", part) for part in parts):
        return None
    return parts[0], parts[1]
