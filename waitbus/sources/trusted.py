"""What is trusted, what is installed, and what somebody decides about it: the work behind `waitbus allowlist`."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import attrs

from waitbus import config, paths
from waitbus.errors import FileUnwritable, PluginRefused, UnknownPlugin
from waitbus.sources import index, pins
from waitbus.sources.discovery import Entry
from waitbus.sources.policy import policy
from waitbus.sources.record import content


@attrs.frozen
class Row:
    """A plugin that is installed, or a pin of one that is not. `state` is `not_installed`, or that of a `pins.Judgement`."""

    name: str
    distribution: str
    version: str
    state: str
    reason: str = ""
    hint: str = ""
    trusted_at: str | None = None
    how: str | None = None
    content: str | None = None


def rows() -> list[Row]:
    """All of them, by name: nothing is pinned by looking.

    Raises:
      PinsDamaged, ConfigError: nobody can say.
    """
    known = pins.read()
    rules = policy(config.read(paths.config_path()).get("plugins", {}))
    found = [_installed(index.examined(entry, known, rules), known) for entry in index.installed()]
    here = {(row.name, row.distribution, row.version) for row in found}
    gone = [_gone(pin) for pin in known if (pin.name, pin.distribution, pin.version) not in here]
    return sorted([*found, *gone], key=lambda row: (row.name, row.distribution, row.version))


def _installed(one: index.Examined, known: list[pins.Pin]) -> Row:
    entry = one.entry
    same = (entry.name, entry.distribution, entry.version)
    pin = next((pin for pin in known if (pin.name, pin.distribution, pin.version) == same), None)
    return Row(
        *same,
        *one.judgement,
        trusted_at=None if pin is None else pin.pinned_at,
        how=None if pin is None else pin.how,
        content=one.found.hash or None,
    )


def _gone(pin: pins.Pin) -> Row:
    return Row(
        pin.name,
        pin.distribution,
        pin.version,
        "not_installed",
        trusted_at=pin.pinned_at,
        how=pin.how,
        content=pin.content,
    )


def add(name: str) -> Row:
    """Trust what is installed under that name now, in place of another distribution.

    Raises:
      UnknownPlugin: nothing is installed under it.
      PluginRefused: its files do not agree with what its installer wrote down, or change at any time.
    """
    entry = _entry(name)
    found = content(entry.info)
    what = f"plugin {name!r} of {entry.distribution} {entry.version}"
    if found.editable:
        raise PluginRefused(
            f"{what} is installed to be edited, and is never pinned", hint="it is used without; plugins.deny forbids it"
        )
    if found.wrong:
        raise PluginRefused(f"{what} cannot be trusted: {found.wrong}", hint=f"install {entry.distribution} anew")
    pin = pins.pin_of(entry, found, "by hand")
    with pins.changing() as known:
        known[:] = pins.with_pin(known, pin, alone=True)
    return Row(name, entry.distribution, entry.version, "pinned", "", "", pin.pinned_at, pin.how, pin.content)


def _entry(name: str) -> Entry:
    found = next((entry for entry in index.installed() if entry.name == name), None)
    if found is None:
        raise unknown(name)
    return found


def unknown(name: str) -> UnknownPlugin:
    """The error that says which there are."""
    names = sorted({entry.name for entry in index.installed()})
    there = f"installed are {' '.join(names)}" if names else "no plugin is installed in this Python"
    return UnknownPlugin(f"no installed package brings a source {name!r}", hint=there)


def remove(name: str) -> int:
    """Forget every pin of that name; how many there were. What is still installed is used for the first time once more."""
    with pins.changing() as known:
        before = len(known)
        known[:] = [pin for pin in known if pin.name != name]
        return before - len(known)


@attrs.frozen
class Repaired:
    """What a repair did or, dry, would do: `wrong` is empty where nothing was; `aside` is the damaged file's new name."""

    wrong: str
    kept: int
    aside: Path | None = None


def repair(*, dry: bool) -> Repaired:
    """Set a damaged file aside, and keep of its pins what can be read.

    Raises:
      FileUnwritable: its folder may not be written.
    """
    path = pins.pins_path()
    kept, wrong = pins.salvaged(path)
    if not wrong or dry:
        return Repaired(wrong, len(kept))
    aside = path.with_name(f"plugins.toml.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    with pins.changing(repair=True):
        _set_aside(path, aside)
    return Repaired(wrong, len(kept), aside)


def _set_aside(path: Path, aside: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            os.link(path, aside)
    except OSError:  # a folder, or a file system without links: then there is a moment without the file
        try:
            os.rename(path, aside)
        except OSError as error:
            raise FileUnwritable(
                f"cannot set {path} aside: {error.strerror}", hint="mend the rights of its folder"
            ) from None
