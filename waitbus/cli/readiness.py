"""`--port`, `--exists`, `--gone` and `--http`: from what was typed to what is asked again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitbus.sources.ready import Readiness
from waitbus.sources.ready_file import Exists, Gone
from waitbus.sources.ready_port import Port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from waitbus.sources.ready import Target


def readiness(given: Mapping[str, Any]) -> list[Readiness]:
    """A clause for each, each once.

    Raises:
      InvalidWait: one is not of its form.
      Offline: one is another machine's, and that is forbidden.
    """
    return list({target.option: Readiness(target) for target in _targets(given)}.values())


def _targets(given: Mapping[str, Any]) -> Iterator[Target]:
    yield from map(Port, given["ports"])
    yield from map(Exists, given["there"])
    yield from map(Gone, given["gone"])
    if given["urls"]:
        from waitbus.sources.ready_http import DEFAULT_STATUS, Http

        for url in given["urls"]:
            yield Http(url, given["statuses"] or (DEFAULT_STATUS,))
