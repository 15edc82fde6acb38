"""The console over HTTP: its API, and the files of its page."""

from eventmesh.console.api.routes import ConsoleOptions, console_routes

__all__ = ["ConsoleOptions", "console_routes"]
