"""The settings of a process under development, where nobody has said otherwise."""

from __future__ import annotations

import sys
from dataclasses import replace

from eventmesh.model.settings import Settings


def development_settings(settings: Settings) -> Settings:
    """Return the settings with payloads recorded, and a log that people can read."""
    if settings.record_payloads is None:
        settings = replace(settings, record_payloads=True)
    # A developer reads the log even if it goes through a pipe.
    if settings.log_format == "auto" and not sys.stderr.isatty():
        settings = replace(settings, log_format="text")
    return settings
