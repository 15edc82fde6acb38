"""A Lambda function: it knows nothing of eventmesh."""

from __future__ import annotations

from typing import Any


def handler(event: dict[str, Any], _: object) -> Any:
    """Return what was given."""
    return event["number"]
