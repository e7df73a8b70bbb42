"""No test sleeps: a pause is too short on a busy machine and too long on every other. They wait for what they want to see.

Read from the source, not imported. Time that a test moves itself is no sleep: what it does by a mock clock may use `trio.sleep`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
POLLS = {"support.py": "eventually"}
"""The one function that may: where there is no event to wait for, a condition is asked again until a deadline."""

CLOCKS = {"autojump_clock", "mock_clock"}
IN_CHILDREN = re.compile(r"\b(?:time|trio|anyio|asyncio)\.sleep\(|\bimport sleep\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sleeps(source: str, allowed: str = "") -> list[int]:
    """The lines of `source` that sleep in real time, or have a child do so; those of the function `allowed` are let be."""
    tree = ast.parse(source)
    tests = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test")]
    all_by_clock = bool(tests) and all(map(_by_clock, tests))
    return sorted(_in(tree, allowed, all_by_clock))


def _in(node: ast.AST, allowed: str, by_clock: bool) -> Iterator[int]:
    if isinstance(node, Function):
        if node.name == allowed:
            return
        by_clock = by_clock or _by_clock(node)
    if isinstance(node, ast.Call) and _is_sleep(node, by_clock):
        yield node.lineno
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and IN_CHILDREN.search(node.value):
        yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _in(child, allowed, by_clock)


def _by_clock(test: Function) -> bool:
    return any(argument.arg in CLOCKS for argument in test.args.args)


def _is_sleep(call: ast.Call, by_clock: bool) -> bool:
    module, _, name = ast.unparse(call.func).rpartition(".")
    if name != "sleep" or (call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0):
        return False
    return not (by_clock and module == "trio")


@pytest.mark.parametrize(
    "name", sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*.py") if path != Path(__file__))
)
def test_nobody_sleeps(name: str) -> None:
    """`tests/support.py` has bounded waits for lines, exits and conditions."""
    assert sleeps((HERE / name).read_text(encoding="utf-8"), POLLS.get(name, "")) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.sleep(0.01)", [2]),
        ("from time import sleep\ndef test():\n    sleep(x)", [3]),
        ("async def test():\n    await trio.sleep(1)", [2]),
        ("async def test():\n    await trio.sleep(0)", []),
        ("async def test():\n    await anyio.sleep_forever()", []),
        ("async def test(mock_clock):\n    await trio.sleep(1)", []),
        ("async def test(mock_clock):\n    await anyio.sleep(1)", [2]),
        ("def test(mock_clock):\n    time.sleep(1)", [2]),
        ("async def help():\n    await trio.sleep(1)\nasync def test(autojump_clock):\n    await help()", []),
        ("async def help():\n    await trio.sleep(1)\nasync def test():\n    await help()", [2]),
        ("CHILD = '''\nimport time\ntime.sleep(3)\n'''", [1]),
        ("argv = ['sleep', '1000']", []),
        ("def eventually():\n    time.sleep(0.01)\ntime.sleep(1)", [3]),
    ],
)
def test_what_counts_as_a_sleep(source: str, lines: list[int]) -> None:
    """In the test, in what it calls in its module, and in the Python that it gives a child to run."""
    assert sleeps(source, "eventually") == lines
