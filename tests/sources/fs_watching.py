"""What the tests of the fs source share: a running source whose events are kept, and an end that can be waited for."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from waitbus.events import EventInsert
from waitbus.sources.fs import FsSettings, FsSource
from waitbus.store.rows import Unless

LIMIT = 15.0
_ends = itertools.count()


class Bus:
    """An `Emitter` that keeps what it is told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[EventInsert] = []
        self.health: list[str] = []
        self.may_go_on = trio.Event()
        self.may_go_on.set()
        self.is_held = False
        self._came = trio.Event()

    async def emit(self, *events: EventInsert, unless: Unless | None = None) -> int:
        self.is_held = not self.may_go_on.is_set()
        self._changed()
        await self.may_go_on.wait()
        self.events += events
        self._changed()
        return len(events)

    def up(self, detail: str = "") -> None:
        self.health.append("up")
        self._changed()

    def down(self, reason: str, retry_s: float | None = None) -> None:
        self.health.append(f"down: {reason}")
        self._changed()

    def _changed(self) -> None:
        self._came.set()
        self._came = trio.Event()

    async def until(self, condition: Any) -> None:
        """Until the condition holds, asked whenever something was told."""
        with trio.fail_after(LIMIT):
            while not condition():
                await self._came.wait()

    async def told(self) -> list[EventInsert]:
        """What was told of all that happened up to now: a file that comes and goes, each held as long as any change is, is waited
        for.

        Twice, since what is in a new folder is noted only when that was walked.
        """
        end = self.root / f"{next(_ends)}.end.tmp"
        end.write_text("")
        await self.until(lambda: ("created", str(end)) in self._heard())
        end.unlink()
        await self.until(lambda: ("deleted", str(end)) in self._heard())
        told = [event for event in self.events if ".end.tmp" not in str(event.fields["path"])]
        self.events.clear()
        return told

    def _heard(self) -> set[tuple[str, str]]:
        return {(event.fields["action"], event.fields["path"]) for event in self.events}

    async def changes(self) -> list[tuple[Any, ...]]:
        """The same as (action, relpath), and where it was moved from."""
        return [change(event, self.root) for event in await self.told()]


def change(event: EventInsert, root: Path) -> tuple[Any, ...]:
    fields = event.fields
    if "old_path" in fields:
        return fields["action"], fields["relpath"], os.path.relpath(fields["old_path"], root)
    return fields["action"], fields.get("relpath", fields["path"])


@asynccontextmanager
async def watching(root: Path, *, since_ns: int | None = None, **settings: Any) -> AsyncIterator[Bus]:
    """A source that is armed, in a nursery of its own; it takes over from another one that was heard until `since_ns`."""
    settings.setdefault("roots", [str(root)])
    bus, source = Bus(root), FsSource(FsSettings(**settings))
    if since_ns is not None:
        source.take_over(since_ns)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(LIMIT):
            await nursery.start(source.run, bus)
        yield bus
        nursery.cancel_scope.cancel()


def git(folder: Path, *arguments: str, given: bytes = b"") -> None:
    """Real git, with nothing of the machine's own configuration."""
    environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    subprocess.run(
        ["git", *who, "-C", str(folder), *arguments],
        input=given,
        capture_output=True,
        env=environment,
        timeout=60,
        check=True,
    )


def repository_of(top: Path, files: int, folders: int) -> None:
    """A repository with an empty commit `main` and a commit `full` with so many files in so many folders."""
    blob = b"blob\nmark :1\ndata 5\nhello\n"
    author = b"committer a <a@b> 1700000000 +0000\ndata 1\nx\n"
    tree = b"".join(b"M 100644 :1 d%d/s/f%d.txt\n" % (number % folders, number) for number in range(files))
    commits = (
        b"commit refs/heads/main\n" + author + b"\ncommit refs/heads/full\n" + author + b"from refs/heads/main\n" + tree
    )
    git(top, "init", "-q")
    git(top, "fast-import", "--quiet", given=blob + commits)
    git(top, "checkout", "-q", "main")


def sh(*argv: object) -> None:
    """A program, to its end."""
    subprocess.run([str(word) for word in argv], timeout=60, check=True)
