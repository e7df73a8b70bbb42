"""File handles: whether a failure means that none is left, and what to do then."""

from __future__ import annotations

import errno
import os

HINT = "close files, or raise `ulimit -n`"
_NONE_LEFT = (errno.EMFILE, errno.ENFILE)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that this process, or the machine, has no file handle left."""
    if isinstance(error, ImportError):
        # Whoever loads a library of C has no errno, only words.
        return any(os.strerror(number) in str(error) for number in _NONE_LEFT)
    return isinstance(error, OSError) and error.errno in _NONE_LEFT


def are_left(count: int) -> bool:
    """Whether so many could be opened now. For those who were refused by somebody who does not say why."""
    taken: list[int] = []
    try:
        while len(taken) < count:
            taken.append(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return not ran_out(error)
    finally:
        for handle in taken:
            os.close(handle)
    return True
