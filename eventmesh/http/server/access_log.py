"""The access log: one line a request."""

from __future__ import annotations

import logging
from typing import Final, cast

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from eventmesh.http.server.response import BaseResponse, target_path

LOGGER: Final = logging.getLogger("eventmesh.access")

CLIENT_GONE: Final = 499
"""The status of a request whose client left before the answer, as nginx has it."""


class AccessLog(AbstractAccessLogger):
    """Writes a record to the logger "eventmesh.access" for each request that was answered.

    Its fields are `method`, `path` (without the query, in which there may be secrets), `status`,
    `bytes` (of the body), `duration_ms`, `remote` and, where one was run, `invocation_id`.
    aiohttp asks whether it is enabled once a connection, and then not even takes the time.
    """

    @property
    def enabled(self) -> bool:
        return LOGGER.isEnabledFor(logging.INFO)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        answer = cast(BaseResponse, response)
        write(request, answer.status, time, answer.body_length, answer.invocation_id)


def write(
    request: web.BaseRequest, status: int, duration: float, size: int, invocation_id: str = ""
) -> None:
    """Log a request: `duration` is in seconds, `size` in bytes of the answer's body."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    path = target_path(request.raw_path)
    fields: dict[str, object] = {
        "method": request.method,
        "path": path,
        "status": status,
        "bytes": size,
        "duration_ms": round(duration * 1000, 3),
        "remote": request.remote or "",
    }
    if invocation_id:
        fields["invocation_id"] = invocation_id
    LOGGER.info("%s %s %d", request.method, path, status, extra=fields)
