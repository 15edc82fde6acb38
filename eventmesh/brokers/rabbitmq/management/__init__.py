"""Declaring, inspecting and basic.get on aio-pika."""
