"""The names that articles about 0.2 import from here."""

from __future__ import annotations

from waitbus.events import EmitResult, EventFrame, EventInsert

__all__ = ["EmitResult", "EventFrame", "EventInsert"]
