"""Start a command as `env` and `time` do, in our own terminal, process group and session, and wait for its end.

Nothing of ours stands between the command and its terminal: Ctrl-C, Ctrl-Z, `fg` and a new window size reach it because it
is in the foreground group, as any program started by the shell is. What is sent to our pid alone is handed on.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping

import attrs

from waitbus.errors import CommandNotExecutable, CommandNotFound
from waitbus.sources import pidfd

HANDED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
FROM_THE_KERNEL = 0x80
"""si_code SI_KERNEL: the terminal's own Ctrl-C, Ctrl-\\ or hang-up."""
SHELL = "/bin/sh"


@attrs.frozen
class Child:
    """A running command and the signals that are held back from us while it runs."""

    pid: int
    held: frozenset[signal.Signals]


def keep_streams_closed() -> None:
    """Take the place of streams that are closed (`<&-`) until the command starts, which is to find them as we did.

    SQLite keeps off the first three descriptors by opening /dev/null there, and the command would inherit that.
    """
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # gets the lowest that is free: this one


def spawn(
    command: tuple[str, ...], environ: Mapping[str, str] | None = None, *, also: Iterable[signal.Signals] = ()
) -> Child:
    """Start `command` with our streams, descriptors and signal dispositions, and our environment if no other is given.

    The signals that we must outlive, and those in `also`, are blocked rather than handled, from before the child exists until
    this process ends, so that none can come between the start and the wait. A signal that we ignore (`nohup`, `&` in a
    script) is ignored by the child too, and left alone here.

    Raises:
      CommandNotFound: there is no such command, or its interpreter is missing.
      CommandNotExecutable: it is there and may not or cannot be executed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some parents leave it, the kernel keeps no exit status
    held = frozenset(number for number in HANDED_ON if signal.getsignal(number) is not signal.SIG_IGN)
    inherited = signal.pthread_sigmask(signal.SIG_BLOCK, held | {signal.SIGCHLD, *also})
    try:
        return Child(_start(command, inherited, environment() if environ is None else environ), held)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, inherited)
        raise


def wait(child: Child, hear: Callable[[], float | None] | None = None) -> int:
    """The wait status of the child when it has ended; hands on what is sent to us meanwhile.

    `hear` is called at each SIGIO, and again after the s that it answers.
    """
    watched = child.held | {signal.SIGCHLD, *([signal.SIGIO] if hear else [])}
    again: float | None = None
    while True:
        number, sender, from_kernel = _next_signal(watched, again)
        if hear and number == signal.SIGIO:
            again = hear()
        elif number == signal.SIGCHLD:
            ended, status = os.waitpid(child.pid, os.WNOHANG)
            if ended:
                return status
        elif not from_kernel and not _is_of_the_command(sender, child.pid):
            os.kill(child.pid, number)


def _start(command: tuple[str, ...], mask: set[signal.Signals | int], environ: Mapping[str, str]) -> int:
    # Not subprocess: it closes descriptors that the shell opened for the command (`3<file`, `<(...)`), and costs 10 ms to
    # import. Python ignores SIGPIPE and SIGXFSZ for itself; no command expects that.
    defaults = (signal.SIGPIPE, signal.SIGXFSZ)
    if not command[0]:  # Python would not even ask the system
        raise refusal("", OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
    try:
        try:
            return os.posix_spawnp(command[0], command, environ, setsigmask=mask, setsigdef=defaults)
        except OSError as error:
            if error.errno != errno.ENOEXEC or (script := found(command[0])) is None:
                raise
            # A script without `#!`: POSIX gives it to the shell, and so does execvp(3), but not posix_spawnp.
            words = [SHELL, script, *command[1:]]
            return os.posix_spawn(SHELL, words, environ, setsigmask=mask, setsigdef=defaults)
    except OSError as error:
        raise refusal(command[0], error) from None


def environment() -> dict[str, str]:
    """The environment that we were given: in the C locale Python adds LC_CTYPE to its own (PEP 538)."""
    environment = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as file:
            given = b"\0" + file.read()
    except OSError:
        return environment
    if b"\0LC_CTYPE=" not in given:
        environment.pop("LC_CTYPE", None)
    return environment


def _next_signal(watched: frozenset[signal.Signals], within: float | None = None) -> tuple[signal.Signals, int, bool]:
    """The next one of the blocked signals: (number, pid of the sender, whether the kernel itself sent it).

    If none comes `within` so many s it is as if SIGIO had.
    """
    if (
        sys.platform == "darwin"
    ):  # has no sigwaitinfo; never run. The terminal's signals are those nobody sends by hand.
        number = signal.Signals(signal.sigwait(watched))
        return number, 0, number in (signal.SIGINT, signal.SIGQUIT)
    info = signal.sigwaitinfo(watched) if within is None else signal.sigtimedwait(watched, within)
    if info is None:
        return signal.SIGIO, 0, True
    return signal.Signals(info.si_signo), info.si_pid, info.si_code == FROM_THE_KERNEL


def _is_of_the_command(sender: int, child: int) -> bool:
    """Whether the command itself, or what it started, sent it to all of our group (`trap 'kill 0' EXIT`), and so had it too.

    Not whoever is in our group: a script without job control is, and to its `kill $!`, which is no other to see than its
    `kill 0`, the command is to end. That the latter comes to it twice is the smaller evil.
    """
    try:
        if sender <= 0 or os.getpgid(sender) != os.getpgrp():
            return False
    except ProcessLookupError:
        return False
    while sender > 1 and sender != child:
        sender = pidfd.parent(sender)
    return sender == child


def found(name: str) -> str | None:
    """The executable file that a name means, by PATH."""
    folders = [""] if "/" in name else os.get_exec_path()
    paths = (os.path.join(folder, name) for folder in folders)
    return next((path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)), None)


def refusal(name: str, error: OSError) -> CommandNotFound | CommandNotExecutable:
    """Why a command could not be executed, as the error of ours that says so."""
    if not name:
        return CommandNotFound("the command's name is empty", hint="write it behind --, as in -- make test")
    if error.errno == errno.ENOENT:
        if "/" in name and os.path.exists(name):
            return CommandNotFound(
                f"cannot run {name!r}: its interpreter is missing", hint="look at its first line, `#!...`"
            )
        hint = "is the path right?" if "/" in name else "is it installed, and its folder in PATH?"
        return CommandNotFound(f"no command {name!r}", hint=hint)
    if error.errno == errno.ENOTDIR:
        return CommandNotFound(f"no command {name!r}: {error.strerror}", hint="is the path right?")
    if os.path.isdir(name):
        return CommandNotExecutable(f"cannot run {name!r}: it is a directory", hint="name a program in it")
    hint = f"`chmod +x {name}` makes it executable" if error.errno == errno.EACCES else "run it by hand to see more"
    return CommandNotExecutable(f"cannot run {name!r}: {error.strerror}", hint=hint)
