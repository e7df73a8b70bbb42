"""What a caller of the library hands to a wait, as in `waitbus.decide(sources=[waitbus.ready_port("localhost:5432")])`.

`watch_*` are sources: they write events for as long as the wait waits. `ready_*` are states of things, and clauses of the wait by
themselves: they are asked again and again, at once, after 50 ms, and less and less often down to once in a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from waitbus.errors import InvalidWait
from waitbus.event_checks import shown
from waitbus.paths import as_path
from waitbus.sources import source
from waitbus.sources.pidclause import PidClause
from waitbus.sources.ready import Readiness
from waitbus.sources.ready_file import Exists, Gone
from waitbus.sources.ready_port import Port

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.client.beside import Beside
    from waitbus.sources.contract import SourceSettings


def watch_files(root: str | Path = ".", glob: str | Iterable[str] = ()) -> Beside:
    """Changes of files below the folder `root`, of those whose names match a `glob` (`"*.py"`; several are alternatives).

    What else `[sources.fs]` says holds here too. A wait that names nothing else ends with the first of them; one that does says
    `source="fs"` and more.

    Raises:
      InvalidWait: `root` or `glob` is none.
      ConfigError: the table is wrong.
      SourceUnavailable: no such source can be run here.
    """
    from waitbus.sources.narrowing import fs_predicate
    from waitbus.sources.watched import Watched, settings_for_wait

    roots, globs = [_path(root, "root")], _texts(glob, "glob")
    spec = source("fs")
    predicate, settings = fs_predicate(roots, globs), settings_for_wait(spec, roots, globs)
    return Watched(spec, lambda: settings, predicate=predicate)


def watch_containers() -> Beside:
    """What happens to the containers of this user's engine (Docker or Podman; `[sources.docker]` may name it). A wait that names
    nothing else ends with an exit.

    Raises:
      SourceUnavailable: no such source can be run here.
    """
    return watch_source("docker")


def watch_source(name: str, settings: SourceSettings | None = None) -> Beside:
    """Any source that can be run, by its name: a built-in one, one of a plugin, or one that was registered (`register_source`).

    Without `settings` those of its table `[sources.NAME]`, whether the daemon is to run it or not; one that is wrong is told
    (`ConfigError`) when the wait begins.

    Raises:
      InvalidWait: `name` is no text.
      UnknownSource: nobody declared it.
      SourceUnavailable: its events come from elsewhere.
    """
    from waitbus.errors import SourceUnavailable
    from waitbus.predicate import Predicate
    from waitbus.sources.watched import Watched, settings_for_wait

    spec = source(_text(name, "source"))
    if not spec.embeddable or not spec.implementation:
        raise SourceUnavailable(
            f"source {name!r} cannot be run by a wait: its events come in from outside", hint="leave it out of sources"
        )
    made = partial(settings_for_wait, spec) if settings is None else lambda: settings
    return Watched(spec, made, predicate=Predicate.parse(source=name))


def watch_process(pid: int) -> Beside:
    """The end of the process `pid`, a clause of the wait: failure where it failed and the system tells, else success or none.

    Raises:
      InvalidPid: the number cannot be a process.
    """
    return PidClause(pid)


def ready_port(place: str) -> Beside:
    """Somebody accepts connections at `place`, `"HOST:PORT"`.

    Raises:
      InvalidWait: it is not of that form.
      Offline: it is another machine's, and WAITBUS_OFFLINE is set.
    """
    return Readiness(Port(_text(place, "place"), what="place"))


def ready_http(url: str, status: str | int | Iterable[str | int] = "2xx") -> Beside:
    """A GET of `url` is answered with `status`: `200`, `"200-299"`, `"2xx"`, or several of these.

    Raises:
      InvalidWait, Offline: as `ready_port`.
    """
    from waitbus.sources.ready_http import Http

    several = [status] if isinstance(status, int) else _several(status, "status")
    wanted = [str(one) if isinstance(one, int) else _text(one, "status") for one in several]
    return Readiness(Http(_text(url, "url"), wanted, what="url"))


def ready_file(path: str | Path) -> Beside:
    """The file `path`, or whatever has that name, is there.

    Raises:
      InvalidWait: it names nothing.
    """
    return Readiness(Exists(_path(path, "path"), what="path"))


def ready_gone(path: str | Path) -> Beside:
    """The file `path`, or whatever has that name, is not there.

    Raises:
      InvalidWait: it names nothing.
    """
    return Readiness(Gone(_path(path, "path"), what="path"))


def _path(given: object, what: str) -> str:
    return "" if given == "" else str(as_path(given, what=what))  # type: ignore[arg-type] # as_path refuses what is none


def _text(given: object, what: str) -> str:
    if not isinstance(given, str):
        raise InvalidWait(f"{what} {shown(given)} is not a text", hint="give a string")
    return given


def _texts(given: object, what: str) -> list[str]:
    return [_text(one, what) for one in _several(given, what)]


def _several(given: object, what: str) -> Iterable[object]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise InvalidWait(
            f"{what} {shown(given)} is neither a text nor several", hint="give a string, or a list of them"
        )
    return given
