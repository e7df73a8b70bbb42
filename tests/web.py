"""Servers for tests: what they answer is written down, byte by byte; sockets that open later; a certificate nobody trusts."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

HEADERS_MAX = 65_536


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """Answers requests one after the other by `answers`, the last one again and again; keeps the heads of what it was asked.

    An answer of None is silence for as long as the client stays. `endless` is sent after an answer until the client leaves.
    """

    def __init__(self, *answers: bytes | None, endless: bytes = b"") -> None:
        self.answers = list(answers)
        self.endless = endless
        self.asked: list[bytes] = []
        self.sent = 0
        self.port = 0

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://localhost:{self.port}{path}"

    async def handle(self, stream: trio.abc.Stream) -> None:
        try:
            await self._handle(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has seen enough

    async def _handle(self, stream: trio.abc.Stream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = await stream.receive_some(HEADERS_MAX)
            if not more:
                return
            head += more
        self.asked.append(head)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await stream.receive_some(1)
            return
        await stream.send_all(answer)
        while self.endless:
            await stream.send_all(self.endless)
            self.sent += len(self.endless)


@asynccontextmanager
async def serving(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve on a free port of 127.0.0.1."""
    async with trio.open_nursery() as nursery:
        handle = server.handle if tls is None else partial(_over_tls, tls, server.handle)
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


async def _over_tls(
    tls: ssl.SSLContext, handle: Callable[[trio.abc.Stream], Awaitable[None]], stream: trio.abc.Stream
) -> None:
    await handle(trio.SSLStream(stream, tls, server_side=True, https_compatible=True))


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """An HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def untrusted(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """The context of a server with a certificate for localhost that it signed itself, and the file of it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
