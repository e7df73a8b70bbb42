"""`--http URL`: whether a GET is answered with the right status. Of the answer nothing but its head is read.

httpx2 is imported with the first attempt: it takes longer than most waits for a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import trio

from waitbus import __version__
from waitbus.errors import InvalidWait
from waitbus.event_checks import shown
from waitbus.sources.offline import is_loopback, is_offline, refuse_offline
from waitbus.sources.ready import Look
from waitbus.sources.ready_port import is_host, why

if TYPE_CHECKING:
    import ssl

    import httpx2

URL_MAX = 2048
"""Characters."""
REDIRECTS_MAX = 5
DEFAULT_STATUS = "2xx"

_STATUS = re.compile(r"([1-5])xx|([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", re.IGNORECASE)
_HINT = "write http://HOST[:PORT]/PATH or https://..., as in http://localhost:8080/healthz"

Range = tuple[int, int]
"""Of status codes, both ends included."""


class Http:
    """A URL, and the status codes that say that it is well.

    Raises:
      InvalidWait: it is no URL of http or https, or a status is none.
      Offline: it is another machine's, and that is forbidden.
    """

    kind = "http"

    def __init__(self, text: str, statuses: Iterable[str] = (DEFAULT_STATUS,), *, what: str = "--http") -> None:
        parts = parse_url(text, what)
        self.wanted = tuple(
            parse_status(status, what="--http-status" if what == "--http" else "status") for status in statuses
        )
        self.name = without_password(parts)
        self.option = f"--http {self.name}"
        self.asking = f"asking {self.name}"
        self._url = text
        self._host = parts.hostname or ""
        self._tls: ssl.SSLContext | None = None
        refuse_offline(self.option, self._host)

    async def look(self) -> Look:
        if self._tls is None:
            # Reading the system's certificates, and importing the client, takes 100 ms.
            self._tls = await trio.to_thread.run_sync(_trusted, abandon_on_cancel=True)
        import httpx2

        try:
            async with self._client(self._tls) as client:
                return await self._ask(client)
        except (httpx2.ProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            return Look(False, f"does not answer as HTTP: {_sentence(error)}", odd=True)
        except (httpx2.HTTPError, OSError, UnicodeError) as error:
            return why(error)
        except (ValueError, ImportError) as error:
            return Look(False, f"the proxy of the environment cannot be used: {_sentence(error)}", odd=True)

    def _client(self, tls: ssl.SSLContext) -> httpx2.AsyncClient:
        """One for each attempt: a connection that is kept would answer though nobody accepts any more."""
        import httpx2

        return httpx2.AsyncClient(
            verify=tls,
            timeout=None,  # the attempt has one limit for all of it
            trust_env=not is_loopback(self._host),  # a proxy knows nothing of our loopback
            headers={"user-agent": f"waitbus/{__version__}", "accept": "*/*"},
        )

    async def _ask(self, client: httpx2.AsyncClient) -> Look:
        request = client.build_request("GET", self._url)
        for _ in range(REDIRECTS_MAX + 1):
            if is_offline() and not is_loopback(request.url.host):
                return Look(False, f"redirects to {request.url.host}, which WAITBUS_OFFLINE forbids to ask", odd=True)
            response = await client.send(request, stream=True)
            try:
                code, following = response.status_code, response.next_request
            finally:
                await response.aclose()
            if any(low <= code <= high for low, high in self.wanted):
                return Look(True, str(code))
            if following is None:
                return Look(False, f"answered {code}")
            request = following
        return Look(False, f"redirects more than {REDIRECTS_MAX} times", odd=True)


def parse_url(text: str, what: str) -> SplitResult:
    """The parts of a URL of http or https.

    Raises:
      InvalidWait: it is none.
    """
    if len(text) > URL_MAX:
        raise InvalidWait(f"{what}: a URL of {len(text)} characters", hint=f"a URL has {URL_MAX} at most")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise InvalidWait(f"{what} {text!r} is not a URL", hint=_HINT) from None
    if parts.scheme not in ("http", "https") or not text.isprintable() or " " in text:
        raise InvalidWait(f"{what} {text!r} is not a URL of http or https", hint=_HINT)
    if not is_host(host) or port == 0:
        raise InvalidWait(f"{what} {text!r} names no host", hint=_HINT)
    return parts


def parse_status(text: str, *, what: str = "--http-status") -> Range:
    """The codes that `200`, `200-204` or `2xx` means.

    Raises:
      InvalidWait: it is none of these.
    """
    found = _STATUS.fullmatch(text)
    if found is None:
        raise InvalidWait(f"{what} {shown(text)} is no status", hint="write 200, 200-299 or 2xx")
    if found[1]:
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    low, high = int(found[2]), int(found[3] or found[2])
    if low > high:
        raise InvalidWait(f"{what} {text!r} ends before it begins", hint=f"write {high}-{low}")
    return low, high


def without_password(parts: SplitResult) -> str:
    """The URL as it may be shown."""
    if parts.password is None:
        return parts.geturl()
    _, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{parts.username or ''}:***@{place}").geturl()


def _trusted() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
