"""The documents keep to the tests: each contract sentence names a test, and each name exists.

In docs/CONTRACTS.md, docs/ARCHITECTURE.md and docs/RELIABILITY.md a contract sentence is a numbered item (`3.` at the start of
a line, going on over indented lines) or a row of a table whose header has a `test` column. Both carry
`[t: tests/test_x.py::test_name]`, `[t: tests/test_x.py::TestThing::test_name]`, several parted by commas.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from waitbus import errors

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
BOUND = [document for document in DOCUMENTS if document.name in {"ARCHITECTURE.md", "CONTRACTS.md", "RELIABILITY.md"}]
PAGES = [*DOCUMENTS, ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "llms.txt"]

NUMBERED = re.compile(r"\d+\. ")
IDS = re.compile(r"\[t: ([^\]]+)\]")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def sentences(text: str) -> list[str]:
    """Every contract sentence of a document, on one line each."""
    found: list[str] = []
    in_item = False
    tested_table = False
    for line in FENCE.sub("", text).splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if "test" in cells:
                tested_table = True
            elif tested_table and not set(line) <= set("|-: "):
                found.append(line)
            in_item = False
        elif NUMBERED.match(line):
            found.append(line)
            in_item, tested_table = True, False
        elif in_item and line.startswith(" "):
            found[-1] += " " + line.strip()
        else:
            in_item = tested_table = False
    return found


def ids(text: str) -> list[str]:
    """Every test id that a text names."""
    return [part.strip() for group in IDS.findall(CODE.sub("", FENCE.sub("", text))) for part in group.split(",")]


def exists(test_id: str, root: Path = ROOT) -> bool:
    """Whether `path::function` or `path::Class::method` is defined; read, not imported."""
    path, *names = test_id.split("::")
    file = root / path
    if not names or not names[-1].startswith("test") or not file.is_file():
        return False
    body = statements(file)
    for name in names:
        found = [
            node
            for node in body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name
        ]
        if not found:
            return False
        body = found[-1].body
    return True


@cache  # a module of tests is named dozens of times
def statements(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text(encoding="utf-8")).body


@pytest.mark.parametrize("document", BOUND, ids=lambda path: path.name)
def test_each_contract_sentence_names_a_test(document: Path) -> None:
    """A promise that nothing checks is a wish."""
    assert [line for line in sentences(document.read_text(encoding="utf-8")) if not ids(line)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_named_test_exists(document: Path) -> None:
    """A test that was renamed takes its sentence with it."""
    assert [name for name in ids(document.read_text(encoding="utf-8")) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_each_link_leads_to_a_file(page: Path) -> None:
    """Only what lies in this repository; the network is not asked."""
    targets = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_every_error_has_a_code_of_the_table() -> None:
    """The table in docs/CONTRACTS.md and the classes of errors.py are one list."""
    text = (ROOT / "docs" / "CONTRACTS.md").read_text(encoding="utf-8")
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    named = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    raised = {error.exit_code for error in all_errors(errors.WaitbusError)}
    assert named | raised <= table
    assert raised <= table - {0}


def all_errors(base: type[errors.WaitbusError]) -> set[type[errors.WaitbusError]]:
    """A class and everything below it."""
    return {base}.union(*(all_errors(child) for child in base.__subclasses__()))


def test_what_counts_as_a_sentence() -> None:
    """Items, their continuation and rows of tables with a test column do; prose, code and other tables do not."""
    text = """
Prose. 1. Not an item.

1. First,
   going on. [t: tests/a.py::test_x, tests/b.py::TestY::test_z]
2. Second.

| code | test |
|---|---|
| 0 | [t: tests/c.py::test_c] |
| 1 | none |

| other | table |
|---|---|
| a | b |

```
3. Code. [t: tests/d.py::test_d]
```
`[t: tests/e.py::test_e]` shows the form.
"""
    assert sentences(text) == [
        "1. First, going on. [t: tests/a.py::test_x, tests/b.py::TestY::test_z]",
        "2. Second.",
        "| 0 | [t: tests/c.py::test_c] |",
        "| 1 | none |",
    ]
    assert ids(text) == ["tests/a.py::test_x", "tests/b.py::TestY::test_z", "tests/c.py::test_c"]


@pytest.mark.parametrize(
    ("test_id", "there"),
    [
        ("test_a.py::test_x", True),
        ("test_a.py::test_later", True),
        ("test_a.py::TestY::test_z", True),
        ("test_a.py::test_z", False),
        ("test_a.py::TestY", False),
        ("test_a.py::helper", False),
        ("test_a.py", False),
        ("test_b.py::test_x", False),
    ],
)
def test_which_ids_exist(tmp_path: Path, test_id: str, there: bool) -> None:
    """Functions, coroutines and methods by their full id; nothing that pytest would not collect."""
    (tmp_path / "test_a.py").write_text(
        "def test_x(): ...\nasync def test_later(): ...\nclass TestY:\n    def test_z(self): ...\ndef helper(): ...\n"
    )
    assert exists(test_id, tmp_path) is there
