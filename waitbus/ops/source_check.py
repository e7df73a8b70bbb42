"""Whether a source can run here: its settings, its code, and what it finds when it looks (`probe`). It leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from waitbus.config import load
from waitbus.errors import WaitbusError
from waitbus.sources import loading

if TYPE_CHECKING:
    from waitbus.sources.spec import SourceSpec

PROBE_TIMEOUT = 10.0
"""s for a source's own look."""


@attrs.frozen
class Check:
    """One thing that was looked at. `hint` says what to do where it is not as it has to be."""

    what: str
    ok: bool
    detail: str
    hint: str = ""


def check(spec: SourceSpec) -> list[Check]:
    """What was looked at, up to the first thing that is wrong."""
    if not spec.implementation:
        return [Check("run", True, "there is nothing to run: its events come in by themselves")]
    checks: list[Check] = []
    try:
        table = load().sources.get(spec.name, {})
        settings = loading.settings_of(spec, table)
        where = f"as [sources.{spec.name}] says" if table else "all at their defaults"
        checks.append(Check("settings", True, where))
        source = loading.make(spec, settings)
        checks.append(Check("code", True, spec.implementation))
    except WaitbusError as error:
        return [*checks, Check("code" if checks else "settings", False, error.message, error.hint)]
    probe = getattr(source, "probe", None)
    return checks if probe is None else [*checks, trio.run(_probe, source)]


async def _probe(source: Any) -> Check:
    try:
        with trio.fail_after(PROBE_TIMEOUT):
            found = await source.probe()
    except trio.TooSlowError:
        return Check(
            "probe", False, f"no answer within {PROBE_TIMEOUT:g} s", "whatever it listens to hangs; try again later"
        )
    except WaitbusError as error:
        return Check("probe", False, error.message, error.hint)
    except Exception as error:  # the boundary: a source's own code
        return Check("probe", False, f"{type(error).__name__}: {error}", "this is a fault of the source")
    return Check("probe", True, str(found or ""))
