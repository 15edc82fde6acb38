"""Targets: the texts by which users name services, and the import of what they name."""
