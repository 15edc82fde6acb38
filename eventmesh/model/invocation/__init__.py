"""One request to run one function, and what it carries."""

from eventmesh.model.invocation.invocation import (
    ASYNC,
    SYNC,
    Batch,
    Delivered,
    HttpRequest,
    Invocation,
    Mode,
    RouteTemplate,
    make_http_request,
    make_invocation,
)

__all__ = [
    "ASYNC",
    "SYNC",
    "Batch",
    "Delivered",
    "HttpRequest",
    "Invocation",
    "Mode",
    "RouteTemplate",
    "make_http_request",
    "make_invocation",
]
