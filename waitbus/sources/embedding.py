"""A source inside of a wait, where nobody else runs it: for as long as the wait, and of its events only what that is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waitbus.document import Document
from waitbus.sources.supervision import Health, Supervised

if TYPE_CHECKING:
    from waitbus.client.waits import Meet
    from waitbus.predicate import Wanted
    from waitbus.sources.contract import Source


class Embedded:
    """A source as `waits.run` runs one. `told` hears of its health: a wait says that a source went down, and goes on."""

    def __init__(
        self, name: str, source: Source, wanted: Wanted, told: Callable[[Health], None] = lambda _: None
    ) -> None:
        self._supervised = Supervised(
            name, source, wants=lambda event: wanted.matches(Document.of_insert(event)), tells=False, changed=told
        )

    @property
    def health(self) -> Health:
        return self._supervised.health

    async def __call__(self, _: Meet, /, *, task_status: Any) -> None:
        await self._supervised.run(task_status=task_status)
