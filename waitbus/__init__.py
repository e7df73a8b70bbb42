"""Wait for anything that happens on this machine: `waitbus.emit` writes an event, `waitbus.subscribe` reads them."""

__version__ = "0.3.0.dev0"
