"""Paths and headers that the server and clients of ours share."""

from __future__ import annotations

from typing import Final

LAMBDA: Final = "/2015-03-31/functions"
"""Where functions are invoked in the form of AWS Lambda's API."""

CONTROL: Final = "/_eventmesh"
"""Where the control API is."""

INVOCATION_ID: Final = "x-eventmesh-invocation-id"
"""Names the invocation whose outcome an answer is."""

HEADERS: Final = "x-eventmesh-headers"
"""The headers that a client wants an invocation to have, written like a query."""

TIMEOUT: Final = "x-eventmesh-timeout"
"""How many seconds a client waits for the result of an invocation."""

CALL_ID: Final = "amz-sdk-invocation-id"
"""The same for all tries of one call: a repetition is not run again."""

REQUEST: Final = "eventmesh.http"
"""The type of a message that carries a whole request. No client can set it."""

ANSWER: Final = "application/vnd.eventmesh.http"
"""The content type of a result that is a whole answer."""
