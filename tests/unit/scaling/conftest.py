from presence_fixtures import another, broker, clock, process

__all__ = ("another", "broker", "clock", "process")
