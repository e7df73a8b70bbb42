"""What `wait` and `on` are asked for: from their options to a plan, and to where it begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from waitbus.cli.command import Usage
from waitbus.cli.completing import condition_names, event_types, files, folders, source_names
from waitbus.cli.options import FINITE_DURATION, PID, SINCE, argument, option
from waitbus.cli.spelling import BUILT_IN, EMBEDDED
from waitbus.client.aside import aside_of
from waitbus.client.beside import states_of
from waitbus.client.plan import Plan
from waitbus.client.start import Start
from waitbus.errors import InvalidWait
from waitbus.events import NAME, NAME_MAX
from waitbus.predicate import Clause, Predicate, Term, parse_clause

if TYPE_CHECKING:
    from waitbus.client.beside import Beside
    from waitbus.client.plan import State

F = TypeVar("F", bound=Callable[..., Any])

WHICH, BESIDE, SEVERAL = "Which event", "Watched here", "Several things"
SETTLE_DEFAULT = "3s"
_HEX = re.compile(r"[0-9a-fA-F]{7,40}\Z")
_CLAUSE = "[SOURCE:]TERM,..."


@attrs.frozen(kw_only=True)
class Asked:
    """A wait as it was asked for. `plan` makes a new plan of it each time."""

    predicate: Predicate | None
    first_of: tuple[Clause, ...] = ()
    all_of: tuple[Clause, ...] = ()
    none_of: tuple[Clause, ...] = ()
    fail_on: tuple[Clause, ...] = ()
    states: tuple[tuple[Clause, State], ...] = ()
    beside: tuple[Beside, ...] = ()
    """Processes, ports, files and URLs: clauses that the wait itself looks after."""
    roots: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    repo: str | None = None
    """Of `--sha`: the repository whose events it waits for, where one is known."""
    count: int = 1
    in_order: bool = False
    fail_fast: bool = False
    honour: bool = True
    debounce: float = 0.0
    start: Start
    strict: bool = False
    timeout: float | None = None

    def plan(self) -> Plan:
        """A plan of its own for one wait."""
        return Plan.of(
            self.predicate,
            first_of=self.first_of,
            all_of=self.all_of,
            none_of=self.none_of,
            fail_on=self.fail_on,
            states=[*self.states, *states_of(self.beside)],
            count=self.count,
            in_order=self.in_order,
            fail_fast=self.fail_fast,
            honour=self.honour,
            has_timeout=self.timeout is not None,
            debounce=self.debounce,
            aside=aside_of(self.heard_of),
        )

    @property
    def heard_of(self) -> frozenset[str]:
        """The sources whose health matters to it, where somebody else runs them."""
        named = {name for predicate in self.predicates for name in predicate.sources or _typed(predicate)}
        return frozenset(named | ({"github"} if self.states else set()))

    @property
    def predicates(self) -> list[Predicate]:
        """Every predicate that a person wrote."""
        clauses = (*self.first_of, *self.all_of, *self.none_of, *self.fail_on)
        return [*([self.predicate] if self.predicate else []), *(clause.predicate for clause in clauses)]

    def embedded(self) -> tuple[Beside, ...]:
        """The sources that it needs and that nobody runs; asks the daemon, where it may need any."""
        if not self.roots and not self.globs and not any(map(_may_need_a_source, self.predicates)):
            return ()
        from waitbus.cli.watching import embedded

        return embedded(self)


# -- options -----------------------------------------------------------------------------------------------------------


def what_options(function: F) -> F:
    """Which event: the options that make one predicate, and `--sha`."""
    one = partial(option, group=WHICH)
    many = partial(option, group=WHICH, multiple=True)
    sha = "A commit, done when its CI is: 7 to 40 digits, or a name of git's. With TYPE or --match: its events."
    settle = f"How long no new run may appear behind the last [default: {SETTLE_DEFAULT}]."
    return _all(
        function,
        argument(
            "types",
            nargs=-1,
            metavar="[TYPE]...",
            shell_complete=event_types,
            note="Any of these event types, as in deploy_finished.",
        ),
        many(
            "--source", "sources", metavar="NAME", shell_complete=source_names, help="From this source; any of these."
        ),
        many("--match", metavar="TERM", help="With KEY=VALUE, KEY!=VALUE, KEY>VALUE, KEY?, ...; all of these."),
        many(
            "--cond",
            "conditions",
            metavar="NAME",
            shell_complete=condition_names,
            help="That is failed, succeeded, finished, or another condition.",
        ),
        many("--eval", "evaluators", metavar="NAME:EXPR", help="For which an installed evaluator says yes."),
        many("--match-cel", "cel", metavar="EXPR", help="The same as --eval cel:EXPR."),
        many("--match-jmespath", "jmespath", metavar="EXPR", help="The same as --eval jmespath:EXPR."),
        one("--to", metavar="NAME", help="Messages to this recipient."),
        one("--repo", metavar="OWNER/NAME", help="About this repository, or OWNER/*."),
        one("--workflow", metavar="NAME", help="About the workflow of that name."),
        one("--job", metavar="NAME", help="About the job of that name."),
        many("--sha", "shas", metavar="COMMIT", help=sha),
        one("--settle", type=FINITE_DURATION, default=SETTLE_DEFAULT, metavar="DURATION", help=settle),
    )


def beside_options(function: F) -> F:
    """What the wait itself looks after: processes, ports, files, URLs."""
    many = partial(option, group=BESIDE, multiple=True)
    return _all(
        function,
        many(
            "--root",
            "roots",
            metavar="DIR",
            shell_complete=folders,
            help="Changes of files in this folder [default: the configured roots, else .].",
        ),
        many("--glob", "globs", metavar="PATTERN", help="Changes of files of such names, as in '*.py'."),
        many("--pid", "pids", type=PID, metavar="N", help="The end of that process, whoever started it."),
        many("--port", "ports", metavar="HOST:PORT", help="Until somebody accepts connections there. Polls."),
        many("--exists", "there", metavar="FILE", shell_complete=files, help="Until that file is there. Polls."),
        many("--gone", "gone", metavar="FILE", shell_complete=files, help="Until that file is gone. Polls."),
        many("--http", "urls", metavar="URL", help="Until a GET is answered well. Polls."),
        many("--http-status", "statuses", metavar="CODE", help="What is well: 200, 200-299, 2xx [default: 2xx]."),
    )


def clause_options(*names: str) -> Callable[[F], F]:
    """`--all-of` and the like, those that are named."""
    helps = {
        "all_of": "Wait for each of these, in any order.",
        "first_of": "Wait for one of these, and say which it was.",
        "none_of": "Exit 1 if this comes; alone, time running out is success.",
        "fail_on": "Exit 1 if this comes.",
    }
    made = [
        option(
            f"--{name.replace('_', '-')}",
            name,
            multiple=True,
            metavar=_CLAUSE,
            group=SEVERAL,
            help=helps[name],
        )
        for name in names
    ]
    return lambda function: _all(function, *made)


def since_options(function: F) -> F:
    return _all(
        function,
        option(
            "--debounce",
            type=FINITE_DURATION,
            metavar="DURATION",
            group="Time",
            help="Take the last event of a burst: when nothing more of the kind came for so long.",
        ),
        option(
            "--since",
            type=SINCE,
            metavar="SINCE",
            group="Time",
            help="Begin behind an event id, 10m ago, at a time, or now [default: when this command was started].",
        ),
        option(
            "--strict-since",
            "strict",
            is_flag=True,
            group="Time",
            help="Exit 75 where events were pruned before they were read.",
        ),
    )


def _all(function: F, *decorators: Callable[[F], F]) -> F:
    for add in reversed(decorators):
        function = add(function)
    return function


# -- from options to what is asked -------------------------------------------------------------------------------------


def asked(given: Mapping[str, Any], *, states: bool = True) -> Asked:
    """What the options say, under the names that the decorators above give them. With `states=False` `--sha` asks for events.

    Raises:
      Usage, InvalidValue: an option is not of its form, or does not go with another.
    """
    start = _start(given["since"])  # first: it asks whether this process had children, and git will be one
    _refuse_empty(given)
    terms = _terms(given)
    commits = [(text, _commit(text)) for text in given["shas"]]
    is_state = bool(commits) and states and not terms
    roots, globs = tuple(given["roots"]), tuple(given["globs"])
    repo = given["repo"] or (_origin() if commits else None)
    if is_state:
        predicate = None
    else:
        terms += [Term("head_sha", "^=", sha) for _, sha in _one(commits)]
        terms += _named(given, repo)
        predicate = Predicate(tuple(terms)) if terms else None
    clauses = {
        name: tuple(parse_clause(text, what=f"--{name.replace('_', '-')}") for text in given.get(name, ()))
        for name in ("first_of", "all_of", "none_of", "fail_on")
    }
    if roots or globs:
        from waitbus.cli.watching import configured_roots, narrowed

        roots = roots or configured_roots()
        predicate, clauses = narrowed(predicate, clauses, roots, globs)
    return Asked(
        predicate=predicate,
        **clauses,
        states=tuple(_state(text, sha, repo, given) for text, sha in commits) if is_state else (),
        beside=_beside(given),
        roots=roots,
        globs=globs,
        repo=repo if commits or given["repo"] else None,
        count=given.get("count", 1),
        in_order=given.get("in_order", False),
        fail_fast=given.get("fail_fast", False),
        honour=given.get("honour", True),
        debounce=given["debounce"] or 0.0,
        start=start,
        strict=given["strict"],
        timeout=given["timeout"],
    )


def _refuse_empty(given: Mapping[str, Any]) -> None:
    """An empty value is a variable of a script that was not set, and would wait for nothing, or for anything."""
    single = {f"--{name}": given[name] for name in ("repo", "workflow", "job")}
    several = {"--sha": given["shas"], "--match-cel": given["cel"], "--match-jmespath": given["jmespath"]}
    texts = {**{name: () if text is None else (text,) for name, text in single.items()}, **several}
    for name, values in texts.items():
        if not all(value.strip() for value in values):
            raise Usage(f"{name} is empty", hint=f"give {name} a value, or leave it out")


def _terms(given: Mapping[str, Any]) -> list[Term]:
    evaluators = [
        *given["evaluators"],
        *(f"cel:{text}" for text in given["cel"]),
        *(f"jmespath:{text}" for text in given["jmespath"]),
    ]
    parsed = Predicate.parse(
        list(given["match"]),
        source=[_name(name, "--source") for name in given["sources"]],
        to=given["to"],
        conditions=list(given["conditions"]),
        evaluators=evaluators,
        what="--match",
    )
    return [*(Term("event_type", "=", _name(name, "event type")) for name in given["types"]), *parsed.terms]


def _named(given: Mapping[str, Any], repo: str | None) -> list[Term]:
    """The terms of `--repo`, `--workflow` and `--job`."""
    keys = {"workflow_name": given["workflow"], "job_name": given["job"]}
    return [
        *Predicate.parse(repo=repo).terms,
        *(Term(key, "=", value) for key, value in keys.items() if value is not None),
    ]


def _name(text: str, what: str) -> str:
    if NAME.match(text) and len(text) <= NAME_MAX:
        return text
    if NAME.match(text):
        raise Usage(f"{what} {text!r} has {len(text)} characters", hint=f"a name has {NAME_MAX} at most")
    hint = "a name is a-z, then a-z, 0-9 and _"
    if what == "event type" and re.search("[=<>]", text):
        hint = f"a term stands behind --match: --match '{text}'"
    elif NAME.match(text.lower()):
        hint = f"names are in lower case: {text.lower()}"
    raise Usage(f"{what} {text!r} is not a name", hint=hint)


def _commit(text: str) -> str:
    if _HEX.match(text):
        return text.lower()
    from waitbus.client.git import rev_parse

    return rev_parse(text)


def _origin() -> str | None:
    from waitbus.client.git import origin

    return origin()


def _one(commits: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(commits) > 1:
        raise InvalidWait(
            f"--sha {commits[0][0]!r} and --sha {commits[1][0]!r} stand beside other terms",
            hint="an event is about one commit: give one --sha, or clauses",
        )
    return commits


def _state(text: str, sha: str, repo: str | None, given: Mapping[str, Any]) -> tuple[Clause, State]:
    from waitbus.client.sha import CommitState

    state = CommitState(sha, repo=repo, workflow=given["workflow"], job=given["job"], settle=given["settle"])
    return Clause(f"--sha {text}", state.predicate, "github"), state


def _beside(given: Mapping[str, Any]) -> tuple[Beside, ...]:
    found: list[Beside] = []
    if given["pids"]:
        from waitbus.sources.pidclause import PidClause

        found += map(PidClause, dict.fromkeys(given["pids"]))
    if given["statuses"] and not given["urls"]:
        raise Usage("--http-status says what no --http asks for", hint="add --http URL")
    if given["ports"] or given["there"] or given["gone"] or given["urls"]:
        from waitbus.cli.readiness import readiness

        found += readiness(given)
    return tuple(found)


def _may_need_a_source(predicate: Predicate) -> bool:
    """Whether it is worth to load the declarations (10 ms): what it names may be a source that a wait can run."""
    if predicate.sources:
        return any(name in EMBEDDED or name not in BUILT_IN for name in predicate.sources)
    return bool(_typed(predicate))


def _typed(predicate: Predicate) -> set[str]:
    """Those of the sources that a wait can run whose event types are named."""
    types = (str(term.value) for term in predicate.terms if term.key == "event_type" and term.op == "=")
    return {name.partition("_")[0] for name in types} & set(EMBEDDED)


def _start(since: Start | None) -> Start:
    if since is not None:
        return since
    from waitbus.cli.begun import begun_ns

    return Start(at_ns=begun_ns(), told=True)
