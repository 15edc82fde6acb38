"""Bytes ↔ values: payloads as JSON, and what travels between processes as messages."""
