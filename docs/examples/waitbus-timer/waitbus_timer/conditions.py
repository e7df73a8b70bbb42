"""`--cond late` and `--eval multiple:3`: each a factory of a function that is asked about every event."""


def late():
    """A tick that came 1 s late or more."""
    return lambda event: (event.lookup("late_ms") or 0) >= 1000


def multiple(text):
    """A tick whose number is a multiple of the one that is given."""
    of = int(text)  # a ValueError is told to whoever typed it
    if of < 1:
        raise ValueError("write a number from 1 on")
    return lambda event: (event.lookup("number") or 0) % of == 0
