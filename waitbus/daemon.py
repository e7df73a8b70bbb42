"""`waitbus serve`: one process, one nursery, readable as a picture.

    nursery
    ├─ signals      SIGTERM, SIGINT -> drain; a second one -> at once; SIGHUP -> reload
    ├─ bell         ring -> sweep: read behind the head, encode once, fan out
    ├─ accept       handshake, then for each subscriber a reader (hang-up) and a writer (channel or log -> socket)
    ├─ heartbeat    lost rings, WATCHDOG, a frame for everybody, retention
    └─ checkpoint   when enough rows came by
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import socket
from typing import TYPE_CHECKING

import attrs
import trio

from waitbus import activation, bell, instance
from waitbus.bell import Bell
from waitbus.errors import ConfigError, LogError
from waitbus.hub.hub import Hub
from waitbus.hub.listener import accept
from waitbus.paths import bells_dir, log_path, runtime_dir, socket_path, state_dir
from waitbus.store import Log
from waitbus.store.checkpoint import ROWS, checkpoint
from waitbus.store.retention import Retention, prune_chunk, strip_payloads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from waitbus.config import Config

log = logging.getLogger("waitbus.daemon")

CHUNK_PAUSE = 0.005
"""s between two chunks of retention: producers and the sweep come first."""


@attrs.define
class Daemon:
    """What one run of the daemon owns. `load` reads the configuration anew on SIGHUP."""

    config: Config
    load: Callable[[], Config]
    hub: Hub
    bell: Bell
    listener: socket.socket
    bound: tuple[Path, tuple[int, int]] | None
    """The socket file that is ours to unlink; None where it was inherited."""
    accepting: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    stopping: bool = False


async def serve(
    config: Config,
    load: Callable[[], Config],
    *,
    how: str = "by hand",
    task_status: trio.TaskStatus[Path] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the log and the socket of the environment until SIGTERM or SIGINT, then drain. `started` carries the socket's path.

    Raises:
      DaemonRunning: this log or this socket is served already.
      SocketUnavailable, LogError, PathError: it cannot start.
    """
    handed = activation.inherited()
    how = "systemd socket" if handed is not None else how
    locks = [instance.Lock(state_dir() / "daemon.lock", how=how)]
    try:
        if runtime_dir() != state_dir():
            locks.append(instance.Lock(runtime_dir() / "daemon.lock", how=how))
        _raise_descriptor_limit()
        daemon = _open(config, load, handed, how)
        try:
            async with trio.open_nursery() as nursery:
                await _run(daemon, nursery, task_status)
        finally:
            _close(daemon)
    finally:
        for lock in locks:
            lock.release()


def _open(config: Config, load: Callable[[], Config], handed: socket.socket | None, how: str) -> Daemon:
    path = socket_path()
    bell = Bell(bells_dir())
    try:
        hub = Hub(log_path(), heartbeat=config.heartbeat_sec, stall_timeout=config.stall_timeout, how=how)
        if handed is not None:
            return Daemon(config, load, hub, bell, handed, None)
        listener = instance.bind(path)
        return Daemon(config, load, hub, bell, listener, (path, instance.identity(path)))
    except BaseException:
        bell.close()
        raise


async def _run(daemon: Daemon, nursery: trio.Nursery, task_status: trio.TaskStatus[Path]) -> None:
    await nursery.start(_signals, daemon, nursery)
    # The bell stood before the hub read its head: nothing that is committed from there on is missed.
    await daemon.hub.sweep()
    nursery.start_soon(_hear, daemon)
    nursery.start_soon(_accept, daemon, nursery)
    nursery.start_soon(_heartbeat, daemon)
    nursery.start_soon(_checkpoints, daemon)
    gc.freeze()
    bell.ring(bells_dir(), bell.HELLO)
    activation.notify("READY=1", f"STATUS=serving {daemon.hub.path}")
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
    """Newcomers read the log at once; those who are here get all that was committed until now, then EOF."""
    activation.notify("STOPPING=1")
    if daemon.bound is not None:
        instance.unlink_own(*daemon.bound)
    daemon.accepting.cancel()
    with trio.move_on_after(daemon.config.drain_timeout):
        await daemon.hub.drain()
    nursery.cancel_scope.cancel()


def _reload(daemon: Daemon) -> None:
    activation.reloading()
    try:
        daemon.config = daemon.load()
    except ConfigError as error:
        log.error("%s; going on with what was in force (%s)", error.message, error.hint)
    else:
        daemon.hub.heartbeat = daemon.config.heartbeat_sec
        daemon.hub.stall_timeout = daemon.config.stall_timeout or float("inf")
        log.info("the configuration was read anew")
    activation.notify("READY=1")


async def _hear(daemon: Daemon) -> None:
    while True:
        await trio.lowlevel.wait_readable(daemon.bell.fileno())
        daemon.bell.drain()
        await daemon.hub.sweep()
        if daemon.hub.rows_swept >= ROWS:
            daemon.hub.wants_checkpoint.set()


async def _accept(daemon: Daemon, nursery: trio.Nursery) -> None:
    with daemon.accepting:
        listener = trio.socket.from_stdlib_socket(daemon.listener)
        try:
            await accept(daemon.hub, listener, nursery)
        finally:
            if daemon.bound is not None:
                listener.close()


async def _heartbeat(daemon: Daemon) -> None:
    while True:
        await _retention(daemon)
        await trio.sleep(daemon.hub.heartbeat)
        await daemon.hub.beat()
        activation.notify("WATCHDOG=1")


async def _retention(daemon: Daemon) -> None:
    keep = Retention.of(daemon.config.retention)
    past = Log(daemon.hub.path)
    try:
        while await trio.to_thread.run_sync(lambda: prune_chunk(past, keep) + strip_payloads(past, keep)):
            daemon.hub.wants_checkpoint.set()
            await trio.sleep(CHUNK_PAUSE)
    except LogError as error:
        log.warning("retention has to wait: %s", error.message)
    finally:
        past.close()


async def _checkpoints(daemon: Daemon) -> None:
    while True:
        await daemon.hub.wants_checkpoint.wait()
        daemon.hub.wants_checkpoint = trio.Event()
        daemon.hub.rows_swept = 0
        try:
            await trio.to_thread.run_sync(checkpoint, daemon.hub.path)
        except LogError as error:
            log.debug("no checkpoint: %s", error.message)


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _close(daemon: Daemon) -> None:
    if daemon.bound is not None:
        instance.unlink_own(*daemon.bound)
    daemon.bell.close()
    daemon.hub.close()
    if daemon.bound is not None:
        daemon.listener.close()


def started_by(environment: dict[str, str] | os._Environ[str] = os.environ) -> str:
    """How the daemon was started, for `status`."""
    if "INVOCATION_ID" in environment and os.getppid() == 1:
        return "systemd unit"
    return "by hand"
