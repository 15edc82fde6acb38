"""Who may use a route: what `auth=` of a route or of a service takes, and what it finds out."""

from __future__ import annotations

from eventmesh.model.access.identity import Identity

__all__ = ["Identity"]
