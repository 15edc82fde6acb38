"""Scaling: how many replicas a service should have."""
