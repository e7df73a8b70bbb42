"""The log: one SQLite file, one row for each event, read by seq.

`schema` makes the file and sets a damaged one aside, `log` reads and appends, `retention` prunes, `query` answers read-only
SQL, `old` brings a 0.2 log over, `failures` names what went wrong.
"""

from __future__ import annotations

from waitbus.store.log import Log
from waitbus.store.rows import PAGE_BYTES, PAGE_ROWS, Appended, Facts, Page
from waitbus.store.shared import shared

__all__ = ["PAGE_BYTES", "PAGE_ROWS", "Appended", "Facts", "Log", "Page", "shared"]
