"""Versions of the code: what they are called, and which of them run somewhere."""
