"""Compose files: a view of a deployment on one machine."""
