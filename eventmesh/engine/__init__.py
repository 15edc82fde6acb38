"""The engine: binds, limits, runs and settles invocations. No I/O of its own."""
