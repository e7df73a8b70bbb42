"""Trust on first use: what was used once is pinned, and something else under its name is not used until somebody decides.

A pin is a source's name, the distribution that brings it, a version and the hash of its content; a version has one. They stand in
`<config>/plugins.toml`, which is written whole or not at all, under a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import attrs

from waitbus import whole
from waitbus.errors import FileUnwritable, PinsDamaged
from waitbus.paths import config_dir, own_directory

if TYPE_CHECKING:
    from pathlib import Path

    from waitbus.sources.discovery import Entry
    from waitbus.sources.policy import Policy
    from waitbus.sources.record import Content

PINS_MAX = 1000
"""In the file; and no more than `VERSIONS_MAX` for one source: the oldest go."""
VERSIONS_MAX = 20
FILE_MAX = 4 << 20
LOCK_WAIT = 5.0
"""s to wait for somebody else who writes pins."""

State = Literal["pinned", "new", "new_version", "editable", "refused"]


@attrs.frozen
class Pin:
    """One version that is trusted. `pinned_at` is RFC 3339, `how` says who decided, `publisher` who attested it, if that was
    looked at."""

    name: str
    distribution: str
    version: str
    content: str
    pinned_at: str
    how: str = "first use"
    publisher: str = ""


class Judgement(NamedTuple):
    """Whether a plugin may be used, and why not. `new` and `new_version` are to be pinned and told."""

    state: State
    reason: str = ""
    hint: str = ""


def judge(pins: Iterable[Pin], entry: Entry, found: Content, rules: Policy) -> Judgement:
    """What the pins say about an installed plugin."""
    unattested = Judgement(
        "refused",
        "nobody's attestation of it was looked at, and plugins.require_attestation asks for one",
        f"`waitbus allowlist add {entry.name} --attested` looks at it",
    )
    if found.editable:
        return unattested if rules.require_attestation else Judgement("editable")
    if found.wrong:
        return Judgement("refused", found.wrong, f"install {entry.distribution} anew, or remove it")
    own = [pin for pin in pins if pin.name == entry.name]
    decide = f"`waitbus allowlist add {entry.name}` trusts it as it is"
    strangers = [pin for pin in own if pin.distribution != entry.distribution]
    if strangers and len(strangers) == len(own):
        reason = f"{strangers[-1].distribution} is trusted under this name, and {entry.distribution} is another one"
        return Judgement("refused", reason, decide)
    same = [pin for pin in own if (pin.distribution, pin.version) == (entry.distribution, entry.version)]
    if pin := next((pin for pin in same if pin.content == found.hash), None):
        return Judgement("pinned") if pin.publisher or not rules.require_attestation else unattested
    if same:
        reason = f"its files are not those of version {entry.version} that was trusted"
        return Judgement("refused", reason, f"install {entry.distribution} anew; or {decide}")
    if known := publishers(own, entry):
        reason = f"{known[-1]} published what was trusted, and nobody looked yet who published version {entry.version}"
        return Judgement(
            "refused", reason, f"`waitbus allowlist add {entry.name} --attested` looks; without it, {decide}"
        )
    if rules.require_attestation:
        return unattested
    if not own:
        return Judgement("new")
    if rules.trust == "distribution":
        return Judgement("new_version")
    return Judgement("refused", f"version {entry.version} is not trusted yet (plugins.trust is 'content')", decide)


def publishers(pins: Iterable[Pin], entry: Entry) -> list[str]:
    """Who published the versions of a plugin that are trusted, the last one last."""
    same = (entry.name, entry.distribution)
    return [pin.publisher for pin in pins if (pin.name, pin.distribution) == same and pin.publisher]


def with_pin(pins: Iterable[Pin], pin: Pin, *, alone: bool = False) -> list[Pin]:
    """The pins with one more. `alone`: somebody decided, so those of other distributions under its name go."""
    kept = [
        old
        for old in pins
        if (old.name, old.distribution, old.version) != (pin.name, pin.distribution, pin.version)
        and not (alone and old.name == pin.name and old.distribution != pin.distribution)
    ]
    too_old = [old for old in kept if old.name == pin.name][: -(VERSIONS_MAX - 1)]
    return [*(old for old in kept if old not in too_old), pin][-PINS_MAX:]


def pin_of(entry: Entry, found: Content, how: str, publisher: str = "") -> Pin:
    """A pin of what is installed now."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Pin(entry.name, entry.distribution, entry.version, found.hash, now, how, publisher)


# -- the file ----------------------------------------------------------------------------------------------------------


def pins_path() -> Path:
    return config_dir() / "plugins.toml"


def read(path: Path | None = None) -> list[Pin]:
    """The pins, oldest first; none where there is no file.

    Raises:
      PinsDamaged: the file is there, and cannot be read or holds something else. Then nothing is trusted.
    """
    pins, wrong = salvaged(path)
    if wrong:
        raise PinsDamaged(
            f"{path or pins_path()}: {wrong}",
            hint="`waitbus allowlist repair` keeps what can be read; until then no plugin is used",
        )
    return pins


def salvaged(path: Path | None = None) -> tuple[list[Pin], str]:
    """The pins that can be read, and what is wrong with the rest."""
    path = pins_path() if path is None else path
    try:
        table = tomllib.loads(whole.read(path, FILE_MAX).decode("utf-8"))
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], f"it cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        return [], f"it is not TOML: {str(error)[:200]}"
    rows = table.get("plugin", [])
    if not isinstance(rows, list) or set(table) - {"plugin"}:
        return [], "it holds something else than pins"
    pins = [pin for row in rows if (pin := _pin(row)) is not None]
    return pins, "" if len(pins) == len(rows) else f"{len(rows) - len(pins)} of {len(rows)} pins are none"


def _pin(row: Any) -> Pin | None:
    known = {field.name: field.default is attrs.NOTHING for field in attrs.fields(Pin)}
    if not isinstance(row, Mapping) or not all(key in known and isinstance(value, str) for key, value in row.items()):
        return None
    return Pin(**row) if all(key in row for key, is_needed in known.items() if is_needed) else None


@contextlib.contextmanager
def changing(*, repair: bool = False) -> Iterator[list[Pin]]:
    """The pins, under the lock; the list is written when the block is left, if it was changed. `repair` takes those of a damaged
    file that can be read.

    Raises:
      PinsDamaged: the file is damaged, and not to be repaired.
      FileUnwritable: it cannot be written, or somebody else holds the lock for 5 s.
    """
    path = pins_path()
    with _locked(path):
        before = salvaged(path)[0] if repair else read(path)
        pins = list(before)
        yield pins
        if pins != before or repair:
            _write(path, pins)


def _write(path: Path, pins: list[Pin]) -> None:
    import tomli_w

    head = "# Plugins that are trusted. `waitbus allowlist list` shows them, `add` and `remove` change them.\n\n"
    text = head + tomli_w.dumps({"plugin": [_row(pin) for pin in pins]})
    try:
        whole.write(path, text.encode())
    except OSError as error:
        raise FileUnwritable(f"cannot write {path}: {error.strerror}", hint="mend its rights, or free space") from None


def _row(pin: Pin) -> dict[str, str]:
    return {key: value for key, value in attrs.asdict(pin).items() if value}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    own_directory(path.parent)
    lock = path.with_name("plugins.lock")
    try:
        fd = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileUnwritable(f"cannot open {lock}: {error.strerror}", hint="mend its rights") from None
    try:
        deadline = time.monotonic() + LOCK_WAIT
        while not _taken(fd):
            if time.monotonic() > deadline:
                raise FileUnwritable(f"another process holds {lock}", hint="look for a `waitbus allowlist` that hangs")
            time.sleep(0.01)
        yield
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
