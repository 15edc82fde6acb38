"""Frames and what they carry, on the socket between a service and an instance."""
