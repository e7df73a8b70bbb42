"""`--port HOST:PORT`: whether somebody accepts connections there."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator

import trio

from waitbus.errors import InvalidWait
from waitbus.event_checks import shown
from waitbus.sources.offline import refuse_offline
from waitbus.sources.ready import Look

PORT_MAX = 65_535
HOST_MAX = 253
"""Characters of a host name (RFC 1035, 2.3.4)."""

_PLACE = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]*)):([0-9]{1,10})")
_HINT = "write HOST:PORT, as in localhost:5432 or [::1]:5432"

_NOT_YET = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
    }
)
"""What a service that is only starting answers, or its machine, or the net."""


class Port:
    """A TCP port of a host.

    Raises:
      InvalidWait: the text is not HOST:PORT.
      Offline: it is another machine's, and that is forbidden.
    """

    kind = "port"

    def __init__(self, text: str, *, what: str = "--port") -> None:
        self.host, self.port = parse_place(text, what)
        self.name = text
        self.option = f"--port {text}"
        self.asking = f"asking {text}"
        refuse_offline(self.option, self.host)

    async def look(self) -> Look:
        try:
            stream = await trio.open_tcp_stream(self.host, self.port)
        except (OSError, UnicodeError) as error:
            return why(error)
        async with stream:
            return _of_open(stream.socket)


def parse_place(text: str, what: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
      InvalidWait: it is none.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        raise InvalidWait(f"{what} {shown(text)} is not HOST:PORT", hint=_HINT)
    host, port = found[1] or found[2], int(found[3])
    if not 1 <= port <= PORT_MAX:
        raise InvalidWait(f"{what} {shown(text)}: {port} is no port", hint=f"a port is 1 to {PORT_MAX}")
    if not is_host(host):
        raise InvalidWait(f"{what} {shown(text)} names no host", hint=_HINT)
    return host, port


def is_host(text: str) -> bool:
    """Whether it can be the name or the address of a host."""
    return bool(text) and len(text) <= HOST_MAX and text.isprintable() and not re.search(r"[\s/@?#\\]", text)


def why(error: BaseException) -> Look:
    """Why nobody was reached, by the first cause that the system or TLS names."""
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            return Look(False, _lowered(cause.strerror or str(cause)), odd=True)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Look(False, f"its certificate is not trusted: {cause.verify_message.lower()}", odd=True)
        if isinstance(cause, ssl.SSLError):
            return Look(False, f"TLS fails there: {(cause.reason or str(cause)).lower().replace('_', ' ')}", odd=True)
        if isinstance(cause, UnicodeError):
            return Look(False, "its name cannot be looked up", odd=True)
        if isinstance(cause, OSError) and cause.errno is not None:
            return Look(False, _lowered(os.strerror(cause.errno)), odd=cause.errno not in _NOT_YET)
    return Look(False, _lowered(str(error)) or type(error).__name__, odd=True)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from, the members of groups included; the innermost come first."""
    if error is None:
        return
    yield from causes(error.__cause__ or error.__context__)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from causes(one)
    yield error


def _of_open(connected: trio.socket.SocketType) -> Look:
    # Who asks for a port of the range that clients get theirs from may be given that very one, and be connected with himself
    # (RFC 9293, 3.5: simultaneous open).
    try:
        itself = connected.getsockname() == connected.getpeername()
    except OSError as error:  # it was closed on us at once: somebody is there
        itself = error.errno not in (errno.ENOTCONN, errno.EINVAL)
    return Look(False, "connection refused") if itself else Look(True, "open")


def _lowered(sentence: str) -> str:
    """As it stands inside of a sentence."""
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence
