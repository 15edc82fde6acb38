from presence_fixtures import another, broker, process

__all__ = ("another", "broker", "process")
