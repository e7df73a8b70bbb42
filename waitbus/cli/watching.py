"""What a wait watches by itself because nobody else does: the embeddable sources that its predicates name."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from waitbus.cli.command import Usage
from waitbus.errors import ConfigError
from waitbus.ops.daemon_sources import Running, daemon_sources
from waitbus.predicate import Clause, Predicate, Term
from waitbus.sources import known_sources
from waitbus.sources.narrowing import covers, path_terms
from waitbus.sources.watched import Watched, settings_for_wait, table_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from waitbus.cli.asking import Asked
    from waitbus.sources.spec import SourceSpec

FILES = "fs"


def embedded(asked: Asked) -> tuple[Watched, ...]:
    """The sources that this wait needs: to be run here, or to stand by where the daemon runs them.

    Raises:
      ConfigError: the table of one of them is wrong.
      SourceUnavailable, WaitbusError: one of them cannot be run as it was asked for.
    """
    needed = [spec for spec in known_sources().values() if _is_needed(spec, asked)]
    asked_ns = time.time_ns()
    running = {one.name: one for one in daemon_sources()} if needed else {}
    return tuple(_watched(spec, asked, running.get(spec.name), asked_ns) for spec in needed)


def _is_needed(spec: SourceSpec, asked: Asked) -> bool:
    if not spec.embeddable or not spec.implementation:
        return False
    if spec.name == FILES and (asked.roots or asked.globs):
        return True
    return any(is_about(predicate, spec) for predicate in asked.predicates)


def is_about(predicate: Predicate, spec: SourceSpec) -> bool:
    """Whether the predicate names the source, or one of its event types and no source."""
    if predicate.sources:
        return spec.name in predicate.sources
    return any(predicate.names_event_type(event_type) for event_type in spec.event_types)


def _watched(spec: SourceSpec, asked: Asked, running: Running | None, asked_ns: int) -> Watched:
    roots, globs = (_roots_of(asked), asked.globs) if spec.name == FILES else ((), ())
    if running is not None and (spec.name != FILES or _tells_all(running, roots, globs)):
        roots = roots or running.roots
        says = f"the daemon watches {_this(spec, roots)} no longer; {_here(roots)}"
        return Watched(spec, partial(settings_for_wait, spec, roots, globs), says=says, asked_ns=asked_ns)
    settings = settings_for_wait(spec, roots, globs)
    roots = tuple(getattr(settings, "roots", ()))
    says = f"no daemon watches {_this(spec, roots)}; {_here(roots)}"
    if roots == (os.curdir,) and not asked.roots:
        says = "no --root is given; watching the current directory here while this command waits"
    return Watched(spec, lambda: settings, says=says)


def _roots_of(asked: Asked) -> tuple[str, ...]:
    """The folders that the terms are about; none where the source itself is to say."""
    return asked.roots or ((os.curdir,) if asked.globs else ())


def _tells_all(running: Running, roots: Sequence[str], globs: Sequence[str]) -> bool:
    """Whether the daemon tells of all that is asked for. The report has its folders; the table says what in them."""
    table = _table()
    if globs and table.get("include") not in (None, [], list(globs)):
        return False
    return covers(running.roots, roots, partial(_reaches, table))


def _reaches(table: Mapping[str, Any], watched: str, folder: str) -> bool:
    """Whether the daemon's watch of one folder looks into another one below it."""
    from waitbus.sources.fs_reach import reaches

    if table.get("recursive") is False:
        return False
    exclude, gitignore = table.get("exclude", []), table.get("gitignore") is not False
    return reaches(watched, folder, exclude=[exclude] if isinstance(exclude, str) else exclude, gitignore=gitignore)


def _this(spec: SourceSpec, roots: Sequence[str]) -> str:
    return " and ".join(map(_where, roots)) or spec.name


def _where(root: str) -> str:
    return root if os.path.isdir(os.path.expanduser(root)) else f"{root} (not there yet)"


def _here(roots: Sequence[str]) -> str:
    return f"watching {'them' if len(roots) > 1 else 'it'} here while this command waits"


# -- --root and --glob -------------------------------------------------------------------------------------------------


def configured_roots() -> tuple[str, ...]:
    """The folders of `[sources.fs]`, which are meant where `--glob` stands without `--root`."""
    roots = _table().get("roots", [])
    several = [roots] if isinstance(roots, str) else roots
    return tuple(several) if isinstance(several, list) and all(isinstance(one, str) for one in several) else ()


def _table() -> Mapping[str, Any]:
    """What `[sources.fs]` says; nothing where that is wrong. Whoever runs the source is told, and a sandbox need not read it."""
    try:
        return table_for(FILES)
    except ConfigError:
        return {}


def narrowed(
    predicate: Predicate | None,
    clauses: dict[str, tuple[Clause, ...]],
    roots: Sequence[str],
    globs: Sequence[str],
) -> tuple[Predicate | None, dict[str, tuple[Clause, ...]]]:
    """What is asked for, where it is about files limited to those folders and names; by themselves they ask for any change.

    Raises:
      Usage: the terms are about something else than files.
      InvalidWait: a folder or a pattern is none.
    """
    terms = path_terms(roots, globs)
    about = {name: tuple(_narrow(clause, terms) for clause in several) for name, several in clauses.items()}
    if predicate is None:
        is_clause = about != clauses
        return (None if is_clause else Predicate((Term("@source", "=", FILES), *terms))), about
    _refuse_others(predicate, "--root" if roots else "--glob")
    named = () if predicate.sources else (Term("@source", "=", FILES),)
    return Predicate((*predicate.terms, *named, *terms)), about


def _narrow(clause: Clause, terms: Iterable[Term]) -> Clause:
    if not is_about(clause.predicate, known_sources()[FILES]):
        return clause
    return Clause(clause.text, Predicate((*clause.predicate.terms, *terms)), clause.source)


def _refuse_others(predicate: Predicate, option: str) -> None:
    hint = "put the other one into a clause: --all-of SOURCE:KEY=VALUE"
    others = sorted(predicate.sources - {FILES})
    if others:
        raise Usage(f"{option} is about files, and --source {others[0]} is not", hint=hint)
    types = [str(term.value) for term in predicate.terms if term.key == "event_type" and term.op == "="]
    strange = [name for name in types if name not in known_sources()[FILES].event_types]
    if strange:
        raise Usage(f"{option} is about files, and {strange[0]} is no event of theirs", hint=hint)
