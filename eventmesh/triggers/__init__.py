"""What fires functions. `on` is the namespace that users see."""

from __future__ import annotations

from eventmesh.triggers import on

__all__ = ["on"]
