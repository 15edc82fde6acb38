"""Declarations, inspection and basic.get, on aio-pika."""
