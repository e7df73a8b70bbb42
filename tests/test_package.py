"""What `import waitbus` gives: its names, its examples, and how little it loads."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import os
from pathlib import Path

import waitbus
from tests import support

HEAVY = ("trio", "anyio", "click", "pydantic", "sqlite3", "asyncio", "attrs", "cattrs", "logging", "json")


def _python(code: str) -> support.Result:
    return support.run([support.PYTHON, "-c", code])


def test_the_examples_of_the_docstring_run_as_they_stand() -> None:
    """In a process of its own: they are five programs of somebody who has set up nothing."""
    code, out, err = _python("import doctest, waitbus; print(doctest.testmod(waitbus))")
    assert (code, err) == (0, "")
    assert out.startswith("TestResults(failed=0, attempted="), out
    blocks = (waitbus.__doc__ or "").split(">>> ")
    assert len(blocks) > 8
    assert (
        sum(
            f"waitbus.{name}(" in (waitbus.__doc__ or "")
            for name in ("emit", "wait_for", "decide", "subscribe", "request")
        )
        == 5
    )


def test_importing_it_loads_nothing_that_it_may_not_need() -> None:
    loaded = _python("import sys, waitbus; print(*sys.modules)").out.split()
    assert "waitbus" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_a_synchronous_caller_loads_no_event_loop() -> None:
    code = "import sys, waitbus; waitbus.wait_for('n=1', timeout=0.01); print(*sys.modules)"
    loaded = _python(code).out.split()
    assert [name for name in ("trio", "anyio", "click", "asyncio", "cattrs") if name in loaded] == []


def test_every_public_name_is_there_and_typed() -> None:
    tree = ast.parse(Path(inspect.getfile(waitbus)).read_text())
    typed = {
        (statement.module, name.asname)
        for block in tree.body
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
        if name.asname is not None
    }
    assert typed == {(home, name) for name, home in waitbus._HOME.items()}
    assert waitbus.__all__ == ["__version__", *sorted(waitbus._HOME)]
    for name, home in waitbus._HOME.items():
        assert getattr(waitbus, name) is getattr(importlib.import_module(home), name)
    assert set(waitbus.__all__) <= set(dir(waitbus))
    assert (Path(inspect.getfile(waitbus)).parent / "py.typed").exists()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(waitbus, "wait")


def test_programs_of_0_2_find_the_names_they_used() -> None:
    old = (
        "emit register_source subscribe asubscribe wait_for EventFrame request respond Predicate register_condition "
        "register_evaluator EvaluatorUnavailableError __version__"
    )
    assert set(old.split()) <= set(waitbus.__all__)
    from waitbus import _types

    assert _types.EventInsert is waitbus.EventInsert


def test_public_calls_have_the_keywords_of_0_2_in_their_order() -> None:
    keywords = {
        "emit": "event db_path doorbell_path",
        "wait_for": "match source to all_of first_of timeout since socket_path",
        "subscribe": "match source to first_of since socket_path",
        "asubscribe": "match source to first_of since socket_path",
        "request": "to body sender timeout reply_to correlation_id thread socket_path db_path doorbell_path",
        "respond": "request_frame body sender thread db_path doorbell_path",
    }
    for name, text in keywords.items():
        ours = list(inspect.signature(getattr(waitbus, name)).parameters)
        assert [one for one in ours if one in text.split()] == text.split(), name
        kinds = inspect.signature(getattr(waitbus, name)).parameters
        assert all(
            kinds[one].kind is inspect.Parameter.KEYWORD_ONLY
            for one in ours[2 if name in ("request", "respond") else 1 :]
        )


def test_what_the_library_says_goes_nowhere_unless_somebody_asked() -> None:
    """Python prints warnings of a logger without handlers to stderr: a program that never heard of us would not know why."""
    code = """
import waitbus, waitbus.client.feed as feed
from waitbus.client.steps import Gap
feed._log_it(Gap("pruned", 1, 2, "ABCDEF", False))
"""
    assert _python(code) == (0, "", "")
    assert logging.getLogger("waitbus").level == logging.NOTSET


def test_nothing_is_written_for_a_name_alone(home: Path) -> None:
    assert _python("import waitbus; waitbus.subscribe; waitbus.EventInsert(source='a', event_type='b')").code == 0
    assert not (home / "s").exists()
    assert os.listdir(home / "xr") == []
