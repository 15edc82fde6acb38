"""Mesh-wide slots and leases."""
