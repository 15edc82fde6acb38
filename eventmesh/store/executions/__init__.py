"""Executions of durable functions in the database of their service."""
