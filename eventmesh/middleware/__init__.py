"""What every invocation goes through on its way to the handler.

Each module makes one `Middleware`, and a function's pipeline is folded once, outermost first:
tracing, logging, metrics, deadline. So a span covers all, a log line knows its trace, and both
count a run that was out of time as a timeout.
"""
