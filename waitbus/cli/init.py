"""`waitbus init`: folders, log and config file, before anything needs them."""

from __future__ import annotations

import os

from waitbus.cli import output
from waitbus.cli.command import command
from waitbus.cli.options import json_option, option, quiet_option
from waitbus.cli.status import tidy
from waitbus.ops.setup import old_log, prepare

NEXT = (
    "`waitbus wait` and `waitbus emit` work from here on, with nothing running. Next:",
    "  waitbus demo      see it at work",
    "  waitbus serve     start the daemon, which makes it faster and shared",
    "  waitbus status    see what is there",
)

DONE = {"made": "made", "changed": "mode 0700", "there": "there"}
WOULD = {"made": "would make", "changed": "would set mode 0700", "there": "there"}


@command("init", examples=[("waitbus init", 0), ("waitbus init --dry-run", 0)])
@option("--dry-run", is_flag=True, group="What", help="Only say what would be made.")
@quiet_option
@json_option
def init(dry_run: bool, as_json: bool) -> int:
    """Make the folders (only you may read them), the log and a config file of comments, where they are not there.

    It is not needed before anything else: the first event makes its folders and the log by itself. Nothing that is there is
    written over, so it may be called again. No secret is read or written.
    """
    steps = list(prepare(dry_run=dry_run))
    old = old_log()
    if as_json:
        made = [{"action": step.action, "kind": step.kind, "path": os.fspath(step.path)} for step in steps]
        output.record({"dry_run": dry_run, "steps": made, "old_log": None if old is None else os.fspath(old)})
        return 0
    words = WOULD if dry_run else DONE
    width = max(len(words[step.action]) for step in steps)
    for step in steps:
        output.data(f"{words[step.action]:<{width}}  {tidy(step.path)}", flush=False)
    if old is not None:
        output.talk(f"There is a log of 0.2; its events come over by: waitbus db import {tidy(old)}")
    if not dry_run:
        for line in NEXT:
            output.talk(line)
    return 0
