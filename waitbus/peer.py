"""Who holds the other end of a unix socket, as the kernel knows it: nothing that the peer sends has a part in it."""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple


class Peer(NamedTuple):
    """A process and its user. `pid` is None where the system does not tell, or where it lives in another pid namespace."""

    pid: int | None
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Who connected, or who listened, at the time of doing so (unix(7), SO_PEERCRED).

    Raises:
      OSError: nobody is connected, or (macOS) nobody any more.
    """
    if sys.platform == "linux":
        # struct ucred {pid_t pid; uid_t uid; gid_t gid}
        pid, uid, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Peer(pid or None, uid)
    # macOS: LOCAL_PEERCRED answers struct xucred {u_int version; uid_t uid; ...}.
    raw = connection.getsockopt(0, 1, 76)
    return Peer(None, struct.unpack_from("2I", raw)[1])
