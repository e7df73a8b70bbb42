"""The engine over HTTP: its stream of events, and what it answers when asked. Every read has a limit, every answer a deadline.

httpx2 is imported when an engine is really called: nobody else pays for it. Chosen over a client by hand because it is kept,
speaks trio and unix sockets, and is the one that every other HTTP client of ours is; versionless paths, because those are
what docker and podman of any age understand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import attrs
import trio

from waitbus.errors import ServiceMissing
from waitbus.sources import http_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from waitbus.sources.docker_endpoint import Endpoint

ANSWER_S = 5.0
"""s that an engine has to begin its answer, and, for all but the stream, to finish it."""

LINE_MAX = 1024 * 1024
BODY_MAX = 16 * 1024 * 1024
"""Bytes of a line of the stream, and of any other answer."""


class Lines:
    """Bytes into lines. One that is longer than the limit is dropped whole, and counted; memory is bounded by the limit."""

    def __init__(self, limit: int = LINE_MAX) -> None:
        self.dropped = 0
        self._limit = limit
        self._begun = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends and without empty ones."""
        *ended, rest = data.split(b"\n")
        lines = []
        for piece in ended:
            self._take(piece)
            if not self._dropping and (line := bytes(self._begun).strip(b"\x1e\r\t ")):
                lines.append(line)
            self._begun.clear()
            self._dropping = False
        self._take(rest)
        return lines

    def _take(self, piece: bytes) -> None:
        if self._dropping:
            return
        if len(self._begun) + len(piece) <= self._limit:
            self._begun += piece
            return
        self._dropping = True
        self._begun = bytearray()
        self.dropped += 1


@attrs.frozen
class Engine:
    """An engine that is called at `endpoint`. Every call raises ServiceMissing where no proper answer comes."""

    endpoint: Endpoint
    _client: httpx2.AsyncClient

    @asynccontextmanager
    async def events(self, since_ns: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The stream of what happens to containers from `since_ns` (ns by the engine's clock) on, in pieces as they come."""
        params = {"since": f"{since_ns // 10**9}.{since_ns % 10**9:09d}", "filters": '{"type":["container"]}'}
        async with self._asked("/events", params) as pieces:
            yield pieces

    async def inspect(self, container: str) -> bytes:
        """What the engine knows of a container, as JSON."""
        return await self._body(f"/containers/{container}/json")

    async def containers(self, *, ended: bool = True) -> bytes:
        """The containers that run, and those that have ended, in short, as JSON. No filter for the latter alone: podman has other
        states than docker, and refuses those it has not."""
        return await self._body("/containers/json", {"all": "true"} if ended else None)

    async def answers(self) -> bool:
        """Whether it answers within 5 s."""
        try:
            await self.ping()
        except ServiceMissing:
            return False
        return True

    async def ping(self) -> None:
        """Have it answer, within 5 s."""
        await self._body("/_ping")

    async def _body(self, path: str, params: dict[str, str] | None = None) -> bytes:
        body = bytearray()
        with self.reading(), trio.fail_after(ANSWER_S):
            async with self._asked(path, params) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > BODY_MAX:
                        raise self._missing(f"answers {path} with more than {BODY_MAX} bytes")
        return bytes(body)

    @asynccontextmanager
    async def _asked(self, path: str, params: dict[str, str] | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        with self.reading():
            request = self._client.build_request("GET", path, params=params)
            with trio.fail_after(ANSWER_S):
                response = await self._client.send(request, stream=True)
        pieces = response.aiter_raw()
        try:
            if response.status_code != 200:
                raise self._missing(f"answers {path} with {response.status_code}")
            yield pieces
        finally:
            await response.aclose()
            await http_body.end(pieces)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around whatever is read of the engine: what goes wrong is said as ServiceMissing."""
        import httpx2

        try:
            yield
        except trio.TooSlowError:
            raise self._missing(f"does not answer within {ANSWER_S:g} s") from None
        except httpx2.RemoteProtocolError as error:
            raise self._missing(f"gives no whole answer: {error}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise self._missing(f"cannot be called: {str(error) or type(error).__name__}") from None

    def _missing(self, what: str) -> ServiceMissing:
        return ServiceMissing(
            f"the container engine at {self.endpoint} {what}",
            hint="is it running, and may you use its socket? `docker ps` or `podman ps` tells",
        )


def prepare() -> None:
    """Import httpx2, which takes a twentieth of a second: in a thread, so that the loop goes on."""
    import_module("httpx2")


@asynccontextmanager
async def engine(endpoint: Endpoint) -> AsyncIterator[Engine]:
    """An engine to call. Nothing is sent yet."""
    import httpx2

    # No TLS is spoken here, and to read the machine's certificates for it takes 20 ms.
    # No connection is kept: one to an engine that was restarted would fail the next question.
    transport = httpx2.AsyncHTTPTransport(
        uds=endpoint.socket or None, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0), verify=False
    )
    async with httpx2.AsyncClient(
        transport=transport,
        base_url=endpoint.url,
        timeout=httpx2.Timeout(ANSWER_S, read=None),  # a quiet stream is no fault; answers have deadlines of their own
        headers={"accept-encoding": "identity"},
        trust_env=False,
    ) as client:
        yield Engine(endpoint, client)
