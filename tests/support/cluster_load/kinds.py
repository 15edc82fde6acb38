"""What both sides know of the kinds of invocations."""

SLOTS = 2
PERIOD = 0.5
"""Seconds between the moments of the timer."""
