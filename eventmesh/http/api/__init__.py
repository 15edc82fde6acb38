"""The HTTP APIs that every process offers beside its routes."""
