"""What macOS knows of a process. Written from the headers and the manual; **never run**: no Mac was at hand.

`struct proc_bsdinfo` is in <sys/proc_info.h> (136 bytes, start time at 120 in s and at 128 in us); kqueue(2) has NOTE_EXIT. The
exit status is told to the parent only (NOTE_EXITSTATUS), so that for the process of somebody else it stays unknown here.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys

assert sys.platform == "darwin"

PROC_PIDTBSDINFO = 3
BSDINFO_SIZE = 136
START_TIME = struct.Struct("=QQ")


def boot_id() -> str:
    """The first eight characters of the boot session's UUID."""
    libc = ctypes.CDLL(None, use_errno=True)
    text = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(text))
    if libc.sysctlbyname(b"kern.bootsessionuuid", text, ctypes.byref(size), None, ctypes.c_size_t(0)):
        raise OSError(ctypes.get_errno(), "kern.bootsessionuuid")
    return text.value.decode("ascii")[:8].lower()


def start_time(pid: int) -> int | None:
    """When the process started, in us since the epoch; None if it is gone or another user's."""
    info = ctypes.create_string_buffer(BSDINFO_SIZE)
    told = ctypes.CDLL("/usr/lib/libproc.dylib").proc_pidinfo(
        pid, PROC_PIDTBSDINFO, ctypes.c_uint64(0), info, BSDINFO_SIZE
    )
    if told != BSDINFO_SIZE:
        return None
    seconds, microseconds = START_TIME.unpack_from(info, 120)
    return int(seconds) * 1_000_000 + int(microseconds)


def open_exit_queue(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends (a kqueue is one); None if there is no such process."""
    queue = select.kqueue()
    event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT)
    try:
        queue.control([event], 0)
    except ProcessLookupError:
        return None
    return os.dup(queue.fileno())  # the object closes its own when it is collected


def exists(queue: int) -> bool:
    """Whether the process of an exit queue has not ended: its pid is still its own."""
    readable, _, _ = select.select([queue], [], [], 0)
    return not readable
