"""The process: the console script, and `python -m waitbus`."""

from __future__ import annotations

from waitbus import interrupt


def main() -> None:
    """Run the command line of this process, and end the process with its exit code."""
    interrupt.end_at_once()
    try:
        from waitbus.cli import main as command_line

        command_line()
    except KeyboardInterrupt:  # the second one, while the first was answered
        interrupt.end()


if __name__ == "__main__":
    main()
