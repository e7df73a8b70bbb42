"""What git knows of the current directory: which commit a name stands for, and which GitHub repository `origin` is.

Only reads, runs `git` by itself, and reaches no network. A URL with a password in it is taken apart here and shown to nobody.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from waitbus.errors import InvalidCommit
from waitbus.paths import here

GIT_TIMEOUT = 10.0
"""s: a repository on a network disk that hangs must not hang the wait."""

_URL = re.compile(r"(?:https?|ssh|git|git\+ssh)://(?:[^/@]*@)?(?P<host>[^/:]+)(?::[0-9]+)?/(?P<path>.+)", re.IGNORECASE)
_SCP = re.compile(r"(?:[^/@:]+@)?(?P<host>[^/@:]{2,}):(?P<path>[^/:].*|/[^/].*)")
_PATH = re.compile(r"(?P<owner>[A-Za-z0-9_.-]+)/(?P<repo>[A-Za-z0-9_.-]+?)(?:\.git)?/?")


class Remote(NamedTuple):
    """Where a URL of git's leads: the host as it is written there (an alias of ssh's, maybe), and `owner/repo`."""

    host: str
    repo: str


def rev_parse(name: str) -> str:
    """The full id of the commit that `name` (`HEAD`, `main~2`, `v1.0`) stands for in the current directory.

    Raises:
      InvalidCommit: git does not know it, or there is no git.
    """
    code, said = _git("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
    if code is None:
        raise InvalidCommit(
            f"--sha {name!r} is no commit id, and there is no git to ask for it", hint="give 7 to 40 hex digits"
        )
    found = said.strip()
    if code or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", found):
        raise InvalidCommit(
            f"--sha {name!r} is no commit that git knows in {here() or 'a directory that was removed'}",
            hint="give 7 to 40 hex digits, or a name as in `git rev-parse HEAD`",
        )
    return found


def origin() -> str | None:
    """`owner/repo` of the remote `origin`, if that is on GitHub; None where there is none."""
    code, said = _git("remote", "get-url", "origin")
    remote = remote_of(said.strip()) if code == 0 else None
    return remote.repo if remote is not None and is_github(remote.host) else None


def remote_of(url: str) -> Remote | None:
    """Host and repository of a URL as git takes it: https, ssh, or `[user@]host:owner/repo`. None for a path or the like."""
    found = _URL.fullmatch(url) or _SCP.fullmatch(url)
    path = _PATH.fullmatch(found["path"].lstrip("/")) if found else None
    if found is None or path is None:
        return None
    return Remote(found["host"].lower(), f"{path['owner']}/{path['repo']}")


def is_github(host: str) -> bool:
    """Whether a host is GitHub's: github.com, `GH_HOST`, or what an ssh configuration calls it (`work`, `github.com-work`).

    A name without a dot cannot be a public host, so it is an alias; which host it leads to only ssh could tell, and the
    repository's name is right all the same.
    """
    return "github" in host or "." not in host or host == os.environ.get("GH_HOST", "").strip().lower()


def _git(*arguments: str) -> tuple[int | None, str]:
    """Exit code (None: there is no git, or it hangs) and output."""
    import subprocess

    try:
        done = subprocess.run(
            ["git", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=GIT_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None, ""
    return done.returncode, done.stdout.decode("utf-8", "replace")
