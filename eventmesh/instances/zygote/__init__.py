"""The process that instances are forked from, and its client in the service."""
