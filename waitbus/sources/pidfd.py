"""What the kernel knows of a process: when it started, that it ended, and how.

A pid is only a number that will be used again; (pid, start time) is one process for as long as the machine is up, and a
pidfd is the process itself. See pidfd_open(2), proc_pid_stat(5), and `struct pidfd_info` in linux/pidfd.h.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
import sys
import time
from functools import cache

import attrs

from waitbus.errors import InvalidPid, ServiceMissing
from waitbus.event_checks import shown

PID_MAX = 1 << 22
"""The kernel's own limit (PID_MAX_LIMIT on 64 bits): no process can have this number or a larger one."""

PIDFD_GET_INFO = 0xC040FF0B
"""_IOWR(0xFF, 11, 64 bytes), Linux 6.13."""
PIDFD_INFO_EXIT = 1 << 3
"""Ask for the exit status, Linux 6.15; it is there once the process was reaped, and stays for who holds a pidfd."""
PIDFD_INFO = struct.Struct("=QQ11Ii")
"""mask, cgroupid, pid, tgid, ppid, four uids and gids, exit_code."""

STATE, PARENT, START_TIME, EXIT_CODE = 3, 4, 22, 52
"""Fields of /proc/PID/stat, counted as proc_pid_stat(5) does."""


@attrs.frozen
class Process:
    """One process of this machine and boot: its pid and its start time (clock ticks since boot; 0 where it is hidden)."""

    pid: int
    start_ticks: int


def check_pid(pid: object) -> None:
    """Refuse what cannot be the id of a process.

    Raises:
      InvalidPid: no integer, zero, negative (those mean groups to kill(2)) or larger than any kernel gives.
    """
    if type(pid) is not int or pid <= 0:
        said = shown(pid) if type(pid) is not int else pid
        raise InvalidPid(f"{said} is not a process id", hint="a process id is a positive number, as in --pid 4242")
    if pid > PID_MAX:
        raise InvalidPid(f"{pid} is not a process id: the largest is {PID_MAX}", hint="`pgrep NAME` finds one by name")


@cache
def boot_id() -> str:
    """The first eight characters of this boot's random id, the same for every process until the machine restarts."""
    if sys.platform == "darwin":
        from waitbus.sources import darwin

        return darwin.boot_id()
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read(8).decode()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or hidden (/proc mounted with hidepid)."""
    if sys.platform == "darwin":
        from waitbus.sources import darwin

        return darwin.start_time(pid)
    stat = _stat(pid)
    return None if stat is None else int(stat[START_TIME - STATE])


def is_alive(process: Process) -> bool:
    """Whether this very process goes on: one that has ended and was not reaped yet does not."""
    if sys.platform == "darwin":
        return start_time(process.pid) == process.start_ticks
    stat = _stat(process.pid)
    return stat is not None and int(stat[START_TIME - STATE]) == process.start_ticks and stat[0] not in (b"Z", b"X")


def parent(pid: int) -> int:
    """The pid of the parent of a process; 0 if there is none, it is gone, or hidden."""
    stat = _stat(pid)
    return 0 if stat is None else int(stat[PARENT - STATE])


def age(start_ticks: int) -> float:
    """Seconds since a start time; suspend counts, as it does for the start time itself."""
    if sys.platform == "darwin":
        return time.time() - start_ticks / 1e6
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK")


def command_line(pid: int) -> list[str]:
    """The arguments of the process; its short name alone where there are none (kernel threads); [] if it is gone or hidden."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().rstrip(b"\0")
        if arguments:
            return [os.fsdecode(word) for word in arguments.split(b"\0")]
        with open(f"/proc/{pid}/comm", "rb") as file:
            return [os.fsdecode(file.read().rstrip(b"\n"))]
    except OSError:
        return []


def open_pidfd(pid: int) -> int | None:
    """A descriptor (close-on-exec) of the process that has this pid now; None if there is none.

    Raises:
      InvalidPid: the number cannot be a process, or is that of a thread.
      ServiceMissing: no pidfds on this system.
    """
    check_pid(pid)
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            raise ServiceMissing(
                f"this kernel or its sandbox gives no pidfds: {error.strerror}",
                hint="Linux 5.3 has them; in a container, allow the system call pidfd_open",
            ) from None
        # A thread that is not its group's leader: EINVAL, and ENOENT from Linux 6.9 on.
        if error.errno in (errno.EINVAL, errno.ENOENT):
            _refuse_thread(pid)
            return None
        raise


def exists(pidfd: int) -> bool:
    """Whether the process of the pidfd was not yet reaped: its pid is still its own."""
    if sys.platform == "darwin":
        from waitbus.sources import darwin

        return darwin.exists(pidfd)
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's: there, and none of our business
        return True
    return True


def identify(pid: int, pidfd: int) -> Process:
    """The identity of the pidfd's process.

    The pidfd is asked after /proc was read: if the process is still there then, the pid was not used again in between and the
    start time is its own. Otherwise it is 0: unknown.
    """
    start = start_time(pid)
    return Process(pid, start if start is not None and exists(pidfd) else 0)


def exit_status(pidfd: int) -> int | None:
    """The wait status (as `os.waitpid` gives it) of a process that was reaped; None where the kernel does not tell."""
    answer = _info(pidfd)
    if answer is None:
        return None
    mask, *_, status = PIDFD_INFO.unpack(answer)
    return int(status) if mask & PIDFD_INFO_EXIT else None


def may_tell(pidfd: int) -> bool:
    """Whether it is worth waiting for `exit_status`: False before Linux 6.13, which has no such call."""
    return _info(pidfd) is not None


def zombie_status(process: Process) -> int | None:
    """The wait status of a process that ended and was not reaped yet; None if it was, or if it is not ours to see.

    /proc shows a zombie's status to whom ptrace(2) would allow to read it, and 0 to everybody else, so that 0 is believed
    only where /proc/PID/io, which is guarded by the very same check, opens.
    """
    try:
        with open(f"/proc/{process.pid}/io", "rb") as file:
            file.read()
        stat = _stat(process.pid)
    except OSError:
        return None
    if stat is None or stat[0] != b"Z" or int(stat[START_TIME - STATE]) != process.start_ticks:
        return None
    return int(stat[EXIT_CODE - STATE])


def _stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the third on: the second, the name, may hold spaces, parentheses and newlines."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def _refuse_thread(pid: int) -> None:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            leader = next(int(line.split()[1]) for line in file if line.startswith(b"Tgid:"))
    except (OSError, StopIteration):
        return
    if leader != pid:
        raise InvalidPid(f"{pid} is a thread of process {leader}", hint=f"wait for the process: --pid {leader}")


def _info(pidfd: int) -> bytearray | None:
    import fcntl

    info = bytearray(PIDFD_INFO.size)
    PIDFD_INFO.pack_into(info, 0, PIDFD_INFO_EXIT, *[0] * 13)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        # ENOTTY, EINVAL: the kernel does not know the call. ESRCH (6.13, 6.14): reaped, and its status was not kept.
        return None
    return info
