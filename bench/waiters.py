"""`python -m bench.waiters`: ten thousand subscriptions, each for something else, and one daemon.

    python -m bench.waiters [--subscriptions 10000] [--processes 4] [--events 500] [--rate 50] [--out FILE]

What is asked of it: the daemon under 400 MB; an event for one of them writes one frame, to that one; p99 of the time from the
emit to the event in the hands of who waited under 5 ms. Latency is taken from the moment the event was to be emitted, over
processes of this machine, which share one monotonic clock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import machine

MEMORY_MAX = 400_000_000
P99_MAX_MS = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    if options.worker:
        import trio

        trio.run(wait_for_each, range(*map(int, options.worker.split(":"))))
        return 0
    with tempfile.TemporaryDirectory(prefix="wb-") as home:
        report = measure(Path(home), options.subscriptions, options.processes, options.events, options.rate)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n")
    good = (
        report["memory_bytes"] < MEMORY_MAX
        and report["frames"] == options.events
        and report["wake_p99_ms"] < P99_MAX_MS
    )
    return 0 if good else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.waiters")
    parser.add_argument("--subscriptions", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50.0, help="events/s")
    parser.add_argument("--out", help="write the figures to this file, too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure(home: Path, subscriptions: int, processes: int, events: int, rate: float) -> dict[str, Any]:
    """Start the daemon and the waiters, emit, and collect."""
    raise_limit(subscriptions + 200)
    for name, folder in (("STATE", "s"), ("RUNTIME", "r"), ("CONFIG", "c")):
        os.environ[f"WAITBUS_{name}_DIR"] = str(home / folder)
    daemon = _start("-m", "waitbus", "serve", stderr=subprocess.PIPE)
    workers: list[subprocess.Popen[str]] = []
    try:
        _line(daemon.stderr)
        share = subscriptions // processes
        began = time.monotonic()
        for index in range(processes):
            bounds = f"{index * share}:{subscriptions if index == processes - 1 else (index + 1) * share}"
            workers.append(
                _start("-m", "bench.waiters", "--worker", bounds, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
        for worker in workers:
            _line(worker.stdout)
        armed = time.monotonic() - began
        cpu = _cpu(daemon.pid)
        due = emit(subscriptions, events, rate)
        cpu = _cpu(daemon.pid) - cpu
        memory = _memory(daemon.pid)
        answers = [_answer(worker) for worker in workers]
    finally:
        for child in (*workers, daemon):
            child.kill()
            child.wait()
    return {
        "subscriptions": subscriptions, "processes": processes, "events": events, "rate": rate,
        "armed_sec": round(armed, 2), "memory_bytes": memory, "daemon_cpu_ms_per_event": round(cpu / events * 1000, 3),
        "frames": sum(answer["frames"] for answer in answers), **_latencies(due, answers), "machine": machine.describe(home, []),
    }  # fmt: skip


def emit(subscriptions: int, events: int, rate: float) -> dict[int, float]:
    """Emit events for one waiter each, none of them twice; when each was due, by its number."""
    import waitbus

    due: dict[int, float] = {}
    start = time.monotonic() + 0.5
    for index, n in enumerate(random.Random(1).sample(range(subscriptions), events)):
        due[n] = start + index / rate
        time.sleep(max(0.0, due[n] - time.monotonic()))
        waitbus.emit(waitbus.EventInsert(source="agent", event_type="deploy_finished", fields={"n": n}))
    return due


def _latencies(due: dict[int, float], answers: list[dict[str, Any]]) -> dict[str, float]:
    came = {int(n): at for answer in answers for n, at in answer["came"].items()}
    took = sorted((came[n] - due[n]) * 1000 for n in due)  # a KeyError is an event that was lost
    at = {share: took[min(len(took) - 1, int(len(took) * share))] for share in (0.5, 0.9, 0.99)}
    return {
        "wake_p50_ms": round(at[0.5], 3), "wake_p90_ms": round(at[0.9], 3), "wake_p99_ms": round(at[0.99], 3),
        "wake_max_ms": round(took[-1], 3),
    }  # fmt: skip


# -- a process with many waiters ---------------------------------------------------------------------------------------


async def wait_for_each(numbers: range) -> None:
    """One subscription for each number; says when all are armed, and at the end of its input what came."""
    import trio

    import waitbus
    from waitbus.client import session

    raise_limit(len(numbers) + 100)
    came: dict[int, float] = {}
    frames = 0
    take_one = session.Session._take_one

    def counted(self: session.Session, message: dict[str, Any]) -> None:
        nonlocal frames
        frames += message.get("kind") == "event"
        take_one(self, message)

    session.Session._take_one = counted  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:

        async def wait(n: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with waitbus.asubscribe(f"n={n}") as events:
                assert events.session.transport == "socket"
                task_status.started()
                async for frame in events:
                    came[frame.fields["n"]] = time.monotonic()

        for n in numbers:
            await nursery.start(wait, n)
        print("armed", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()
    print(json.dumps({"came": came, "frames": frames}), flush=True)


# -- processes ---------------------------------------------------------------------------------------------------------


def raise_limit(count: int) -> None:
    """Let this process, and those it starts, have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        sys.exit(f"{count} descriptors are needed, and `ulimit -Hn` is {hard}: ask for fewer --subscriptions")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def _start(*argv: str, **streams: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *argv], text=True, **streams)  # type: ignore[call-overload, no-any-return]


def _line(stream: Any) -> str:
    line: str = stream.readline()
    if not line:
        sys.exit("a process ended before it was ready")
    return line


def _answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    # What was emitted last is on its way; an event that is not there after this is lost.
    time.sleep(0.5)
    answer: dict[str, Any] = json.loads(worker.communicate("", timeout=60)[0])
    return answer


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def _cpu(pid: int) -> float:
    """s of processor time so far."""
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9


if __name__ == "__main__":
    sys.exit(main())
