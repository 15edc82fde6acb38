"""The messages by which executions go on: what is in them, and their headers."""
