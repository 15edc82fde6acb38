"""Paths, headers and types that the server, the gateway and the client share."""

from __future__ import annotations

from typing import Final

LAMBDA: Final = "/2015-03-31/functions"
"""The path under which functions are invoked in the form of AWS Lambda's API."""

LAMBDA_STREAMS: Final = "/2021-11-15/functions"
"""The path under which they are invoked when their response is to be streamed."""

DURABLE: Final = "/2025-12-01"
"""The path under which executions of durable functions are, in the form of AWS Lambda's API."""

CONTROL: Final = "/_eventmesh"
"""The path of the control API."""

EXECUTIONS: Final = f"{CONTROL}/executions"
"""The path under which the executions of durable functions are read and controlled."""

CALLBACKS: Final = f"{CONTROL}/callbacks"
"""The path at which callbacks of durable functions are completed."""

TIMERS: Final = f"{CONTROL}/timers"
"""The path under which timers are listed, fired, paused and resumed."""

INSTANCES: Final = f"{CONTROL}/instances"
"""The path under which processes are told to drain."""

LEFTOVERS: Final = f"{CONTROL}/leftovers"
"""The path under which what is left of functions that no process has is shown and removed."""

INVOCATION_ID: Final = "x-eventmesh-invocation-id"
"""The id of the invocation whose outcome a response has."""

MESSAGE_HEADERS: Final = "x-eventmesh-headers"
"""The headers that a client sets for an invocation, written like a query."""

TIMEOUT: Final = "x-eventmesh-timeout"
"""How many seconds a client waits for the result of an invocation."""

CALL_ID: Final = "amz-sdk-invocation-id"
"""The same for all attempts of one call: a repetition is not run again."""

RELAYED_REQUEST: Final = "eventmesh.http"
"""The type of a message that carries a whole request. No client can set it."""

RELAYED_RESPONSE: Final = "application/vnd.eventmesh.http"
"""The content type of a result that is a whole response."""


def is_reserved(path: str) -> bool:
    """Whether a path belongs to the APIs, so that no function may answer there."""
    return any(
        path == api or path.startswith(f"{api}/")
        for api in (CONTROL, DURABLE, LAMBDA, LAMBDA_STREAMS)
    )
