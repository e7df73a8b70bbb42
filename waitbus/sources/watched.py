"""A source that a wait runs for itself: `--source fs --root src`, `waitbus.watch_files("src")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from waitbus.client.steps import Note
from waitbus.errors import SourceUnavailable
from waitbus.sources.embedding import Embedded
from waitbus.sources.loading import make, settings_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waitbus.client.beside import Beside, Tell
    from waitbus.client.waits import Meet, Source
    from waitbus.predicate import Predicate, Wanted
    from waitbus.sources.contract import SourceSettings
    from waitbus.sources.spec import SourceSpec
    from waitbus.sources.supervision import Health


class Watched:
    """A source by its declaration and settings (`client.beside.Beside`). `says` is told when it begins."""

    clauses = ()

    def __init__(
        self,
        spec: SourceSpec,
        settings: SourceSettings | None = None,
        *,
        predicate: Predicate | None = None,
        says: str = "",
    ) -> None:
        self.spec = spec
        self.predicate = predicate
        self._settings = settings
        self._says = says

    def source(self, wanted: Wanted, tell: Tell) -> Source:
        settings = settings_for_wait(self.spec) if self._settings is None else self._settings
        embedded = Embedded(self.spec.name, make(self.spec, settings), wanted, _Told(tell))

        async def watch(meet: Meet, /, *, task_status: Any) -> None:
            if self._says:
                tell(Note("embedded", self._says))
            await embedded(meet, task_status=task_status)

        return watch


def settings_for_wait(spec: SourceSpec, roots: Sequence[str] = (), globs: Sequence[str] = ()) -> SourceSettings:
    """The settings for a wait: `roots` are folders, `globs` patterns of names; a source that knows neither takes none.

    Raises:
      SourceUnavailable: its settings cannot be loaded, or it has no folders and some were given.
      WaitbusError: what the source itself says of them.
    """
    kind: Any = settings_class(spec)
    if not roots and not globs:
        return cast("SourceSettings", kind.beginning_now())
    if not hasattr(kind, "for_wait"):
        raise SourceUnavailable(
            f"source {spec.name} has no folders to watch", hint="leave --root and --glob out, or use --source fs"
        )
    return cast("SourceSettings", kind.for_wait(list(roots), list(globs)))


class _Told:
    """Tells of a source that goes down, once however often it tries, and of its return."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._is_down = False

    def __call__(self, health: Health) -> None:
        if health.state == "down" and not self._is_down:
            self._is_down = True
            self._tell(Note("down", f"{health.name} is down: {health.reason}; waiting on"))
        elif health.state == "up" and self._is_down:
            self._is_down = False
            self._tell(Note("up", f"{health.name} is up again"))


if TYPE_CHECKING:
    _: type[Beside] = Watched
