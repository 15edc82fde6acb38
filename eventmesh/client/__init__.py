"""Calls into the mesh from outside of it."""

from eventmesh.client.client import Client

__all__ = ["Client"]
