"""A middleware that logs who ran what, and how it ended."""

from __future__ import annotations

import logging

from eventmesh.ext import Handler, Invocation, Result

_log = logging.getLogger("eventmesh_watch.audit")


def audit(handler: Handler) -> Handler:
    """Log a line for each run: the function, what fired it, the attempt and the outcome.

    It is called once for each function; `run` is called for each run.
    """

    async def run(invocation: Invocation) -> Result:
        outcome = "cancelled"
        try:
            result = await handler(invocation)
            outcome = "ok" if result.error is None else str(result.error)
        finally:
            _log.info(
                "%s fired by %s, attempt %d: %s",
                invocation.function,
                invocation.trigger,
                invocation.attempt,
                outcome,
            )
        return result

    return run
