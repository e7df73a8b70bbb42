"""What the kernel tells of processes that are not ours, and the rows made of it; real processes throughout."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

from tests.support import PYTHON, eventually, read_until
from waitbus.errors import InvalidPid, ServiceMissing
from waitbus.events import EventInsert
from waitbus.sources import pidfd, pidwatch
from waitbus.sources.pidfd import Process
from waitbus.sources.pidwatch import Gone, Recorded, watch_pid
from waitbus.sources.process import (
    Subject,
    default_name,
    delivery_id,
    ending,
    exit_terms,
    exited,
    shown_command,
    started,
)

PARENT = """
import os, signal, sys
pid = os.fork()
if not pid:
    sys.stdin.readline()
    {end}
print(pid, flush=True)
if {reap!r}:
    os.waitpid(pid, 0)
signal.pause()
"""


class Stranger:
    """A process whose parent is not us: it ends when it is told to, and is reaped by its parent, or left a zombie."""

    def __init__(self, spawn: Callable[..., Any], end: str = "os._exit(7)", *, reap: bool = True) -> None:
        self.parent = spawn("-c", PARENT.format(end=end, reap=reap), program=(PYTHON,))
        self.pid = int(read_until(self.parent.stdout, ""))

    def end(self) -> None:
        self.parent.stdin.write("\n")
        self.parent.stdin.flush()


@pytest.fixture
def handle() -> Iterator[Callable[[int], int]]:
    """Opens pidfds, and closes them."""
    opened: list[int] = []

    def open_one(pid: int) -> int:
        fd = pidfd.open_pidfd(pid)
        assert fd is not None
        opened.append(fd)
        return fd

    yield open_one
    for fd in opened:
        os.close(fd)


async def end_while_watched(stranger: Stranger, **kwargs: Any) -> EventInsert | Recorded | Gone:
    outcomes: list[EventInsert | Recorded | Gone] = []

    async def watch(task_status: trio.TaskStatus[Process | Gone]) -> None:
        outcomes.append(await watch_pid(stranger.pid, task_status=task_status, **kwargs))

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        stranger.end()
    return outcomes[0]


def needs_exit_status(pid: int) -> None:
    fd = pidfd.open_pidfd(pid)
    assert fd is not None
    try:
        if not pidfd.may_tell(fd):
            pytest.skip("this kernel does not tell the exit status of a process that is not ours (Linux 6.15 does)")
    finally:
        os.close(fd)


def reaped_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait(timeout=10)
    return child.pid


# -- facts -------------------------------------------------------------------------------------------------------------


def test_the_start_time_is_read_behind_a_name_full_of_parentheses(spawn: Callable[..., Any], tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b c"
    shutil.copy(shutil.which("sleep") or "", program)
    before = pidfd.start_time(os.getpid())
    child = spawn("1000", program=(str(program),))
    named = f"/proc/{child.pid}/comm"
    eventually(lambda: Path(named).read_text() == "a) R 1 (b c\n", what="it has become that program")
    start = pidfd.start_time(child.pid)
    assert before is not None
    assert start is not None
    assert start >= before
    assert pidfd.age(start) < 60


def test_the_start_time_of_nobody_is_none() -> None:
    assert pidfd.start_time(reaped_pid()) is None
    assert pidfd.command_line(reaped_pid()) == []


def test_the_boot_id_is_short_and_the_same_every_time() -> None:
    assert re.fullmatch("[0-9a-f]{8}", pidfd.boot_id())
    assert Path("/proc/sys/kernel/random/boot_id").read_text().startswith(pidfd.boot_id())


@pytest.mark.parametrize("pid", [0, -1, -4242, pidfd.PID_MAX + 1, 2**31, 2**64])
def test_a_number_that_no_process_can_have_is_refused(pid: int) -> None:
    with pytest.raises(InvalidPid, match=f"^{pid} is not a process id"):
        pidfd.open_pidfd(pid)


def test_a_thread_is_refused_and_its_process_named() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait, args=(20,))
    thread.start()  # returns when it runs, so that its id is known
    try:
        with pytest.raises(InvalidPid, match=f"is a thread of process {os.getpid()}$"):
            pidfd.open_pidfd(thread.native_id or 0)
    finally:
        done.set()
        thread.join()


def test_a_kernel_without_pidfds_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(ServiceMissing, match="no pidfds: Function not implemented"):
        pidfd.open_pidfd(1)


def test_a_start_time_read_after_the_pid_was_freed_is_not_believed(handle: Callable[[int], int]) -> None:
    """/proc may then show the next process with this pid; here, our own in its place."""
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    fd = handle(child.pid)
    assert pidfd.identify(os.getpid(), fd).start_ticks > 0
    child.communicate(timeout=10)
    assert pidfd.identify(os.getpid(), fd) == Process(os.getpid(), 0)


def test_the_exit_status_is_told_once_it_was_reaped(handle: Callable[[int], int]) -> None:
    child = subprocess.Popen(["sh", "-c", "read line; exit 3"], stdin=subprocess.PIPE)
    needs_exit_status(child.pid)
    fd = handle(child.pid)
    assert pidfd.exit_status(fd) is None
    child.communicate(timeout=10)
    assert pidfd.exit_status(fd) == 3 << 8


def test_the_status_of_a_zombie_is_read_from_proc_and_belongs_to_that_very_process(spawn: Callable[..., Any]) -> None:
    stranger = Stranger(spawn, reap=False)
    process = Process(stranger.pid, pidfd.start_time(stranger.pid) or 0)
    assert pidfd.zombie_status(process) is None
    stranger.end()
    assert eventually(lambda: pidfd.zombie_status(process)) == 7 << 8
    assert pidfd.zombie_status(Process(stranger.pid, process.start_ticks + 1)) is None


# -- watching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "code", "signal_name"),
    [("os._exit(7)", 7, None), ("os._exit(0)", 0, None), ("os.kill(os.getpid(), 9)", 137, "SIGKILL")],
)
async def test_the_end_of_a_stranger_is_heard_with_its_exit_code(
    spawn: Callable[..., Any], end: str, code: int, signal_name: str | None
) -> None:
    stranger = Stranger(spawn, end)
    needs_exit_status(stranger.pid)
    start = pidfd.start_time(stranger.pid)
    row = await end_while_watched(stranger)
    assert isinstance(row, EventInsert)
    assert (row.source, row.event_type, row.status) == ("process", "process_exited", "completed")
    assert row.conclusion == ("success" if code == 0 else "failure")
    assert (row.fields.get("exit_code"), row.fields.get("signal")) == (code, signal_name)
    assert row.fields["pid"] == stranger.pid
    assert row.fields["name"] == row.fields["workflow_name"] == default_name([PYTHON])
    assert 0 <= row.fields["duration_ms"] < 60_000
    assert row.delivery_id == f"process:{pidfd.boot_id()}:{stranger.pid}:{start}:exited"


async def test_the_end_of_one_that_nobody_reaps_is_heard_at_once(
    spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pidwatch, "REAP_GRACE", 1000.0)
    row = await end_while_watched(Stranger(spawn, reap=False))
    assert isinstance(row, EventInsert)
    assert row.fields["exit_code"] == 7


async def test_a_parent_that_is_late_is_given_a_second_and_no_more(
    spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where /proc does not say (another user's process), the kernel tells only once it was reaped, and it never is here."""
    monkeypatch.setattr(pidfd, "zombie_status", lambda _: None)
    monkeypatch.setattr(pidwatch, "REAP_GRACE", 0.05)
    row = await end_while_watched(Stranger(spawn, reap=False))
    assert isinstance(row, EventInsert)
    assert (row.conclusion, row.status) == (None, "completed")


async def test_where_the_kernel_tells_nothing_there_is_an_end_without_a_verdict(
    spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pidfd, "zombie_status", lambda _: None)
    monkeypatch.setattr(pidfd, "PIDFD_GET_INFO", 0xC040FF7F)  # a number that no kernel knows yet
    row = await end_while_watched(Stranger(spawn))
    assert isinstance(row, EventInsert)
    assert (row.conclusion, row.status, "exit_code" in row.fields, "signal" in row.fields) == (
        None,
        "completed",
        False,
        False,
    )


async def test_on_macos_the_end_is_heard_by_what_there_is_there(
    spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the module of macOS, and without the calls that only Linux has."""
    stranger = Stranger(spawn)
    start, queue = pidfd.start_time(stranger.pid), pidfd.open_pidfd(stranger.pid)
    stand_in = ModuleType("waitbus.sources.darwin")
    vars(stand_in).update(
        open_exit_queue=lambda _: queue, start_time=lambda _: start, boot_id=lambda: "0f0f0f0f", exists=lambda _: True
    )
    monkeypatch.setitem(sys.modules, "waitbus.sources.darwin", stand_in)
    monkeypatch.setattr("waitbus.sources.darwin", stand_in, raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    for module, name in ((os, "pidfd_open"), (signal, "pidfd_send_signal")):
        monkeypatch.delattr(module, name)
    pidfd.boot_id.cache_clear()
    row = await end_while_watched(stranger)
    monkeypatch.undo()
    pidfd.boot_id.cache_clear()
    assert isinstance(row, EventInsert)
    assert row.delivery_id == f"process:0f0f0f0f:{stranger.pid}:{start}:exited"
    assert (row.status, row.conclusion) == ("completed", None)


async def test_a_pid_that_is_gone_is_gone() -> None:
    pid = reaped_pid()
    assert await watch_pid(pid) == Gone(pid)


async def test_a_pid_that_cannot_be_one_is_an_error() -> None:
    with pytest.raises(InvalidPid):
        await watch_pid(0)


async def test_a_cancelled_watch_leaves_no_descriptor(spawn: Callable[..., Any]) -> None:
    stranger = Stranger(spawn)
    before = len(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_for_nobody, stranger.pid)
        nursery.cancel_scope.cancel()
    assert len(os.listdir("/proc/self/fd")) <= before


async def watch_for_nobody(pid: int, task_status: trio.TaskStatus[Process | Gone]) -> None:
    await watch_pid(pid, task_status=task_status)


async def test_the_row_is_left_to_run_if_run_started_it(spawn: Callable[..., Any]) -> None:
    stranger = Stranger(spawn)
    process = Process(stranger.pid, pidfd.start_time(stranger.pid) or 0)
    asked: list[str] = []

    def recorded(key: str) -> bool:
        asked.append(key)
        return key.endswith(":started") or len(asked) > 3

    assert await end_while_watched(stranger, recorded=recorded) == Recorded(
        process, delivery_id(process, "exited") or ""
    )


async def test_if_run_never_writes_it_the_watcher_does(
    spawn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pidwatch, "RUN_GRACE", 0.05)
    row = await end_while_watched(Stranger(spawn), recorded=lambda key: key.endswith(":started"))
    assert isinstance(row, EventInsert)


async def test_another_users_process_can_be_watched(spawn: Callable[..., Any]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    stranger = Stranger(spawn, "os.setuid(65534); os._exit(7)")
    assert isinstance(await end_while_watched(stranger), EventInsert)


# -- rows --------------------------------------------------------------------------------------------------------------

SUBJECT = Subject(process=Process(4242, 99), name="build", command=["make", "-j4", "a b"], run=Process(4241, 98))


def test_the_start_is_progress_with_the_fields_of_the_end() -> None:
    row = started(SUBJECT)
    assert (row.event_type, row.status, row.conclusion) == ("process_started", "in_progress", None)
    assert row.fields == {
        "name": "build",
        "pid": 4242,
        "start_ticks": 99,
        "command": "make -j4 'a b'",
        "run_pid": 4241,
        "run_start_ticks": 98,
        "workflow_name": "build",
    }


@pytest.mark.parametrize(
    ("status", "conclusion", "code", "name"),
    [
        (0, "success", 0, None),
        (2 << 8, "failure", 2, None),
        (255 << 8, "failure", 255, None),
        (signal.SIGTERM, "failure", 143, "SIGTERM"),
        (signal.SIGSEGV | 0x80, "failure", 139, "SIGSEGV"),  # with a core dump
        (signal.SIGRTMIN + 1, "failure", 128 + signal.SIGRTMIN + 1, "SIGRTMIN+1"),
        (None, None, None, None),
    ],
)
def test_the_end_says_how(status: int | None, conclusion: str | None, code: int | None, name: str | None) -> None:
    row = exited(SUBJECT, status, 14.2)
    assert (row.conclusion, row.fields.get("exit_code"), row.fields.get("signal")) == (conclusion, code, name)
    assert row.fields["duration_ms"] == 14_200
    if status is not None:
        assert ending(status) == (code, name)


def test_the_key_of_two_watchers_is_one() -> None:
    other = Subject(process=SUBJECT.process, name="other", command=[])
    assert exited(SUBJECT, 0, 1.0).delivery_id == exited(other, None, None).delivery_id
    assert exited(SUBJECT, 0, 1.0).delivery_id == f"process:{pidfd.boot_id()}:4242:99:exited"


def test_without_a_start_time_no_key_is_shared() -> None:
    hidden = Subject(process=Process(4242, 0), name="x", command=[])
    assert exited(hidden, 0, 1.0).delivery_id != exited(hidden, 0, 1.0).delivery_id
    assert "start_ticks" not in exited(hidden, 0, 1.0).fields


def test_the_terms_of_an_exit_name_the_process_or_the_run_that_started_it() -> None:
    assert exit_terms(Process(4242, 99)) == [
        ["source=process", "event_type=process_exited", "pid=4242", "start_ticks=99"],
        ["source=process", "event_type=process_exited", "run_pid=4242", "run_start_ticks=99"],
    ]


@pytest.mark.parametrize(
    ("command", "name"),
    [(["/usr/bin/make", "-j"], "make"), (["make"], "make"), (["./a/"], "a"), (["/"], "/"), ([], "")],
)
def test_a_command_is_called_by_its_file_name(command: list[str], name: str) -> None:
    assert default_name(command) == name


def test_a_command_line_is_quoted_and_bounded() -> None:
    assert shown_command(["sh", "-c", "exit 2"]) == "sh -c 'exit 2'"
    assert len(shown_command(["x" * 399])) == 399
    assert len(shown_command(["x" * 401])) == 400
