"""What asyncio lacks: an injected clock, owned tasks, fair waiting."""
