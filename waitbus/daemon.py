"""`waitbus serve`: one process, one nursery, readable as a picture.

nursery
├─ signals      SIGTERM, SIGINT -> drain; a second one -> at once; SIGHUP -> reload
├─ bell         ring -> sweep: read behind the head, encode once, fan out
├─ accept       handshake, then for each subscriber a reader (hang-up) and a writer (channel or log -> socket)
├─ heartbeat    lost rings, WATCHDOG, a frame for everybody; bell and socket anew where somebody removed them; a hello to those
│               who left while we were stopped, or found no socket
├─ sources      one task for each source that the configuration switches on: again after each end, later each time; told on
│               going down and coming back. SIGHUP begins, ends and renews them; those that were refused are tried anew when
│               somebody decides about plugins, or something was installed; a drain ends them first
└─ upkeep       retention; a checkpoint when enough rows came by
"""

from __future__ import annotations

import contextlib
import gc
import logging
import resource
import signal
from typing import TYPE_CHECKING

import attrs
import trio

from waitbus import activation, bell, instance
from waitbus.bell import Bell
from waitbus.errors import ConfigError, WaitbusError
from waitbus.hub.hub import Hub
from waitbus.hub.listener import accept
from waitbus.hub.pulse import Pulse
from waitbus.paths import bells_dir, log_path, runtime_dir, socket_path, state_dir
from waitbus.quantities import say_count
from waitbus.sources.roster import Roster
from waitbus.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from waitbus.config import Config

log = logging.getLogger("waitbus.daemon")

DESCRIPTORS = 1 << 20
"""As many as anybody needs; some containers have a hard limit of a thousand million."""

SOURCES_TIMEOUT = 5.0
"""s that the sources have for their end. Each is cancelled, and may still commit what it heard (`roster.GRACE`)."""


@attrs.define
class Daemon:
    """What one run of the daemon owns. `load` reads the configuration anew on SIGHUP."""

    config: Config
    load: Callable[[], Config]
    hub: Hub
    bell: Bell
    listener: instance.Listener
    upkeep: Upkeep = attrs.field(init=False)
    sources: Roster = attrs.field(factory=Roster)
    accepting: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    stopping: bool = False
    misplaced: str = ""
    """What is wrong with the socket's path, as it was said."""
    unhung: str = ""
    """Why there is no doorbell, as it was said."""

    def __attrs_post_init__(self) -> None:
        self.upkeep = Upkeep(self.hub.path, lambda: self.config.retention)
        self.hub.swept = self.upkeep.swept
        self.hub.sources = self.sources.report
        self.sources.set(self.config.sources)

    def close(self) -> None:
        self.listener.close()
        self.bell.close()
        self.hub.close()


async def serve(
    config: Config,
    load: Callable[[], Config],
    *,
    how: str | None = None,
    task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the log and the socket of the environment until SIGTERM or SIGINT, then drain. `started` carries the socket's path.

    `how` says how the daemon was started; by default that is found out.

    Raises:
      DaemonRunning: this log or this socket is served already.
      SocketUnavailable, LogError, PathError: it cannot start.
    """
    how = instance.started_by() if how is None else how
    with contextlib.ExitStack() as stack:
        # Two locks: sources and retention run once for each log, and a socket has one owner.
        for folder in dict.fromkeys((state_dir(), runtime_dir())):
            stack.callback(instance.Lock(folder / "daemon.lock", how=how).release)
        stack.enter_context(_descriptors())
        daemon = _open(config, load, how)
        stack.callback(daemon.close)
        async with trio.open_nursery() as nursery:
            await _run(daemon, nursery, task_status)


def _open(config: Config, load: Callable[[], Config], how: str) -> Daemon:
    with contextlib.ExitStack() as stack:
        # The bell is up before the hub reads its head: nothing that is committed from there on is missed.
        bell = Bell(bells_dir())
        stack.callback(bell.close)
        hub = Hub(log_path(), heartbeat=config.heartbeat_sec, stall_timeout=config.stall_timeout, how=how)
        stack.callback(hub.close)
        handed = activation.inherited()
        listener = instance.bind(socket_path()) if handed is None else instance.Listener(handed)
        stack.pop_all()
    return Daemon(config, load, hub, bell, listener)


async def _run(daemon: Daemon, nursery: trio.Nursery, task_status: trio.TaskStatus[Path]) -> None:
    await nursery.start(_signals, daemon, nursery)
    nursery.start_soon(_hear, daemon)
    nursery.start_soon(_accept, daemon, nursery)
    nursery.start_soon(_heartbeat, daemon, nursery)
    nursery.start_soon(daemon.upkeep.run)
    nursery.start_soon(daemon.sources.run)
    _hello()
    gc.collect()
    gc.freeze()
    log.info("serving %s on %s", daemon.hub.path, socket_path())
    activation.notify("READY=1", f"STATUS=serving {daemon.hub.path}", *activation.watchdog(daemon.config.heartbeat_sec))
    task_status.started(socket_path())


async def _signals(
    daemon: Daemon, nursery: trio.Nursery, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as arrived:
        task_status.started()
        async for number in arrived:
            if number == signal.SIGHUP:
                _reload(daemon)
            elif daemon.stopping:
                nursery.cancel_scope.cancel()
            else:
                daemon.stopping = True
                nursery.start_soon(_drain, daemon, nursery)


async def _drain(daemon: Daemon, nursery: trio.Nursery) -> None:
    """Newcomers read the log at once. Sources end; those who are here get all that was committed by then, and EOF."""
    log.info("stopping; what is committed goes to %s", say_count(len(daemon.hub.subscribers), "subscriber"))
    activation.notify("STOPPING=1")
    daemon.listener.unlink()
    daemon.accepting.cancel()
    with trio.move_on_after(SOURCES_TIMEOUT):
        await daemon.sources.stop("the daemon was stopped")
    with trio.move_on_after(daemon.config.drain_timeout):
        await daemon.hub.drain()
    nursery.cancel_scope.cancel()


def _reload(daemon: Daemon) -> None:
    activation.reloading()
    try:
        daemon.config = daemon.load()
    except ConfigError as error:
        log.error("%s (%s); going on with what was in force", error.message, error.hint)
    else:
        daemon.hub.heartbeat = daemon.config.heartbeat_sec
        daemon.hub.stall_timeout = daemon.config.stall_timeout
        daemon.sources.set(daemon.config.sources)
        log.info("the configuration was read anew")
    activation.notify("READY=1", *activation.watchdog(daemon.config.heartbeat_sec))


async def _accept(daemon: Daemon, nursery: trio.Nursery) -> None:
    with daemon.accepting:
        await accept(daemon.hub, lambda: daemon.listener.sock, nursery)
    daemon.listener.close()


async def _hear(daemon: Daemon) -> None:
    while True:
        try:
            await trio.lowlevel.wait_readable(daemon.bell.fileno())
        except trio.ClosedResourceError:
            continue  # it was hung up anew
        # One ring is heard before the look, the others behind it, and then there is another look: what is between a ring and its
        # event is as short as can be.
        first = daemon.bell.hear()
        await daemon.hub.sweep()
        others = daemon.bell.drain()
        if others:
            await daemon.hub.sweep()
        if bell.TRUST in (first, *others):
            daemon.sources.again()


async def _heartbeat(daemon: Daemon, nursery: trio.Nursery) -> None:
    pulse = Pulse()
    while True:
        late = await pulse.next(daemon.hub.heartbeat)
        _hang_bell(daemon)
        is_new = _bind_socket(daemon)
        # For events whose producer died before it rang. Not awaited: a log that cannot be read must not stop the heart.
        nursery.start_soon(daemon.hub.sweep)
        nursery.start_soon(daemon.sources.look)
        await daemon.hub.beat()
        activation.notify("WATCHDOG=1")
        # Behind the beat: whoever has not left by now has got it, and stays.
        if (late or is_new or daemon.hub.deserted) and not daemon.stopping:
            daemon.hub.deserted = False
            _hello()


def _hello() -> None:
    """Call those who read the log: they come back to the socket."""
    bell.ring(bells_dir(), bell.HELLO)


def _hang_bell(daemon: Daemon) -> None:
    """Where the state folder was removed, so was our bell: a new one, in the folder that producers know now."""
    if daemon.bell.is_hanging():
        return
    try:
        fresh = Bell(bells_dir())
    except WaitbusError as error:
        if error.message != daemon.unhung:
            log.warning("the doorbell is gone and cannot be hung up anew: %s", error.message)
        daemon.unhung = error.message
        return
    daemon.unhung = ""
    gone, daemon.bell = daemon.bell, fresh
    trio.lowlevel.notify_closing(gone.fileno())
    gone.close()


def _bind_socket(daemon: Daemon) -> bool:
    """Where the socket's file was removed nobody finds us: another one in its place; who is here stays. Whether it was done.

    What somebody else has put there is left alone: it may be a daemon of his, or a file.
    """
    stands, path, wrong = daemon.listener.stands(), daemon.listener.path, ""
    if stands == "other":
        wrong = (
            f"something else stands where our socket {path} was; newcomers find this daemon again when it is moved away"
        )
    elif stands == "nothing" and path is not None:
        try:
            fresh = instance.bind(path)
        except WaitbusError as error:
            wrong = f"the socket is gone and cannot be bound anew: {error.message}"
        else:
            log.info("the socket %s was removed; it is bound anew", path)
            _listen_on(daemon, fresh)
    if wrong and wrong != daemon.misplaced:
        log.warning("%s", wrong)
    daemon.misplaced = wrong
    return stands == "nothing" and not wrong


def _listen_on(daemon: Daemon, fresh: instance.Listener) -> None:
    gone, daemon.listener = daemon.listener, fresh
    trio.lowlevel.notify_closing(gone.sock)
    gone.close()


@contextlib.contextmanager
def _descriptors() -> Iterator[None]:
    """Raise the limit of descriptors for this process; what it was is restored behind it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
