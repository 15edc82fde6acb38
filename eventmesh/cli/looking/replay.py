"""Runs a recorded invocation again, by the console's API or over a broker."""

from __future__ import annotations

import asyncio
import os
from http.client import HTTPException
from typing import Any, Final, cast
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import orjson

from eventmesh.cli.looking.mesh import look_at_mesh
from eventmesh.cli.with_client import with_client
from eventmesh.console.api.gate import CSRF_HEADER
from eventmesh.console.api.routes import API
from eventmesh.console.state.replay import check_whole, find_recorded
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionError,
    Problem,
)
from eventmesh.model.ids import check_id
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.runs import Run
from eventmesh.model.settings import Settings, scheme_of

WAIT: Final = 1.0
"""Seconds in which processes announce themselves."""

MAX_ANSWER: Final = 16 * 1024 * 1024


def replay(url: str, id: str, function: str, payload: bytes | None) -> Any:
    """Run an invocation again, with its recorded payload or another one, and return the result.

    Raises Problem, FunctionError and what a client raises.
    """
    check_id(id)
    if scheme_of(url) in ("http", "https"):
        return _ask(url, id, function, payload)
    run = asyncio.run(_find(url, id, function))
    if payload is None:
        check_whole(run)
        payload = run.payload.encode()
    return with_client(url, lambda client: client.invoke(run.function, payload))


async def _find(url: str, id: str, function: str) -> Run:
    async with look_at_mesh(url, "replay", WAIT) as source:
        return await find_recorded(source, id, function)


def _ask(url: str, id: str, function: str, payload: bytes | None) -> Any:
    body = b'{"function":%s' % orjson.dumps(function)
    body += b"}" if payload is None else b',"payload":%s}' % payload
    token = Settings.from_environment(os.environ).token
    asked = Request(  # noqa: S310 - of the user's own choice
        f"{url.rstrip('/')}{API}/invocations/{quote(id, safe='')}/replay",
        data=body,
        headers={
            "Content-Type": "application/json",
            CSRF_HEADER: "1",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
    )
    try:
        with urlopen(asked, timeout=DEFAULT_TIMEOUT + 5.0) as answer:  # noqa: S310 - as above
            return orjson.loads(answer.read(MAX_ANSWER))["result"]
    except HTTPError as error:
        with error:
            raise _read_problem(error.code, error.read(MAX_ANSWER)) from None
    except (OSError, HTTPException, ValueError, LookupError) as error:
        raise BrokerUnavailable(f"no console answers at {url}: {error}") from error


def _read_problem(status: int, body: bytes) -> Exception:
    try:
        given: Any = orjson.loads(body)
    except ValueError:
        given = None
    problem = cast(dict[str, Any], given) if isinstance(given, dict) else {}
    detail = str(problem.get("detail") or "")
    match problem.get("error"):
        case {"type": str(type), "message": str(message)}:
            return FunctionError(type, message)
        case _:
            pass
    if status in (401, 403):
        return AccessDenied(detail)
    return Problem(status, detail)
