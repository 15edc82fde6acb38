"""The access log: one record a request."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from eventmesh.http.protocol import DURABLE
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BaseResponse, target_path

LOGGER: Final = logging.getLogger("eventmesh.access")

_CALLBACKS: Final = f"{DURABLE}/durable-execution-callbacks/"

CLIENT_GONE: Final = 499
"""The status of a request whose client left before the response, as nginx has it."""


class AccessLog(AbstractAccessLogger):
    """Writes a record to the logger "eventmesh.access" for each request that was answered.

    Its fields are `method`, `path` (without the query, which may have secrets), `status`, `bytes`
    (of the body), `duration_ms`, `remote` and, where a function was run, `invocation_id`. aiohttp
    asks once a connection whether it is enabled, and takes no times where it is not.
    """

    @property
    def enabled(self) -> bool:
        return LOGGER.isEnabledFor(logging.INFO)

    def log(
        self,
        request: web.BaseRequest,  # noqa: ARG002  # the response has it with its own type
        response: object,
        time: float,
    ) -> None:
        if isinstance(response, BaseResponse):
            log_request(
                response.request,
                response.status,
                time,
                response.body_length,
                response.invocation_id,
            )


def log_request(
    request: Request, status: int, duration: float, size: int, invocation_id: str = ""
) -> None:
    """Log a request: `duration` is in seconds, `size` the bytes of the response's body."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    path = _hide_secret(target_path(request.target))
    fields: dict[str, object] = {
        "method": request.method,
        "path": path,
        "status": status,
        "bytes": size,
        "duration_ms": round(duration * 1000, 3),
        "remote": request.remote,
    }
    if invocation_id:
        fields["invocation_id"] = invocation_id
    LOGGER.info("%s %s %d", request.method, path, status, extra=fields)


def _hide_secret(path: str) -> str:
    """Replace the id of a callback in a path: who has it may complete the callback."""
    if not path.startswith(_CALLBACKS):
        return path
    _, _, operation = path.removeprefix(_CALLBACKS).partition("/")
    return f"{_CALLBACKS}…/{operation}"
