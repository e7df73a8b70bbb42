"""A3, F17: a process that forks loses no event, whoever emitted before, and whichever thread forks."""

from __future__ import annotations

import os
from pathlib import Path

from tests.logs import finish, is_sound, names, python
from waitbus.paths import log_path
from waitbus.store import Log

CHILD_OUTLIVES_PARENT = """
import os, sys
from waitbus.events import EventInsert
from waitbus.producer import emit
event = lambda name: EventInsert(source="agent", event_type="x", delivery_id=name)
emit(event("parent"))
told, tell = os.pipe()
if os.fork() == 0:
    os.close(tell)
    emit(event("child, first"))
    print("ready", flush=True)
    os.read(told, 1)                    # until the parent is gone
    assert sys.stdin.readline() == "go\\n"    # and a third process has opened and closed the log
    emit(event("child, second"))
    print("done", flush=True)
    os._exit(0)
assert os.read(int(sys.argv[1]), 1) == b"x"
"""

THIRD = """
from waitbus.events import EventInsert
from waitbus.store import Log
with Log() as log:      # closes it: the last one to do so deletes the WAL
    log.append(EventInsert(source="agent", event_type="x", delivery_id="third"))
"""


def test_what_a_forked_child_emits_is_seen_though_its_parent_and_others_came_and_went() -> None:
    """The child's lock table came from its parent. With a connection that lived on, its second event would be in a WAL that
    the third process has deleted, and nobody would ever see it."""
    leave, left = os.pipe()
    family = python(CHILD_OUTLIVES_PARENT, leave, pass_fds=[leave])
    assert family.stdin is not None
    assert family.stdout is not None
    assert family.stdout.readline() == "ready\n"
    os.write(left, b"x")
    assert family.wait(30) == 0, "the parent is gone; the child lives on with its streams"
    finish([python(THIRD)])
    family.stdin.write("go\n")
    family.stdin.flush()
    assert family.stdout.readline() == "done\n"
    for stream in (family.stdin, family.stdout, family.stderr):
        assert stream is not None
        stream.close()
    os.close(leave)
    os.close(left)
    assert names(log_path()) == ["parent", "child, first", "third", "child, second"]
    assert is_sound(log_path())


EVERYBODY_FORKS = """
import os, sys, threading
from waitbus.events import EventInsert
from waitbus.producer import emit

def say(who, count):
    for number in range(count):
        emit(EventInsert(source="agent", event_type="x", delivery_id=f"{who} {number}"))

def leave(code):
    sys.stdout.flush()
    os._exit(code)

def threads(who, count, each):
    found = [threading.Thread(target=say, args=(f"{who} thread {n}", each)) for n in range(count)]
    for one in found: one.start()
    return found

each, few = int(sys.argv[1]), int(sys.argv[2])
for one in threads("first", 8, each): one.join()

children = []
for n in range(8):
    child = os.fork()
    if not child:
        say(f"child {n}", few)
        leave(0)
    children.append(child)
    say(f"parent beside child {n}", few)

def fork_inside():
    child = os.fork()                    # while the others of this process emit
    if not child:
        say("child of a thread", few)
        for one in threads("child of a thread", 2, few): one.join()
        leave(0)
    children.append(child)
    say("thread that forked", few)

busy = threads("busy", 4, few)
inside = threading.Thread(target=fork_inside)
inside.start()
for one in [*busy, inside]: one.join()
for child in children:
    assert os.waitpid(child, 0)[1] == 0
print(8 * each + 16 * few + 4 * few + 4 * few)
"""


def test_threads_forks_and_forks_inside_of_threads_lose_and_double_nothing() -> None:
    """8 threads x 1,000 emits; then 8 forks with emits on both sides; then a fork in a thread while four others emit."""
    (said,) = finish([python(EVERYBODY_FORKS, 1000, 50)], timeout=100)
    written = names(log_path())
    assert len(written) == len(set(written)) == int(said)
    assert is_sound(log_path())


MULTIPROCESSING = """
import multiprocessing, sys
from waitbus.events import EventInsert
from waitbus.producer import emit, emit_batch

def work(n):
    return [emit(EventInsert(source="agent", event_type="x", delivery_id=f"{n} {k}")).inserted for k in range(20)]

if __name__ == "__main__":
    emit_batch([EventInsert(source="agent", event_type="x", delivery_id="before")])
    with multiprocessing.get_context("fork").Pool(4) as pool:
        print(all(all(one) for one in pool.map(work, range(16))))
    emit(EventInsert(source="agent", event_type="x", delivery_id="after"))
"""


def test_a_pool_of_forked_workers_emits_like_anybody(tmp_path: Path) -> None:
    program = tmp_path / "pool.py"
    program.write_text(MULTIPROCESSING)
    (said,) = finish([python(f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')")])
    assert said == "True\n"
    assert len(names(log_path())) == 322
    assert is_sound(log_path())


def test_a_fork_waits_for_an_append_and_both_sides_go_on() -> None:
    """The connection is closed and opened anew, so the parent's log is a new connection to the same file."""
    with Log() as log:
        before = log.head(), log.identity
        child = os.fork()
        if not child:
            os._exit(0 if (log.head(), log.identity) == before else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert (log.head(), log.identity) == before
