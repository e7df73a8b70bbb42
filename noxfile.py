# /// script
# dependencies = ["nox>=2025.2.9", "packaging"]
# ///
"""What is run before a change goes in: `nox`; by name: `nox -s lowest`, `faults`, `bench`, `soak`, `docs`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import nox
from packaging.requirements import Requirement  # always there with nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

PYPROJECT = nox.project.load_toml("pyproject.toml")

OLD = ("waitbus==0.2.0", "watchdog>=4,<7")
"""The other program of this name: ours is compatible with it and measured against it. Only ever in its own environment; watchdog
is what its source of files needs."""


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff (rules and format) and the import contracts."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"), "-e.")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy, strict, over the package; less strict over the tests."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "types", "bench"), "-e.")
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; all of them, and then through the gate of tests/gate.py, unless arguments pick some."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"), "-e.")
    run_tests(session, gate=not session.posargs)


@nox.session(default=False)
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest version of each dependency that pyproject.toml admits."""
    floors = Path(session.cache_dir, "floors.txt")  # create_tmp() would make TMPDIR too long for socket paths
    project = PYPROJECT["project"]
    needed = [*project["dependencies"], *chain(*project.get("optional-dependencies", {}).values())]
    floors.write_text("".join(floor(text) + "\n" for text in needed), encoding="utf-8")
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"), "-e.", "--constraint", str(floors))
    session.run("python", "-m", "pip", "freeze", "--exclude-editable")
    run_tests(session, gate=not session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Make the faults of docs/RELIABILITY.md as large as it says: those that the other runs make smaller."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"), "-e.")
    session.run("python", "-m", "pytest", "-m", "scaled", *session.posargs, env={"WAITBUS_FULL_SCALE": "1"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure, beside the program of 0.2; JSON and a table into bench/results."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "bench"), ".")
    session.run("python", "-m", "bench", *session.posargs, env={"WAITBUS_BENCH_OLD": old_program(session)})


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Run producers, consumers and a daemon that is killed and stopped, against a ledger."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "bench"), "-e.")
    session.run("python", "-m", "bench.soak", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Write docs/SOURCES.md; check that what the documents promise is tested, and that their links lead somewhere."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"), "-e.")
    with open("docs/SOURCES.md", "w", encoding="utf-8") as page:
        session.run("python", "-m", "waitbus.ops.sources_page", stdout=page)
    session.run("python", "-m", "pytest", "tests/test_contracts.py", *session.posargs)


def run_tests(session: nox.Session, *, gate: bool) -> None:
    """Run pytest; with the gate it is the whole suite that counts, by several workers: most tests wait for processes."""
    workers = () if session.posargs else ("-n", "4", "--dist", "worksteal")
    env = {"WAITBUS_OLD_VENV": old_program(session), "WAITBUS_GATE": "1" if gate else None}
    session.run("python", "-m", "pytest", *workers, *session.posargs, env=env)


def old_program(session: nox.Session) -> str:
    """The path of a virtual environment of its own with 0.2 in it: both programs install the same import name."""
    place = Path(session.cache_dir, "waitbus-0.2.0").resolve()
    done = place / "complete-with-watchdog"
    if not done.exists():  # written last: an install that was interrupted starts again
        session.run("python", "-m", "venv", "--clear", str(place))
        session.run(str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *OLD, external=True)
        done.touch()
    return str(place)


def floor(text: str) -> str:
    """`name==1.2`, the floor of a requirement; ValueError for one that has none."""
    requirement = Requirement(text)
    lowest = [spec.version for spec in requirement.specifier if spec.operator == ">="]
    if len(lowest) != 1:
        raise ValueError(f"{text}: write exactly one floor, as name>=1.2,<2")
    return f"{requirement.name}=={lowest[0]}"


if __name__ == "__main__":
    nox.main()
