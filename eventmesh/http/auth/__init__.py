"""Checks of who may send a request."""
