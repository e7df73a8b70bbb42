"""`waitbus demo`: see it at work, in a folder that is gone afterwards."""

from __future__ import annotations

import time

from waitbus.cli import output
from waitbus.cli.command import command
from waitbus.cli.options import json_option
from waitbus.ops.demo import Act, acts
from waitbus.ops.stage import Stage
from waitbus.quantities import say_duration
from waitbus.render import neutral

TRY = (
    "waitbus wait --source process --match name=build --timeout 10m      # in one terminal",
    "waitbus run --name build -- make                                    # in another",
    "waitbus status",
)


@command("demo", examples=[("waitbus demo", 0), ("waitbus demo --json", 0)])
@json_option
def demo(as_json: bool) -> int:
    """See it at work: processes that wait, tell, fail, message each other and lose their daemon, in a few seconds.

    Every process is real and every time was measured between two of them. It has a folder of its own, which is gone
    afterwards; your log, your daemon and your configuration are not touched. Exit code 1 says that something did not work.
    """
    begun, played = time.monotonic(), []
    with Stage() as stage:
        for act in acts(stage):
            played.append(act)
            if not as_json:
                _show(len(played), act)
    took = time.monotonic() - begun
    if as_json:
        output.record({"ok": True, "took_s": round(took, 3), "acts": {act.name: act.facts for act in played}})
        return 0
    output.data(f"That took {say_duration(took)}; its folder and its processes are gone. Now try:")
    for line in TRY:
        output.data(f"   {line}")
    return 0


def _show(number: int, act: Act) -> None:
    output.data(f"{number}. {act.title}", flush=False)
    for line in act.lines:
        output.data(f"   {neutral(line)}", flush=False)
    output.data("")
