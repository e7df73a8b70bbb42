"""Tab, as it is typed in a real bash, zsh and fish."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.terminal import Terminal
from tests.support import PYTHON, WAITBUS, run

EVAL = 'eval "$(waitbus completion {})"\n'
SETTINGS = {
    "bash": (".bashrc", "PS1='ready> '\nbind 'set enable-bracketed-paste off'\n" + EVAL.format("bash")),
    "zsh": (".zshrc", "PS1='ready> '\nautoload -U compinit\ncompinit -u\n" + EVAL.format("zsh")),
    "fish": (".config/fish/config.fish", "function fish_prompt\n echo -n 'ready> '\nend\nset -g fish_greeting\n"),
}
PROGRAM = {"bash": ["bash", "--noprofile", "-i"], "zsh": ["zsh", "-i"], "fish": ["fish", "-i"]}
KILL = "\x15"
"""Ctrl-U: away with the line."""


@pytest.fixture(params=SETTINGS)
def shell(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shell that completes as `waitbus completion --help` says, in a folder with one file."""
    shell = str(request.param)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (home / "bin").mkdir()
    (home / "bin/waitbus").write_text(f"#!{PYTHON}\nfrom waitbus.__main__ import main\nmain()\n")
    (home / "bin/waitbus").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/bin:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("ZDOTDIR", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    (home / "w").mkdir()
    (home / "w/report.xml").touch()
    monkeypatch.chdir(home / "w")
    file, text = SETTINGS[shell]
    (home / file).parent.mkdir(parents=True, exist_ok=True)
    (home / file).write_text(text)
    if shell == "fish":
        folder = home / ".config/fish/completions"
        folder.mkdir(parents=True)
        (folder / "waitbus.fish").write_text(run([*WAITBUS, "completion", "fish"]).out)
    return shell


@pytest.mark.timeout(120)
def test_a_tab_completes(shell: str) -> None:
    lines = {
        "waitbus read": "-events",
        "waitbus read-events li": "st",
        "waitbus wait --all": "-of",
        "waitbus wait --format clo": "udevent",
        "waitbus wait --source doc": "ker",
        "waitbus source show doc": "ker",
        "waitbus wait pytest_se": "ssion",
        "waitbus emit --junit rep": "ort.xml",
        "waitbus run -- cat rep": "ort.xml",
        "waitbus on deploy -- cat rep": "ort.xml",
    }
    with Terminal(PROGRAM[shell]) as screen:
        screen.read_until("ready> ")
        for typed, rest in lines.items():
            screen.type(f"{typed}\t")
            screen.read_until(rest)
            screen.type(KILL)
