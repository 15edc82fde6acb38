"""The launcher: the command `eventmesh`."""

from __future__ import annotations

from eventmesh.cli.main import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line that this process was started with, and exit."""
    cli.main(prog_name="eventmesh")
