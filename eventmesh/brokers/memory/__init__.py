"""The embedded broker: everything in this process, for development and tests."""

from eventmesh.brokers.memory.broker import MemoryBroker, QueueStatistics

__all__ = ["MemoryBroker", "QueueStatistics"]
