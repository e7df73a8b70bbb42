"""What is trusted, what is installed, and what somebody decides about it: the work behind `waitbus allowlist`."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from waitbus import bell, paths
from waitbus.errors import FileUnwritable, PathError, PluginRefused, ServiceMissing, UnknownPlugin
from waitbus.sources import index, pins
from waitbus.sources.discovery import Entry
from waitbus.sources.policy import Policy, in_force
from waitbus.sources.record import Content, content

if TYPE_CHECKING:
    from waitbus.sources.attested import Attestation, Where


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
    files: int = 0
    """How many were held against RECORD."""
    publisher: str | None = None
    """Who attested the version that is trusted, if that was looked at."""


def rows() -> list[Row]:
    """All of them, by name: nothing is pinned by looking.

    Raises:
      PinsDamaged, ConfigError: nobody can say.
    """
    known = pins.read()
    rules = in_force()
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
        files=len(one.found.files),
        publisher=None if pin is None else pin.publisher or None,
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
        publisher=pin.publisher or None,
    )


def add(name: str, *, where: Where | None = None) -> Row:
    """Trust what is installed under that name now, in place of another distribution. `where`: only if a publisher attested it.

    Raises:
      UnknownPlugin: nothing is installed under it.
      PluginRefused: its files do not agree with what its installer wrote down, or change at any time; or it is to be attested,
        and is not, or by somebody else than what was trusted before.
      ServiceMissing, ExtraMissing, Offline: it is to be attested, and that cannot be looked at.
    """
    entry, rules = _entry(name), in_force()
    found = content(entry.info)
    what = f"plugin {name!r} of {entry.distribution} {entry.version}"
    if found.editable:
        raise PluginRefused(
            f"{what} is installed to be edited, and is never pinned", hint="it is used without; plugins.deny forbids it"
        )
    if found.wrong:
        raise PluginRefused(f"{what} cannot be trusted: {found.wrong}", hint=f"install {entry.distribution} anew")
    if where is None and rules.require_attestation:
        where = whereabouts(rules)
    publisher = "" if where is None else _publisher(what, entry, found, where)
    pin = pins.pin_of(entry, found, "by hand", publisher)
    with pins.changing() as known:
        known[:] = pins.with_pin(known, pin, alone=True)
    _tell()
    return _installed(index.examined(entry, [pin], rules), [pin])


def whereabouts(rules: Policy, wheel: str | None = None, provenance: str | None = None) -> Where:
    """Where attestations are looked for: files, and what they leave open at the index of the configuration."""
    from waitbus.sources.attested import Where

    return Where(rules.index_url, *(None if name is None else Path(name) for name in (wheel, provenance)))


def _publisher(what: str, entry: Entry, found: Content, where: Where) -> str:
    from waitbus.sources.attested import look

    (one,) = look([(entry, found)], where)
    by_hand = f"`waitbus allowlist add {entry.name}` trusts it without, where plugins.require_attestation does not ask for one"
    if one.state == "unknown":
        raise ServiceMissing(
            f"who published {what} cannot be looked at: {one.reason}", hint=f"try it later; or {by_hand}"
        )
    if one.state != "attested":
        raise PluginRefused(f"{what} is not attested: {one.reason}", hint=by_hand)
    known, publisher = pins.publishers(pins.read(), entry), one.publisher or ""
    if known and publisher not in known:
        raise PluginRefused(
            f"{what} was published by {publisher}, and {known[-1]} is trusted",
            hint=f"`waitbus allowlist remove {entry.name}` forgets who was trusted; then add it once more",
        )
    return publisher


def attestations(several: list[Row], where: Where) -> list[Attestation]:
    """Who published what is installed under these names, one answer for each: held against who is trusted.

    Raises:
      ExtraMissing, Offline: nobody can say.
    """
    from waitbus.sources.attested import look

    entries = {(entry.name, entry.distribution): entry for entry in index.installed()}
    own = [entries[row.name, row.distribution] for row in several]
    infos = {entry.info: entry for entry in own}  # a distribution may bring several sources
    answers = dict(zip(infos, look([(entry, content(info)) for info, entry in infos.items()], where), strict=True))
    return [_held(answers[entry.info], row) for entry, row in zip(own, several, strict=True)]


def _held(one: Attestation, row: Row) -> Attestation:
    if one.state == "attested" and row.publisher not in (None, one.publisher):
        return attrs.evolve(one, state="wrong", reason=f"{one.publisher} published it, and {row.publisher} is trusted")
    return one


def _tell() -> None:
    """A daemon that runs tries anew what it was refused."""
    with contextlib.suppress(PathError):
        bell.ring(paths.bells_dir(), bell.TRUST)


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
        removed = before - len(known)
    _tell()
    return removed


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
    _tell()
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
