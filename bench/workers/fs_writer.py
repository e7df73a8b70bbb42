"""Who writes files: one each 1/rate s, every other one new; saves when each was about to be closed."""

from __future__ import annotations

import json
import os
import sys
import time

from bench.workers.link import exact_timer, heard, say, sleep_until


def main(root: str, out: str) -> None:
    exact_timer()
    say(ready=True)
    asked = heard()
    count, period = asked["count"], round(1e9 / asked["rate"])
    times: dict[str, int] = {}
    start = time.monotonic_ns() + 50_000_000
    for number in range(count):
        name = f"{'new' if number % 2 else 'old'}{number}"
        sleep_until(start + number * period)
        file = os.open(os.path.join(root, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(file, b"some content\n")
        times[name] = time.monotonic_ns()
        os.close(file)
    with open(out, "w") as saved:
        json.dump(times, saved)
    say(done=count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
