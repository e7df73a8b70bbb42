"""The synchronous call and the asynchronous one, under trio and under asyncio, called the same way by every test."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import attrs

import waitbus
from waitbus.client.subscription import AsyncSubscription, Subscription
from waitbus.paths import bells_dir

LIMIT = 20.0
"""s for any one call; a test that gets there has failed."""

Each = Callable[[int, Subscription | AsyncSubscription], None]


def event(n: int, **kwargs: Any) -> waitbus.EventInsert:
    """A numbered event."""
    fields = {"n": n, **kwargs.pop("fields", {})}
    return waitbus.EventInsert(source="agent", event_type="deploy_finished", fields=fields, **kwargs)


def emit(*numbers: int) -> None:
    """One event after another, each with a commit of its own."""
    for n in numbers:
        waitbus.emit(event(n))


def bells() -> int:
    """How many hang beside the usual log."""
    return sum(not path.name.startswith(".") for path in bells_dir().glob("*"))


@attrs.frozen
class Face:
    """`call("wait_for", ...)` is `waitbus.wait_for(...)`, or `await waitbus.await_for(...)` in a loop of `backend`."""

    name: str
    backend: str | None = None

    def __str__(self) -> str:
        return self.name

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.backend is None:
            return getattr(waitbus, name)(*args, **kwargs)

        async def main() -> Any:
            with anyio.fail_after(LIMIT):
                return await getattr(waitbus, f"a{name}" if name != "wait_for" else "await_for")(*args, **kwargs)

        return anyio.run(main, backend=self.backend)

    def collect(self, count: int, *args: Any, each: Each | None = None, **kwargs: Any) -> list[int]:
        """The numbers of the first `count` events of a subscription; `each` is called with how many came, from 0 (armed) on."""
        if self.backend is None:
            return _collect(count, each, *args, **kwargs)
        return anyio.run(lambda: _acollect(count, each, *args, **kwargs), backend=self.backend)


FACES = [Face("sync"), Face("trio", "trio"), Face("asyncio", "asyncio")]


def _collect(count: int, each: Each | None, *args: Any, **kwargs: Any) -> list[int]:
    got: list[int] = []
    with waitbus.subscribe(*args, **kwargs) as events:
        events.deadline = time.monotonic() + LIMIT
        if each is not None:
            each(0, events)
        for frame in events:
            got.append(frame.fields["n"])
            if each is not None:
                each(len(got), events)
            if len(got) == count:
                break
    return got


async def _acollect(count: int, each: Each | None, *args: Any, **kwargs: Any) -> list[int]:
    got: list[int] = []
    with anyio.move_on_after(LIMIT):
        async with waitbus.asubscribe(*args, **kwargs) as events:
            if each is not None:
                each(0, events)
            async for frame in events:
                got.append(frame.fields["n"])
                if each is not None:
                    each(len(got), events)
                if len(got) == count:
                    break
    return got
