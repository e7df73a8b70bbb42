"""The end of an HTTP body that is not read to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator


async def end(pieces: AsyncIterator[bytes]) -> None:
    """Let a body whose connection is closed come to its end.

    httpx2 nests generators, and closing the outermost leaves one to the garbage collector; a read that fails ends them all.
    """
    import httpx2

    try:
        async for _ in pieces:
            pass
    except (httpx2.HTTPError, httpx2.StreamError):
        pass
