"""`waitbus source run`: one source in the foreground, supervised as the daemon would, its health told as it changes."""

from __future__ import annotations

import signal
import time
import tomllib
from typing import TYPE_CHECKING, Any

import trio

from waitbus.cli import output
from waitbus.cli.command import Usage
from waitbus.cli.waiting import STOPPED, Ear
from waitbus.config import load
from waitbus.quantities import say_duration, say_time
from waitbus.sources import loading
from waitbus.sources.roster import GRACE
from waitbus.sources.supervision import Supervised
from waitbus.store import seen, shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.sources.contract import Source, SourceSettings
    from waitbus.sources.spec import SourceSpec
    from waitbus.sources.supervision import Health


def settings_of(spec: SourceSpec, given: tuple[str, ...]) -> SourceSettings:
    """What the configuration says of the source, with `KEY=VALUE` over it.

    Raises:
      Usage, ConfigError: a text is not of its form; a setting is not known, or not legal.
      SourceUnavailable: its settings cannot be imported.
    """
    own = dict(load().sources.get(spec.name, {}))
    values: dict[str, Any] = {}
    for text in given:
        key, value = _pair(text)
        # Twice is both of them: a list, as there are several roots.
        values[key] = [*_several(values[key]), *_several(value)] if key in values else value
    if not spec.implementation:
        raise Usage(
            f"source {spec.name} has nothing to run", hint="its events come in by themselves; just wait for them"
        )
    return loading.settings_of(spec, {**own, **values, "enabled": True})


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise Usage(
            f"--set {text!r} is not of the form KEY=VALUE",
            hint='write --set roots=src or --set \'roots=["src", "lib"]\'',
        )
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return key.strip(), value  # a text that nobody put quotes around, as a shell would have it


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def run(spec: SourceSpec, settings: SourceSettings, as_json: bool) -> int:
    """Run it under trio until a signal comes; gives the exit code."""
    told = _as_json if as_json else _in_words
    was_down = spec.name in seen.sources_down(shared())
    return trio.run(_run, loading.make(spec, settings), spec.name, was_down, told)


async def _run(source: Source, name: str, was_down: bool, told: Callable[[Health], None]) -> int:
    supervised = Supervised(name, source, changed=told, was_down=was_down, grace=GRACE)
    async with trio.open_nursery() as nursery:
        ear = Ear(nursery.cancel_scope)
        await nursery.start(ear.listen)
        await nursery.start(supervised.run)
    await supervised.farewell("`waitbus source run` was stopped")
    assert ear.heard is not None
    word, code = STOPPED[ear.heard]
    if ear.heard == signal.SIGINT:
        output.end_of_line()
    output.talk(f"{word}; {supervised.health.events:,} new in the log")
    return code


def _in_words(health: Health) -> None:
    reason = f": {health.reason}" if health.reason else ""
    again = "" if health.retry_at is None else f" (again in {say_duration(max(0.0, health.retry_at - time.time()))})"
    output.talk(f"{health.name} is {health.state}{reason}{again}")


def _as_json(health: Health) -> None:
    output.record(
        {
            "name": health.name,
            "state": health.state,
            "reason": health.reason or None,
            "since": say_time(int(health.since * 1e9)),
            "retry_at": None if health.retry_at is None else say_time(int(health.retry_at * 1e9)),
        }
    )
