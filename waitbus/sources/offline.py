"""`WAITBUS_OFFLINE`: where it is set, nothing asks another machine, whatever option or key asks for it."""

from __future__ import annotations

import ipaddress
import os

from waitbus.errors import Offline

VARIABLE = "WAITBUS_OFFLINE"


def is_offline() -> bool:
    """Whether calls to other machines are forbidden; 0 and an empty text are as if it were not set."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by what it is called. Nothing is looked up: that would be a call already (RFC 6761)."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def refuse_offline(what: str, host: str) -> None:
    """Refuse what would ask another machine.

    Raises:
      Offline: it would, and that is forbidden.
    """
    if is_offline() and not is_loopback(host):
        raise Offline(
            f"{what} would ask {host}, and {VARIABLE} forbids to ask another machine",
            hint=f"unset {VARIABLE}, or ask this machine: localhost, 127.0.0.1, ::1",
        )
