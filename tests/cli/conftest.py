"""Commands called in this process: the same code without 100 ms of start."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests import support
from waitbus.cli import main


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., support.Result]:
    """`call("emit", "deploy")` answers (code, out, err)."""

    def invoke(*argv: str) -> support.Result:
        capfd.readouterr()
        code = main(argv, standalone=False)
        sys.stdout.flush()
        return support.Result(code, *capfd.readouterr())

    return invoke
