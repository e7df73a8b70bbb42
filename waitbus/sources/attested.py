"""Who published what is installed: a publisher's attestation (PEP 740), where one can be had.

An attestation is about a wheel, and what is installed are the files that were in it. So three things have to hold: the
attestation is the publisher's, it names the digest of the wheel that the index has, and the files of that wheel are those that
are installed. The index is only believed in what it has not: whatever it sends is held against signatures.

The only place that asks an index, and that imports what comes with the extra `plugin-verify`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from waitbus.errors import ExtraMissing
from waitbus.sources import package_index, wheel
from waitbus.sources.offline import is_offline
from waitbus.sources.package_index import FILE_MAX, PROVENANCE_MAX, File, PackageIndex, Unanswered

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from waitbus.sources.discovery import Entry
    from waitbus.sources.record import Content

TIME = 60.0
"""s for one distribution, all in all."""

IDENTITIES = {
    "GitHub": ("repository", "workflow"),
    "GitLab": ("repository", "workflow_filepath"),
    "Google": ("email",),
    "CircleCI": ("project_id", "pipeline_definition_id"),
}
"""What a publisher's signature vouches for; an environment, which a provenance may name too, is nothing of it."""

State = Literal["attested", "none", "unknown", "wrong"]


@attrs.frozen
class Attestation:
    """What is known of who published a distribution.

    `attested`: `publisher` did, and `wheel` is what is installed. `none`: the index has no attestation. `unknown`: it could not
    be looked at. `wrong`: there is one, and it is not of what is installed. `keys`: whether Sigstore's were renewed, or are
    those that the extra brought.
    """

    state: State
    publisher: str | None = None
    wheel: str | None = None
    reason: str = ""
    keys: Literal["renewed", "shipped"] | None = None


@attrs.frozen
class Where:
    """Where to look: an index, or files instead of what it has; of both, nobody is asked."""

    index_url: str
    wheel: Path | None = None
    provenance: Path | None = None

    @property
    def asks(self) -> bool:
        return self.wheel is None or self.provenance is None


class _Answer(Exception):
    """An answer that is found somewhere below."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state: State = state


def look(several: Iterable[tuple[Entry, Content]], where: Where) -> list[Attestation]:
    """Who published each of them, asked one after the other, for 60 s each at most. It blocks.

    Raises:
      ExtraMissing: what verifies is not installed.
      Offline: the index is on another machine, and that is forbidden.
    """
    try:
        import pypi_attestations  # noqa: F401
        import sigstore  # noqa: F401
    except ImportError as error:
        raise ExtraMissing(
            f"attestations are verified by packages that are not installed here: {error.name or error}",
            hint="pip install '<where this came from>[plugin-verify]'",
        ) from None
    return trio.run(_look, list(several), where)


async def _look(several: list[tuple[Entry, Content]], where: Where) -> list[Attestation]:
    async with AsyncExitStack() as stack:
        index = await stack.enter_async_context(package_index.opened(where.index_url)) if where.asks else None
        keys: Literal["renewed", "shipped"] = "shipped"
        if index is not None and not is_offline():
            with trio.move_on_after(TIME / 2):
                keys = await trio.to_thread.run_sync(_renew, abandon_on_cancel=True)
        return [await _one(entry, found, where, index, keys) for entry, found in several]


async def _one(
    entry: Entry, found: Content, where: Where, index: PackageIndex | None, keys: Literal["renewed", "shipped"]
) -> Attestation:
    if found.editable:
        return Attestation("none", reason="it is installed to be edited, and nobody attests what may change")
    if found.wrong:
        return Attestation("wrong", reason=found.wrong)
    name = None if where.wheel is None else where.wheel.name
    try:
        with trio.fail_after(TIME), tempfile.TemporaryFile() as out:
            file = await _file(entry, where, index)
            name = file.name
            provenance = await _provenance(file, where, index)
            digest = await _fetched(file, where, index, out)
            work = partial(_verified, provenance, name, digest)
            publisher = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
            different = await trio.to_thread.run_sync(wheel.difference, out, entry.info)
    except _Answer as answer:
        return Attestation(answer.state, wheel=name, reason=str(answer))
    except Unanswered as error:
        return Attestation("unknown", wheel=name, reason=str(error))
    except trio.TooSlowError:
        asked = "it" if index is None else index.host
        return Attestation("unknown", wheel=name, reason=f"{asked} took more than {TIME:g} s")
    if different:
        return Attestation(
            "wrong", publisher, name, f"what {publisher} published is not what is installed: {different}", keys
        )
    return Attestation("attested", publisher, name, keys=keys)


# -- what it is about ----------------------------------------------------------------------------------------------------


async def _file(entry: Entry, where: Where, index: PackageIndex | None) -> File:
    """The wheel from which it was installed, as far as names go."""
    what = f"{entry.distribution} {entry.version}"
    if where.wheel is not None and not wheel.is_of(where.wheel.name, entry):
        raise _Answer("wrong", f"{where.wheel.name} is no wheel of {what} for {_platforms(entry)}")
    if index is None:
        assert where.wheel is not None
        return File(where.wheel.name, "", "", "")
    files = await index.files(entry.distribution)
    own = [file for file in files or () if wheel.is_of(file.name, entry)]
    if own:
        return own[0]
    missing = f"no wheel of {what} for {_platforms(entry)}" if files else f"no project {entry.distribution}"
    raise _Answer("none", f"{index.host} has {missing}")


def _platforms(entry: Entry) -> str:
    return ", ".join(wheel.tags(entry.info))[:100] or "anything that its WHEEL names"


async def _provenance(file: File, where: Where, index: PackageIndex | None) -> bytes:
    if where.provenance is not None:
        data = await trio.to_thread.run_sync(_read, where.provenance)
    else:
        assert index is not None
        found = await index.provenance(file)
        if found is None:
            raise _Answer("none", f"{index.host} has no attestation of {file.name}")
        data = found
    return data


async def _fetched(file: File, where: Where, index: PackageIndex | None, out: BinaryIO) -> str:
    """The digest of the wheel, which is in `out` then."""
    if where.wheel is not None:
        await trio.to_thread.run_sync(_copy, where.wheel, out)
    else:
        assert index is not None
        if not await index.fetch(file, out):
            raise _Answer("none", f"{index.host} lists {file.name}, and does not have it")
    return await trio.to_thread.run_sync(_digest, out)


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(PROVENANCE_MAX + 1)
    except OSError as error:
        raise Unanswered(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > PROVENANCE_MAX:
        raise Unanswered(f"{path} is longer than {PROVENANCE_MAX >> 20} MiB")
    return data


def _copy(path: Path, out: BinaryIO) -> None:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > FILE_MAX:
                raise Unanswered(f"{path} is longer than {FILE_MAX >> 20} MiB")
            shutil.copyfileobj(file, out)
    except OSError as error:
        raise Unanswered(f"{path} cannot be read: {error.strerror}") from None


def _digest(out: BinaryIO) -> str:
    out.seek(0)
    return hashlib.file_digest(out, "sha256").hexdigest()  # type: ignore[arg-type]


# -- what it says ----------------------------------------------------------------------------------------------------------


def _renew() -> Literal["renewed", "shipped"]:
    """Fetch Sigstore's keys, as it does before each verification that is not `offline`; once is enough for all of them."""
    from sigstore.models import ClientTrustConfig

    _quiet()
    try:
        ClientTrustConfig.production()
    except Exception:  # the boundary: somebody else's code, over the network; the keys that are here go on to be good
        return "shipped"
    return "renewed"


def _verified(provenance: bytes, name: str, digest: str) -> str:
    """Who published the wheel of that name and digest, by each attestation in a provenance."""
    from pydantic import ValidationError
    from pypi_attestations import AttestationError, Distribution, Provenance

    _quiet()
    try:
        bundles = Provenance.model_validate_json(provenance).attestation_bundles
        about = Distribution(name=name, digest=digest)
        found = {_identity(bundle.publisher) for bundle in bundles if bundle.attestations}
        for bundle in bundles:
            for attestation in bundle.attestations:
                attestation.verify(bundle.publisher, about, offline=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _Answer(
            "wrong", f"its provenance is none: {first['msg']}{' at ' + place if place else ''}"[:400]
        ) from None
    except _Answer:
        raise
    except AttestationError as error:
        said = str(error).removeprefix("Verification failed: ")
        raise _Answer("wrong", f"its attestation does not hold: {said}"[:400]) from None
    except Exception as error:  # the boundary: hostile data in somebody else's code
        raise _Answer("wrong", f"its attestation cannot be verified: {type(error).__name__}: {error}"[:400]) from None
    if len(found) != 1:
        said = " and ".join(sorted(found)) or "nobody"
        raise _Answer("wrong", f"its provenance names {said} as its publisher, and it has to be one"[:400])
    return found.pop()


def _identity(publisher: Any) -> str:
    """A publisher in one line, such as `GitHub pypa/sampleproject release.yml`."""
    if publisher.kind not in IDENTITIES:
        raise _Answer("unknown", f"its publisher is of a kind that is not known here: {publisher.kind}"[:400])
    return " ".join([publisher.kind, *(str(getattr(publisher, key)) for key in IDENTITIES[publisher.kind])])[:400]


def _quiet() -> None:
    """What these packages log is about keys that they do not fetch, as they were told."""
    for name in ("sigstore", "tuf"):
        logging.getLogger(name).setLevel(logging.ERROR)
