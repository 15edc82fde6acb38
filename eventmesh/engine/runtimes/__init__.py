"""Runs handlers: in the event loop, in threads, or as another package does."""
