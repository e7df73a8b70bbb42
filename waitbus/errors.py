"""Every failure a user can meet, each a type of its own: what was wrong, with which value, and what to do.

`message` is the sentence behind `error:`, `hint` the one behind `hint:`, `exit_code` the process's answer (docs/CONTRACTS.md
has the table). Nothing here imports anything: an error must never fail to be made.
"""

from __future__ import annotations

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_BUG = 70
EXIT_LOG = 74
EXIT_GAP = 75
EXIT_TIMEOUT = 124


class WaitbusError(Exception):
    """Base of all: `message` says what, with the value; `hint` says what to do; `exit_code` is for the shell."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def remediation(self) -> str:
        """The hint, under the name that programs written for 0.2 read."""
        return self.hint


# -- what the caller wrote ---------------------------------------------------------------------------------------------


class InvalidValue(WaitbusError, ValueError):
    """Something the caller wrote is not of its form."""


class InvalidEvent(InvalidValue):
    """A field of an event is missing, of the wrong type, or too large."""


class InvalidPredicate(InvalidValue):
    """A term or a clause does not follow the match grammar."""


class InvalidCursor(InvalidValue):
    """A text given as a cursor is none."""


class InvalidName(InvalidValue):
    """A name (bookmark, source, condition) has characters that are not allowed."""


class InvalidDuration(InvalidValue):
    """A text is not a duration."""


class InvalidSize(InvalidValue):
    """A text is not a size."""


class InvalidTime(InvalidValue):
    """A text is not a point in time."""


class InvalidWait(InvalidValue):
    """Clauses that cannot be combined, or a wait that could never end."""


class InvalidCommit(InvalidValue):
    """A text names no commit, or more than one."""


class EvaluatorUnavailableError(InvalidValue):
    """A named condition or evaluator is not installed."""


class EvaluatorError(WaitbusError):
    """A condition or evaluator of somebody else's raised, or is none."""


class UnknownSource(InvalidValue):
    """A source was asked for by a name that nobody declared."""


class SourceUnavailable(WaitbusError):
    """A source cannot be run here: it has nothing to run, or its code cannot be loaded."""

    exit_code = EXIT_UNAVAILABLE


class PinsDamaged(InvalidValue):
    """`plugins.toml` cannot be read, or holds something else than pins."""


class UnknownPlugin(InvalidValue):
    """No installed package brings a source of that name, or none is pinned."""


class ConfigError(InvalidValue):
    """The config file or a variable of the environment has a value that is not legal."""


class PathError(InvalidValue):
    """A directory variable is relative, a folder is not ours, or a socket path is too long for the kernel."""


class QueryRefused(InvalidValue):
    """SQL that is not one read-only statement, or that SQLite refused."""


class RunningLoopError(WaitbusError, RuntimeError):
    """A synchronous call was made in the thread of a running event loop."""


class TrioNeeded(WaitbusError, RuntimeError):
    """A wait with sources of its own was asked for under another event loop than trio's."""


class ExtraMissing(WaitbusError):
    """What was asked for needs packages that come with an extra, and are not installed."""

    exit_code = EXIT_UNAVAILABLE


class Offline(WaitbusError):
    """`WAITBUS_OFFLINE` forbids to ask another machine."""


# -- the log -----------------------------------------------------------------------------------------------------------


class LogError(WaitbusError):
    """The log could not be read or written."""

    exit_code = EXIT_LOG


class LogBusy(LogError):
    """Another process held the write lock for longer than the busy time-out (5 s)."""


class LogFull(LogError):
    """The disk, or its quota, is full. What was committed before is intact."""


class LogReadOnly(LogError):
    """The log or its folder may not be written."""


class LogUnavailable(LogError):
    """The log's folder does not exist and cannot be made, or the file cannot be opened."""


class LogCorrupt(LogError):
    """The file is damaged, and could not be set aside; or it never was a log, and is left as it is."""


class LogIOError(LogError):
    """The disk answered with an error."""


class LogVersionError(LogError):
    """The log was written by a version whose format this one must not read or write."""


class LogInUse(LogError):
    """An exclusive operation was asked for while other processes have the log open."""


class SQLiteTooOld(LogError):
    """The SQLite library this Python was built with is older than 3.35."""

    exit_code = EXIT_UNAVAILABLE


# -- cursors -----------------------------------------------------------------------------------------------------------


class CursorGap(WaitbusError):
    """Events between the cursor and the log's beginning were pruned; `missing` is (from, to), seqs, inclusive."""

    exit_code = EXIT_GAP

    def __init__(self, message: str, *, hint: str = "", missing: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message, hint=hint)
        self.missing = missing


class OtherLog(InvalidCursor):
    """The cursor belongs to another log."""


class UnknownEvent(InvalidCursor):
    """The cursor names an event that this log never had."""


# -- the bus -----------------------------------------------------------------------------------------------------------


class ProtocolError(WaitbusError):
    """A peer broke the wire protocol; the connection is closed."""


class VersionRefused(ProtocolError):
    """The client speaks another protocol version: the one refusal that protocol 1 answers with a frame."""


class BroadcastConnectionError(WaitbusError, OSError):
    """The name that programs written for 0.2 catch. Never raised: a client without a daemon reads the log itself."""


class DaemonRunning(WaitbusError):
    """Another daemon serves this socket or this log already."""


class SocketUnavailable(WaitbusError):
    """The socket could not be bound or inherited."""

    exit_code = EXIT_UNAVAILABLE


class ServiceMissing(WaitbusError):
    """A service that was required is not there."""

    exit_code = EXIT_UNAVAILABLE


# -- sources -----------------------------------------------------------------------------------------------------------


class PluginRefused(WaitbusError):
    """An installed plugin may not be used: it is forbidden, or it is not what was trusted."""


class PluginBroken(WaitbusError):
    """An installed plugin gives no declaration that can be used."""


class ChildFailed(WaitbusError):
    """The child in which a source runs crashed, hung, flooded or said garbage."""


class SourceGaveUp(WaitbusError):
    """A source failed too often and is not tried again."""


# -- files -------------------------------------------------------------------------------------------------------------


class FileUnwritable(WaitbusError):
    """A file that a command was to write cannot be written; it is as it was."""

    exit_code = EXIT_LOG


class OutputUnwritable(WaitbusError):
    """stdout cannot be written: its disk is full, or the like."""

    exit_code = EXIT_LOG


# -- processes ---------------------------------------------------------------------------------------------------------


class InvalidPid(InvalidValue):
    """A number given as a process id cannot be one."""


class CommandNotFound(WaitbusError):
    """The command to run does not exist."""

    exit_code = 127


class CommandNotExecutable(WaitbusError):
    """The command to run is there and cannot be executed."""

    exit_code = 126


# -- the demo ----------------------------------------------------------------------------------------------------------


class DemoFailed(WaitbusError):
    """Something that the demo shows did not happen."""

    exit_code = EXIT_NO
