"""Paths, headers and types that the server, the gateway and the client share."""

from __future__ import annotations

from typing import Final

LAMBDA: Final = "/2015-03-31/functions"
"""The path under which functions are invoked in the form of AWS Lambda's API."""

CONTROL: Final = "/_eventmesh"
"""The path of the control API."""

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
    return any(path == api or path.startswith(f"{api}/") for api in (CONTROL, LAMBDA))
