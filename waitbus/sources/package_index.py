"""Asking a package index for what it has of a project: its files, their provenance, one of them. All of it bounded.

The index is a simple repository that answers in JSON, https://packaging.python.org/en/latest/specifications/simple-repository-api/;
where a file's provenance lies is one of the things that it tells of a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import attrs
import trio

from waitbus import __version__
from waitbus.sources import http_body
from waitbus.sources.offline import is_loopback, is_offline, refuse_offline

if TYPE_CHECKING:
    import ssl
    from typing import BinaryIO

    import httpx2

JSON = "application/vnd.pypi.simple.v1+json"
PAGE_MAX = 32 << 20
PROVENANCE_MAX = 1 << 20
FILE_MAX = 256 << 20
"""Bytes of what is read: of a page of a project, of a provenance, of a file."""
REDIRECTS_MAX = 5


class Unanswered(Exception):
    """The index could not be asked, or what it says cannot be used; the reason is a sentence."""


@attrs.frozen
class File:
    """A file of a project, as its page tells of it. `sha256` and `provenance` (a URL) are empty where it tells nothing."""

    name: str
    url: str
    sha256: str
    provenance: str


@attrs.frozen
class PackageIndex:
    """The index below a URL. Every call may raise `Unanswered`; None is its word that there is nothing."""

    url: str
    client: httpx2.AsyncClient

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    async def files(self, project: str) -> list[File] | None:
        page = f"{self.url}/{project}/"
        data = await self._read(page, PAGE_MAX, f"the page of {project}", accept=JSON)
        if data is None:
            return None
        rows = _object(data).get("files")
        if not isinstance(rows, list):
            raise Unanswered(f"{self.host} does not answer as an index in JSON")
        return [_file(row, page) for row in rows if isinstance(row, dict)]

    async def provenance(self, file: File) -> bytes | None:
        if not file.provenance:
            return None
        return await self._read(
            file.provenance, PROVENANCE_MAX, f"the provenance of {file.name}", accept="application/json"
        )

    async def fetch(self, file: File, out: BinaryIO) -> bool:
        """Write the file into `out`; False where it is not there."""
        digest, size = hashlib.sha256(), 0
        async with self._asked(file.url, accept="*/*") as pieces:
            if pieces is None:
                return False
            async for piece in pieces:
                digest.update(piece)
                out.write(piece)
                size += len(piece)
                if size > FILE_MAX:
                    raise Unanswered(_too_long(self.host, file.name, FILE_MAX))
        if file.sha256 not in ("", digest.hexdigest()):
            raise Unanswered(f"what {self.host} sends as {file.name} is not the file that it lists")
        return True

    async def _read(self, url: str, most: int, what: str, *, accept: str) -> bytes | None:
        data = bytearray()
        async with self._asked(url, accept=accept) as pieces:
            if pieces is None:
                return None
            async for piece in pieces:
                data += piece
                if len(data) > most:
                    raise Unanswered(_too_long(self.host, what, most))
        return bytes(data)

    @asynccontextmanager
    async def _asked(self, url: str, *, accept: str) -> AsyncIterator[AsyncIterator[bytes] | None]:
        import httpx2

        try:
            request = self.client.build_request("GET", url, headers={"accept": accept})
            answer = await self._followed(request)
            pieces = answer.aiter_raw()
            try:
                yield None if answer.status_code in (404, 410) else _good(answer, pieces)
            finally:
                await answer.aclose()
                await http_body.end(pieces)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise Unanswered(f"{urlsplit(url).hostname} cannot be asked: {said}") from None

    async def _followed(self, request: httpx2.Request) -> httpx2.Response:
        for _ in range(REDIRECTS_MAX + 1):
            if is_offline() and not is_loopback(request.url.host):
                raise Unanswered(f"it is at {request.url.host}, and WAITBUS_OFFLINE forbids to ask another machine")
            answer = await self.client.send(request, stream=True)
            if answer.next_request is None:
                return answer
            request = answer.next_request
            await answer.aclose()
        raise Unanswered(f"{request.url.host} redirects more than {REDIRECTS_MAX} times")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PackageIndex]:
    """The index below `url`, while the block runs.

    Raises:
      Offline: it is on another machine, and that is forbidden.
    """
    refuse_offline("looking for attestations", urlsplit(url).hostname or "")
    import httpx2

    tls: ssl.SSLContext = await trio.to_thread.run_sync(httpx2.create_ssl_context, abandon_on_cancel=True)
    async with httpx2.AsyncClient(
        verify=tls,
        timeout=None,  # whoever asks has one limit for all of it
        trust_env=not is_loopback(urlsplit(url).hostname or ""),
        headers={"user-agent": f"waitbus/{__version__}", "accept-encoding": "identity"},
    ) as client:
        yield PackageIndex(url, client)


def _good(answer: httpx2.Response, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if answer.status_code != 200:
        raise Unanswered(f"{answer.url.host} answered {answer.status_code}")
    return pieces


def _too_long(host: str, what: str, most: int) -> str:
    return f"what {host} sends as {what} is longer than {most >> 20} MiB"


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _file(row: Mapping[str, Any], page: str) -> File:
    hashes = row.get("hashes")
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    provenance = _text(row.get("provenance"))
    return File(
        name=_text(row.get("filename")),
        url=urljoin(page, _text(row.get("url"))),
        sha256=_text(sha256),
        provenance=urljoin(page, provenance) if provenance else "",
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
