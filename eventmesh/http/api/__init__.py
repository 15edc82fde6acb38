"""The HTTP APIs that every process serves beside its routes."""
