"""How a handler is run."""
